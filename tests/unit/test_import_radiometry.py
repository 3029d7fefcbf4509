"""Scale, offset and value range: from every place that states them, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from build_fixtures import write_raster
from import_fixtures import importing

from rsbench.core.errors import InputError
from rsbench.store.layout import SensorMeta
from rsbench.store.read import open_store

series = importing("geotiff-series")
FLOAT32 = float(np.float32(1e-4))


def folder(root: Path, *, dtype: str = "uint16", top: int = 4000, **changes: Any) -> Path:
    """Two dates; ``scales``, ``offsets`` and ``tags`` are set after writing."""
    for year in (2019, 2020):
        values: npt.NDArray[Any] = np.random.default_rng(year).integers(100, top, (2, 32, 160))
        path = root / f"{year}.tif"
        extra = {"nbits": changes["nbits"]} if "nbits" in changes else {}
        write_raster(path, values.astype(dtype), **extra)
        with rasterio.open(path, "r+") as file:
            for name in ("scales", "offsets"):
                if name in changes:
                    setattr(file, name, changes[name])
            file.update_tags(**changes.get("tags", {}))
            file.update_tags(1, **changes.get("band_tags", {}))
            file.update_tags(2, **changes.get("band_tags", {}))
    return root


def meta(source: Path, out: Path, **options: Any) -> SensorMeta:
    return open_store(series(source, out, region_size=32, **options).path).sensor("image")


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": (FLOAT32,) * 2, "offsets": (-0.1,) * 2},
        {"band_tags": {"scale_factor": "0.0001", "add_offset": "-0.1"}},
        {"tags": {"SCALE_FACTOR": "0.0001", "ADD_OFFSET": "-0.1"}},
        {"scales": (FLOAT32,) * 2, "tags": {"scale_factor": "1e-4", "add_offset": "-0.1"}},
    ],
)
def test_scale_and_offset_are_read_wherever_they_stand(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", **changes)
    found = meta(source, tmp_path / "out", unit="reflectance")
    assert (found.scale, found.offset) == pytest.approx((1e-4, -0.1), rel=1e-6)
    same = meta(source, tmp_path / "same", unit="reflectance", scale=1e-4, offset=-0.1)
    assert (same.scale, same.offset) == (1e-4, -0.1)
    with pytest.raises(InputError, match=r"--scale 0\.0002: the files state 0\.0001"):
        series(source, tmp_path / "no", unit="reflectance", scale=2e-4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"scales": (1e-4,) * 2, "tags": {"scale_factor": "0.001"}},
            "its scale is 0.0001 by band 1 and 0.001 by a tag of the file",
        ),
        (
            {"band_tags": {"add_offset": "1"}, "tags": {"add_offset": "2"}},
            "its offset is 1 by a tag of band 1 and 2 by a tag of the file",
        ),
        ({"tags": {"scale_factor": "a lot"}}, "a tag of the file states the scale 'a lot'"),
        ({"scales": (1e-4, 1e-3)}, "its bands have different scales"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", **changes)
    with pytest.raises(InputError, match=says):
        series(source, tmp_path / "no", unit="reflectance")


def test_pictures_need_an_evident_or_stated_range(tmp_path: Path) -> None:
    twelve = folder(tmp_path / "twelve", nbits=12)
    assert meta(twelve, tmp_path / "a", unit="display").value_range == (0.0, 4095.0)
    source = folder(tmp_path / "sixteen")
    with pytest.raises(InputError, match="which range the uint16 numbers have") as caught:
        series(source, tmp_path / "no", unit="display")
    assert "--unit display --value-range 0.0 4095.0" in caught.value.remedy
    stated = meta(source, tmp_path / "b", unit="display", value_range=(0.0, 4095.0))
    assert stated.value_range == (0.0, 4095.0)
    real = folder(tmp_path / "real", dtype="float32")
    found = meta(real, tmp_path / "c", unit="display", value_range=(0.0, 4000.0))
    assert found.value_range == (0.0, 4000.0)
    scaled = meta(folder(tmp_path / "d", dtype="uint8", top=200), tmp_path / "e", unit="display",
                  scale=-1.0, offset=255.0)  # fmt: skip
    assert scaled.value_range == (0.0, 255.0)
    for bad in ((1.0, 1.0), (0.0, float("inf"))):
        with pytest.raises(InputError, match="--value-range"):
            series(source, tmp_path / "no", unit="display", value_range=bad)


def test_a_folder_name_beyond_ascii_gives_plain_region_names(tmp_path: Path) -> None:
    made = series(folder(tmp_path / "Städte São"), tmp_path / "out", unit="reflectance",
                  scale=1e-4, region_size=32)  # fmt: skip
    index = json.loads((made.path / "index.json").read_text())
    assert index["recipe"]["name"] == "St-dte-S-o"
    assert open_store(made.path).regions[0] == "St-dte-S-o-r00c00"


def test_grids_that_differ_by_rounding_are_one(tmp_path: Path) -> None:
    source = folder(tmp_path / "in")
    with rasterio.open(source / "2020.tif", "r+") as file:
        a, _, c, _, e, f = tuple(file.transform)[:6]
        file.transform = rasterio.Affine(a + 1e-12, 0, c + 1e-7, 0, e, f)
    told = {"unit": "reflectance", "scale": 1e-4}
    assert meta(source, tmp_path / "out", **told).gsd == 10.0
    with rasterio.open(source / "2020.tif", "r+") as file:
        file.transform = rasterio.Affine(a, 0, c + 0.05, 0, e, f)
    with pytest.raises(InputError, match=r"differ in grid.*500000, .*500000\.05, "):
        series(source, tmp_path / "no", **told)
