from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from scores_fixtures import MODELS, make_run, make_scores, make_units, save_run

from rsbench.evaluation.pictures import drawn
from rsbench.evaluation.report import pictures, write_report
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.leaderboard import places, rows_of, tiles
from rsbench.evaluation.report.page import gather
from rsbench.evaluation.report.result import explained, sentence
from rsbench.evaluation.scores import Scores


def board(factor: float = 0.7, regions: int = 12, **run: Any) -> Board:
    models = {**MODELS, "simvp": ("model", "tiny", factor)}
    units = make_units(models=models, regions=regions, metrics=("mse@1", "ssim@1"), bands=("all",))
    made = Scores(units, make_run(**run))
    return Board(made, (Path("none"),), (made.run,), ({},))


def said(found: Board) -> str:
    return sentence(found, rows_of(found))


def test_the_result_is_one_sentence_with_the_table_s_intervals() -> None:
    made = board()
    text = said(made)
    assert text.startswith(
        "simvp tiny is better than damped_persistence, the reference of skill: MSE skill 0."
    )
    assert text.endswith("12 regions.")
    cells = tiles(made, rows_of(made))[0]["cells"]
    assert len(cells) == 2
    for cell in cells:
        assert f"{cell['value']} (95 % interval {cell['span']})" in text
    assert said(board(1.3)).startswith("simvp tiny is worse than")
    assert "too few regions to be tested" in said(board(regions=5))


def test_an_endpoint_that_is_no_skill_compares_with_the_best_reference_model() -> None:
    text = said(board(primary={"metric": "ssim@1", "score": "value", "leads": [2]}))
    assert "is better than damped_persistence, the best reference model: ssim@1 " in text
    assert " against " in text
    assert "interval of the difference" in text
    assert said(board(best_trivial=None)) == ""


def test_entries_are_in_order_of_the_score_and_only_ranked_ones_have_a_place() -> None:
    rows = rows_of(board())
    assert [row["model"] for row in rows][:2] == ["floor", "oracle"]
    marks = places(
        rows, [{"floor": 0.1, "oracle": 0.2}.get(r["model"], 1.0) for r in rows], "mse@1"
    )
    by_name = dict(zip([row["model"] for row in rows], marks, strict=True))
    assert by_name["floor"] == by_name["oracle"] == ""
    assert by_name["simvp"] == by_name["persistence"] == "first"  # equal values share a place
    assert places(rows, [1.0] * len(rows), "rmse.changed@1") == [""] * len(rows)
    view = gather(board(), 0)["first"]
    places_ = {row["model"]: row["cells"][0]["place"] for row in view["rows"]}
    assert places_["simvp"] == "first"
    assert places_["damped_persistence"] == "second"


def test_reference_entries_are_explained_and_absent_values_have_no_tile() -> None:
    text = dict(explained(rows_of(board())))
    assert "last valid value per pixel" in text["persistence"]
    assert "simulation" in text["oracle"]
    assert "simvp" not in text
    none = board(best_trivial=None)
    assert tiles(none, rows_of(none)) == []


@pytest.mark.parametrize(
    ("bands", "display", "shown"),
    [
        (("blue", "green", "red", "nir"), ("red", "green", "blue"), ("red", "green", "blue")),
        (("green", "red", "nir"), ("green", "red", "nir"), ("nir", "red", "green")),
        (("Green", "Red", "NIR"), None, ("NIR", "Red", "Green")),
        (("b1", "b2", "b3"), ("b3", "b2", "b1"), ("b3", "b2", "b1")),
        (("b1", "b2"), None, ("b1",)),
        (("nir",), ("red", "green", "blue"), ("nir",)),
    ],
)
def test_bands_are_drawn_in_true_colour_or_false_colour(
    bands: tuple[str, ...], display: tuple[str, ...] | None, shown: tuple[str, ...]
) -> None:
    assert drawn(bands, display) == shown


def test_a_picture_is_read_back_as_it_is() -> None:
    error = np.random.default_rng(0).random((64, 48)).astype(np.float32)
    error[:4] = np.nan
    picture = pictures.burn(pictures.colour(error, 1.0), "simulated")
    data = pictures.webp(picture)
    read = Image.open(io.BytesIO(data))
    assert read.format == "WEBP"
    np.testing.assert_array_equal(np.asarray(read.convert("RGB")), picture)
    full = np.random.default_rng(1).integers(0, 255, (64, 48, 3)).astype(np.uint8)
    again = Image.open(io.BytesIO(pictures.webp(full)))
    np.testing.assert_array_equal(np.asarray(again), full)


def test_pictures_stay_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rsbench.evaluation.report import boards, page

    (made,) = boards([save_run(tmp_path / "run", make_scores(regions=8), viewer=True)])
    assert len(gather(made, 0)["strips"]) == 2
    monkeypatch.setattr(page, "LARGEST_OF_ALL", 2 * 150_000)
    assert len(gather(made, 0, 2)["strips"]) == 1


def test_the_matrix_counts_what_is_significant_in_each_pair() -> None:
    found = gather(board(), 0)["matrix"]
    names = [model for model, _ in found["names"]]
    assert names == ["simvp", "damped_persistence", "persistence"]  # no bounds
    assert [row[i]["text"] for i, row in enumerate(found["rows"])] == ["", "", ""]
    assert found["rows"][0][1]["text"] == "9 of 9"
    assert found["rows"][1][0]["text"] == "0 of 9"
    assert gather(board(regions=5), 0)["matrix"] is None


def test_a_linked_page_has_its_pictures_beside_it(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", make_scores(regions=8), viewer=True)
    page = write_report([run], tmp_path / "my page.html", linked=True)
    text = page.read_text(encoding="utf-8")
    assert "data:image/" not in text
    links = set(re.findall(r"my%20page-files/[0-9a-f]+\.webp", text))
    assert len(links) > 10
    assert {unquote(link) for link in links} == {
        str(path.relative_to(tmp_path)) for path in (tmp_path / "my page-files").iterdir()
    }
    for link in links:
        with Image.open(tmp_path / unquote(link)) as picture:
            assert picture.format == "WEBP"
