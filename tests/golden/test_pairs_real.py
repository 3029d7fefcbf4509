"""Real pairs end to end: files of photographs, satellite images and land cover → table, report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_pairs
from import_fixtures import importing

from rsbench.core.errors import InputError
from rsbench.evaluation.run import RunRequest, run_model
from rsbench.store.read import Store, open_store

rasterio = pytest.importorskip("rasterio")
WV: dict[str, Any] = {
    "unit": "display", "bands": ("red", "green", "blue", "nir"), "coarse_unit": "reflectance",
    "coarse_scale": 1e-4, "coarse_bands": ("blue", "green", "red", "nir"), "region_size": 48,
}  # fmt: skip
AERIAL: dict[str, Any] = {
    "unit": "display", "bands": ("nir", "red", "green", "blue"), "coarse_unit": "reflectance",
    "coarse_scale": 1e-4, "coarse_bands": ("blue", "green", "red", "re1", "re2", "re3", "nir",
                                           "re4", "swir1", "swir2"),
}  # fmt: skip
run_import = importing("geotiff-pairs")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    source = real_pairs.naip_landsat(tmp_path_factory.mktemp("real") / "wv")
    labels = str(source / "wv-cover.yaml")
    return open_store(run_import(source, source.parent / "wv.zarr", **WV, labels=labels).path)


def test_naip_and_landsat_are_stored_as_in_the_patch(store: Store) -> None:
    patch = np.load(real_pairs.folder() / real_pairs.PATCH)["arr_0"][0]
    assert store.digest.startswith("62d1c65c24f8")
    name = "wv-r03c04"
    np.testing.assert_array_equal(store.read(name, "fine")[0], patch[:4, 144:192, 192:240])
    landsat = patch[11:15, 146:192:4, 194:240:4]
    np.testing.assert_array_equal(store.read(name, "coarse")[0], landsat.astype(np.int16))
    codes = store.read(name, "coarse", array="labels")[0]
    for row, column in ((0, 0), (5, 7), (11, 11)):
        block = patch[8, 144 + 4 * row :, 192 + 4 * column :][:4, :4].astype(int)
        assert np.bincount(block.ravel())[codes[row, column]] == np.bincount(block.ravel()).max()


def test_a_run_ends_in_a_table_without_intervals(store: Store, tmp_path: Path) -> None:
    request = RunRequest(model="window_lda", data=store.path, out=tmp_path / "run", keep="all",
                         device="cpu")  # fmt: skip
    table = run_model(request).scores.table()
    rows = table[(table["band"] == "all") & (table["stratum"] == "all")]
    miou = rows[rows["metric"] == "miou@1"].set_index("model")
    known = {"majority": 0.475, "pixel_lda": 0.4417, "window_lda": 0.4528}
    assert miou.loc[[*known], "value"].to_dict() == pytest.approx(known, abs=5e-4)
    assert (miou["n_regions"] == 5).all()
    assert (rows["interval"] == "none").all()
    assert "no intervals: fewer than 8 regions" in (tmp_path / "run" / "table.md").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "No intervals: 5 regions, at least 8 are needed" in page
    assert "GeoTIFFs in the folder maps" in page
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert sum(told["class_pixels"]["test"].values()) == 5 * 12 * 12
    assert told["class_pixels"]["train"]["impervious"] > 0 == told["class_pixels"]["train"]["water"]
    maps = sorted((tmp_path / "run" / "maps" / "window_lda").glob("*/*.tif"))
    assert len(maps) == 10
    with rasterio.open(maps[0]) as shares, rasterio.open(maps[1]) as classes:
        assert shares.read().sum(axis=0) == pytest.approx(1, abs=1e-5)
        np.testing.assert_array_equal(shares.read().argmax(axis=0), classes.read(1))


def test_an_aerial_photograph_comes_onto_sentinel_pixels_by_the_command_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner
    from rasterio.rio.main import main_group

    monkeypatch.chdir(tmp_path)
    source = real_pairs.aerial_sentinel(tmp_path / "aerial")
    with pytest.raises(InputError, match="304×304 fine pixels are no whole blocks of 6×6") as e:
        run_import(source, tmp_path / "out", **AERIAL)
    command = e.value.remedy[e.value.remedy.index("rio ") :]
    assert CliRunner().invoke(main_group, shlex.split(command)[1:]).exit_code == 0
    (tmp_path / "OUT.tif").replace(source / "fine" / "2020-07-12.tif")
    with pytest.raises(InputError, match="6×6 coarse pixels are too few for train, val and test"):
        run_import(source, tmp_path / "out", **AERIAL)
