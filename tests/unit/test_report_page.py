from __future__ import annotations

import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scores_fixtures import MODELS, make_run, make_scores, make_units, pixel_parts, save_run

from rsbench.core.errors import InputError, SchemaError
from rsbench.evaluation.report import boards, charts, pictures, render, write_report
from rsbench.evaluation.report import page as page_values
from rsbench.evaluation.scores import Scores

VOID = {"meta", "br", "img", "input", "link", "hr", "wbr"}


class Reader(html.parser.HTMLParser):
    """Checks that tags nest and gathers what the tests look at."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.classes: list[str] = []
        self.text: list[str] = []
        self.blocks: dict[str, list[str]] = {}
        self.pictures: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name in ("src", "href", "action", "xlink:href"):
            if values.get(name):
                self.links.append(str(values[name]))
        if values.get("id"):
            self.ids.append(str(values["id"]))
        self.classes += str(values.get("class") or "").split()
        if tag == "img":
            self.pictures.append(values)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)
        elif self.open:
            self.blocks.setdefault(self.open[-1], []).append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def words(text: str) -> str:
    return re.sub(r"\s+", " ", " ".join(read(text).text))


def page(tmp_path: Path, scores: Scores | None = None, *, viewer: bool = False) -> str:
    folder = save_run(tmp_path / "run", scores, viewer=viewer)
    return write_report([folder], tmp_path / "r.html").read_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(tmp_path_factory.mktemp("report"), viewer=True)


def test_page_is_one_file_that_loads_nothing(full: str) -> None:
    reader = read(full)
    assert reader.links
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in reader.links)
    for word in ("@import", "url(", "fetch(", "XMLHttpRequest", "<link", "import("):
        assert word not in full
    assert "default-src 'none'" in full


def test_inner_links_and_ids_are_sound(full: str) -> None:
    reader = read(full)
    assert len(reader.ids) == len(set(reader.ids))
    targets = {link[1:] for link in reader.links if link.startswith("#")}
    assert targets <= set(reader.ids)


def test_page_says_what_it_stands_on(full: str) -> None:
    said = words(full)
    for text in (
        "Simulated data.", "no result about real imagery", "k = 1, starts 2017–2021, 12 regions",
        "needs k ≥ 3", "CC0-1.0", "Gao et al. 2022", "cd" * 32, "ab" * 32, "32-true",
        "rsbench run --model simvp", "95 % t intervals", "Half-life", "damped_persistence",
    ):  # fmt: skip
        assert text in said, text


def test_every_picture_and_chart_has_words(full: str) -> None:
    reader = read(full)
    assert all(picture.get("alt") is not None for picture in reader.pictures)
    svgs = re.findall(r'<svg [^>]*class="chart[^>]*>', full)
    assert len(svgs) > 5
    assert all('role="img"' in svg and 'aria-label="' in svg for svg in svgs)


def test_simulated_is_burned_into_every_figure(full: str, tmp_path: Path) -> None:
    charts_ = len(re.findall(r'<svg [^>]*class="chart', full))
    assert charts_ == full.count('class="watermark"') > 5
    real = page(tmp_path, make_scores({"simulated": False}), viewer=True)
    assert 'class="watermark"' not in real
    assert "Simulated data" not in real
    ours, theirs = (
        [p["src"] for p in read(t).pictures if str(p.get("alt", "")).startswith("truth,")]
        for t in (full, real)
    )
    assert len(ours) == len(theirs) > 0
    assert not set(ours) & set(theirs)


def test_incomplete_is_said(tmp_path: Path) -> None:
    run: dict[str, Any] = {
        "complete": False,
        "missing": ({"region": "sim-04", "time": "2019-07-01", "reason": "read failed: 503"},),
    }
    text = page(tmp_path, make_scores(run, regions=8))
    assert "Incomplete store." in words(text)
    assert "sim-04 2019-07-01 read failed: 503" in words(text)


def test_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'&"
    models = {**MODELS, evil: ("model", "<b>", 0.8)}
    run = {"dataset": "<i>x</i>", "command": "</script><script>alert(2)</script>"}
    text = page(tmp_path, make_scores(run, models=models, regions=8))
    assert "<script>alert" not in text
    assert "<i>x</i>" not in text
    data = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.S)
    assert data is not None
    assert evil in {m["model"] for m in json.loads(data.group(1))["models"]}


def test_embedded_data_equal_the_table(full: str) -> None:
    found = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', full, re.S)
    assert found is not None
    data = json.loads(found.group(1))
    table = make_scores().table().set_index(["model", "metric", "band", "stratum", "lead"])
    numbers = 0
    for model, metric, band, stratum, lead, value, *rest in data["rows"]:
        key = (
            data["models"][model]["model"], data["metrics"][metric]["id"], data["bands"][band],
            data["strata"][stratum], lead,
        )  # fmt: skip
        row = table.loc[key]
        assert (value is None) == bool(np.isnan(row["value"]))
        assert value is None or value == pytest.approx(row["value"], rel=1e-5)
        assert rest[2:5] == [row["n_regions"], row["n_samples"], row["n_missing"]]
        numbers += value is not None
    assert numbers > 500


def test_no_interval_no_mark(tmp_path: Path) -> None:
    few = page(tmp_path, make_scores(regions=5))
    assert "at least 8 are needed" in words(few)
    assert "best" not in read(few).classes
    assert '<polygon class="band' not in few


def test_best_is_marked_where_supported(full: str) -> None:
    assert "best" in read(full).classes
    assert '<polygon class="band' in full


def test_one_start_says_that_each_lead_has_one_target_date(tmp_path: Path) -> None:
    said = words(page(tmp_path, make_scores(years=4, horizon=3)))
    assert "each lead always has the same target date" in said
    assert "absent: only one start" in said


def test_two_runs_share_a_board_and_their_reference_models(tmp_path: Path) -> None:
    a = save_run(tmp_path / "a")
    weights = {**make_run().weights, "simvp": "77" * 32}
    again = make_run(seed=1, weights=weights)
    b = save_run(tmp_path / "b", Scores(make_units(seed=5), again))
    (board,) = boards([a, b])
    models = set(board.scores.units["model"])
    assert models >= {"simvp", "simvp (seed 1)", "persistence", "oracle", "floor"}
    assert board.scores.units["weight"].max() == 4  # nothing was counted twice
    assert "simvp (seed 1)" in words(render([board]))


def test_strata_stand_on_the_page_in_order_with_their_source_and_what_is_absent(
    tmp_path: Path,
) -> None:
    units = make_units(metrics=("mse@1",), bands=("all",))
    low = units["region"] <= "sim-04"
    units["input_valid"] = units["n_images"] * np.where(low, 0.2, 1.0)
    notes = {
        "sources": {"pixel land cover": "an older map"},
        "absent": {"season": "a frame covers more than a season"},
    }
    weights = {**make_run().weights, "simvp": "77" * 32}
    runs = [make_run(extra={"strata": notes}), make_run(seed=1, weights=weights)]
    folders = [
        save_run(
            tmp_path / f"run{i}",
            Scores(units, run, pixels=pixel_parts(units, {"water": 0.25, "crops": 0.75})),
        )
        for i, run in enumerate(runs)
    ]
    (board,) = boards(folders)
    # Both runs' classes are there, and those of the rows they share once.
    parts = board.scores.pixels
    assert set(parts["model"]) >= {"simvp", "simvp (seed 1)"}
    sums = parts.groupby("model")["weight"].sum()
    assert sums["persistence"] == pytest.approx(sums["simvp"])
    text = render([board])
    titles = re.findall(r"<summary>([^<]+?) <span class=\"muted\">\d groups", text)
    assert titles == [
        "Biome", "Type of land", "Target year", "Valid fraction of the inputs",
        "Pixels by land cover",
    ]  # fmt: skip
    said = words(text)
    assert "an older map" in said
    assert "season of the target date (a frame covers more than a season)" in said
    assert said.index("below 0.5") < said.index("0.95 to 1")
    table = board.scores.table()
    own = table[
        (table["stratum"] == "pixel land cover=water") & (table["metric"] == "skill.mse@1")
        & (table["model"] == "simvp") & (table["lead"] == 1)
    ]  # fmt: skip
    start = text.index('aria-label="Pixels by land cover"')
    assert (
        charts.minus(f"{own['value'].iloc[0]:.4f}") in text[start : text.index("</table>", start)]
    )


def test_the_same_run_twice_is_one(tmp_path: Path) -> None:
    a = save_run(tmp_path / "a")
    text = write_report([a, a], tmp_path / "r.html").read_text()
    assert text.count('class="board"') == 1
    assert "(seed 0)" not in text


def test_other_datasets_have_their_own_board(tmp_path: Path) -> None:
    a = save_run(tmp_path / "a")
    b = save_run(tmp_path / "b", make_scores({"dataset_digest": "12" * 32, "dataset": "other"}))
    text = write_report([a, b], tmp_path / "r.html").read_text()
    assert text.count('class="board"') == 2
    read(text)


def test_a_row_that_one_run_has_is_not_absent(tmp_path: Path) -> None:
    a = save_run(tmp_path / "a")
    models = {**MODELS, "linear_trend": ("trivial", "fixed", 1.1)}
    b = save_run(tmp_path / "b", make_scores({"absent": ()}, models=models))
    (board,) = boards([a, b])
    assert [x for x in board.run.absent if x.model == "linear_trend"] == []


def test_target_is_kept_unless_forced(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", make_scores(regions=2))
    target = tmp_path / "r.html"
    target.write_text("mine")
    with pytest.raises(InputError, match="Give --force"):
        write_report([folder], target)
    assert target.read_text() == "mine"
    write_report([folder], target, force=True)
    assert target.read_text().startswith("<!doctype html>")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_bad_runs_leave_no_page(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, message in (("empty", "it is empty"), ("none", "no such folder")):
        with pytest.raises(InputError, match=message):
            write_report([tmp_path / folder], tmp_path / "r.html")
    with pytest.raises(InputError, match="no run was named"):
        write_report([], tmp_path / "r.html")
    folder = save_run(tmp_path / "run", make_scores(regions=2))
    (folder / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cut short"):
        write_report([folder], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [("schema", "schema 9"), ("outside", "outside the run"), ("dtype", "not uint8"),
     ("gone", "damaged"), ("json", "damaged")],
)  # fmt: skip
def test_damaged_pictures_are_one_clear_error(tmp_path: Path, spoil: str, message: str) -> None:
    folder = save_run(tmp_path / "run", make_scores(regions=2), viewer=True)
    index = folder / "viewer" / "index.json"
    value = json.loads(index.read_text())
    first = value["entries"][0]
    if spoil == "schema":
        value["schema"] = 9
    if spoil == "outside":
        first["truth"] = "../../secret.npy"
    if spoil == "dtype":
        np.save(folder / "viewer" / first["truth"], np.zeros((3, 4, 4, 3), np.float32))
    if spoil == "gone":
        (folder / "viewer" / first["truth"]).unlink()
    index.write_text(json.dumps(value)[: 50 if spoil == "json" else None])
    with pytest.raises((InputError, SchemaError), match=message):
        write_report([folder], tmp_path / "r.html")


def test_burning_marks_dark_and_bright_pictures() -> None:
    for level in (0, 128, 255):
        image = np.full((96, 96, 3), level, np.uint8)
        changed = (pictures.burn(image, "simulated") != image).any(-1)
        assert changed.sum() > 100
        assert changed[48:].sum() > changed[:48].sum()


def test_masked_errors_are_striped_grey_not_dark() -> None:
    error = np.zeros((6, 6), np.float16)
    error[:3] = np.nan
    painted = pictures.colour(error, 1.0)
    assert (painted[:3] >= 110).all()
    assert (painted[3:] < 20).all()


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-0.13, 0.92), (27.1, 33.9), (1e-5, 3e-4), (5, 5), (-3, -3)]
)
def test_ticks_are_round_and_cover(low: float, high: float) -> None:
    ticks = charts.nice_ticks(low, high)
    assert 2 <= len(ticks) <= 12
    assert ticks[0] <= low + 1e-12
    assert ticks[-1] >= high - 1e-12


def test_absent_points_are_gaps_not_zeros(tmp_path: Path) -> None:
    units = make_units()
    gone = (units["model"] == "simvp") & (units["lead"] == 2) & (units["metric"] == "mse@1")
    text = page(tmp_path, Scores(units[~gone], make_run()))
    chart = re.search(r'<svg [^>]*aria-label="mse@1 by lead, same starts".*?</svg>', text, re.S)
    assert chart is not None
    found = re.findall(r'data-tip="simvp · lead (\d): ([^"]+)"', chart.group(0))
    assert [lead for lead, _ in found] == ["1", "3"]


def test_writing_a_report_loads_neither_torch_nor_rasterio(tmp_path: Path) -> None:
    folder = save_run(tmp_path / "run", make_scores(regions=2))
    script = (
        "import sys; from pathlib import Path; from rsbench.evaluation.report import write_report;"
        f"write_report([Path({str(folder)!r})], Path({str(tmp_path / 'r.html')!r}));"
        "print(sorted({'torch', 'rasterio', 'xarray', 'pystac'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_provenance_says_where_time_went_and_what_was_reused(tmp_path: Path) -> None:
    extra = {
        "phases": {"train": 30.0, "metrics": 10.0},
        "reused": {"models": ["persistence", "floor"], "from": "references/0123"},
    }
    run = make_run(extra=extra, history={})
    units = make_units(regions=2, metrics=("mse@1",), bands=("all",))
    text = words(page(tmp_path, Scores(units, run)))
    assert "Phase Seconds Share train 30.0 75 % metrics 10.0 25 %" in text
    assert "Reused scores persistence, floor: references/0123 in the cache" in text


def test_maps_of_classes_have_no_views_of_bands(tmp_path: Path) -> None:
    def shown(name: str, unit: str) -> list[str]:
        folder = save_run(tmp_path / name, make_scores({"unit": unit}, regions=2), viewer=True)
        found = page_values.gather(boards([folder])[0], 0)["strips"][0]["views"]["views"]
        return [label for label, *_ in found]

    assert shown("classes", "share") == []
    assert "NDVI" in shown("reflectance", "reflectance")
    assert "NDVI" not in shown("display", "display")
