"""Predictions that are maps of class codes: how they are read, scored and refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import segment_toys as toys

from rsbench.core.errors import InputError
from rsbench.evaluation.report import write_report
from rsbench.evaluation.submission_files import NOTE
from rsbench.evaluation.submissions import ScoreOptions, export_task, score_answers
from rsbench.evaluation.table import to_markdown
from rsbench.store.read import Store

rasterio = pytest.importorskip("rasterio")
NO_VALUE = "the predictions are maps of class codes, which hold no probabilities"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("segment") / "store", regions=5)


@pytest.fixture
def task(store: Store, tmp_path: Path) -> Path:
    return export_task(store, tmp_path / "task", form="geotiff")


def truth(store: Store, region: str) -> npt.NDArray[np.uint8]:
    codes = store.read(region, toys.MR, array="labels")[0].copy()
    codes[codes == 0] = 5  # a map has a class in every pixel
    return codes


def write(
    store: Store, task: Path, dtype: str = "uint8", form: str = "geotiff", **codes: Any
) -> Path:
    """Write maps of codes; ``codes``: region, with _ for -, → the map in place of the truth."""
    folder = task / "predictions"
    note = json.loads((folder / NOTE).read_text()) | {"model": "mine", "format": form}
    (folder / NOTE).write_text(json.dumps(note))
    for item in json.loads((task / "task.json").read_text())["class maps"]:
        region, day = item["region"], item["targets"][0]
        values = codes.get(region.replace("-", "_"), truth(store, region)).astype(dtype)
        grid = store.region(region).grids[toys.MR]
        if form == "npy":
            (folder / region).mkdir()
            np.save(folder / region / f"{item['name']}.npy", values[None, None])
            continue
        place = folder / region / item["name"]
        place.mkdir(parents=True)
        suffix, driver = (".dat", "ENVI") if form == "envi" else (".tif", "GTiff")
        with rasterio.open(
            place / f"{day}{suffix}", "w", driver=driver, width=grid.width, height=grid.height,
            count=1, dtype=dtype, crs=grid.crs, transform=rasterio.Affine(*grid.transform),
        ) as file:  # fmt: skip
            file.write(values, 1)
    return folder


def test_the_task_states_the_codes_of_every_class(task: Path) -> None:
    stated = json.loads((task / "task.json").read_text())
    assert stated["codes"] == {"water": [1], "trees": [2], "crops": [5]}


@pytest.mark.parametrize(
    ("dtype", "form"), [("uint8", "geotiff"), ("int32", "npy"), ("int16", "envi")]
)
def test_codes_are_scored_without_probabilities(
    store: Store, task: Path, tmp_path: Path, dtype: str, form: str
) -> None:
    folder = write(store, task, dtype, form)
    run = tmp_path / "run"
    scores = score_answers(folder, store, run, ScoreOptions(keep="all")).scores
    table = scores.table()
    rows = table[(table["band"] == "all") & (table["stratum"] == "all")]
    own = rows[rows["model"] == "mine"].set_index("metric")["value"]
    assert {own[metric] for metric in ("miou@1", "mf1@1", "oa@1", "macc@1")} == {1.0}
    for metric in ("brier@1", "ece.15@1", "mse@1", "skill.mse@1"):
        assert math.isnan(own[metric]), metric
    others = rows[(rows["model"] == "window_lda")].set_index("metric")["value"]
    assert others[["brier@1", "ece.15@1", "mse@1"]].notna().all()
    reasons = {(a.model, a.metric): a.reason for a in scores.absences()}
    for metric in ("brier@1", "ece.15@1", "mse@1", "skill.mse@1"):
        assert reasons["mine", metric] == NO_VALUE
    assert NO_VALUE in to_markdown(table, scores=[scores])
    assert NO_VALUE in (run / "report.html").read_text()
    write_report([run], tmp_path / "again.html", force=True)
    kept = sorted(path.name for path in (run / "maps" / "mine" / "place-02").iterdir())
    assert len(kept) == 1
    assert "probabilities" not in kept[0]


def test_a_code_that_is_no_class_is_refused(store: Store, task: Path, tmp_path: Path) -> None:
    codes = truth(store, "place-02")
    codes[3, 4:6] = (0, 7)
    with pytest.raises(InputError, match="2 pixels have the code 0, 7, which is no class") as e:
        score_answers(write(store, task, place_02=codes), store, tmp_path / "run")
    assert "row 3, column 4" in e.value.found
    assert "1, 2, 5" in e.value.remedy
    assert not (tmp_path / "run" / "run.json").exists()


def test_maps_beside_probabilities_are_refused(store: Store, task: Path, tmp_path: Path) -> None:
    folder = write(store, task, "uint8", "npy")
    file = next((folder / "place-02").glob("*.npy"))
    np.save(file, np.eye(3, dtype=np.float32)[np.zeros((32, 32), int)].transpose(2, 0, 1)[None])
    with pytest.raises(InputError, match="1 of 2 are maps of class codes"):
        score_answers(folder, store, tmp_path / "run")


def test_a_map_on_another_grid_is_refused(store: Store, task: Path, tmp_path: Path) -> None:
    folder = write(store, task)
    with rasterio.open(next(folder.glob("place-02/*/*.tif")), "r+") as file:
        file.transform = file.transform @ rasterio.Affine.translation(0.5, 0)
    with pytest.raises(InputError, match="lies on another grid than the region"):
        score_answers(folder, store, tmp_path / "run")


def test_real_numbers_are_no_codes(store: Store, task: Path, tmp_path: Path) -> None:
    folder = write(store, task, "float32")
    with pytest.raises(InputError, match=r"its shape is \(1, 1, 32, 32\)") as refused:
        score_answers(folder, store, tmp_path / "run")
    assert "class codes are one band of integers" in refused.value.remedy
