"""Red, green and blue come from names of bands, from --rgb or from a picture's file; never from
the order of the bands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from build_fixtures import write_raster

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.core.band_colours import FALSE_COLOUR, TRUE_COLOUR, bands_of
from rsbench.core.errors import InputError
from rsbench.evaluation.pictures import drawn
from rsbench.metrics.suites import for_bands
from rsbench.store.layout import SensorMeta
from rsbench.store.read import open_store


def test_colours_are_found_by_name() -> None:
    assert bands_of(("B02", "B03", "B04", "B08"), TRUE_COLOUR) == ("B04", "B03", "B02")
    assert bands_of(("green", "Red", "NIR"), FALSE_COLOUR) == ("NIR", "Red", "green")
    assert bands_of(("b01", "b02", "b03", "b04"), TRUE_COLOUR) is None  # MODIS: b04 is green
    assert bands_of(("b1", "b2", "b3"), TRUE_COLOUR) is None


def test_pictures_are_grey_where_nothing_says_a_colour() -> None:
    assert drawn(("b1", "b2", "b3"), None) == ("b1",)
    assert drawn(("b1", "b2", "b3"), ("b3", "b2", "b1")) == ("b3", "b2", "b1")  # as stated
    assert drawn(("green", "red", "nir"), ("green", "red", "nir")) == ("nir", "red", "green")
    assert drawn(("blue", "green", "red"), None) == ("red", "green", "blue")
    assert drawn(("b1", "b2", "b3"), ("b1", "b2", "b3")) == ("b1", "b2", "b3")  # older stores


def sensor(folder: Path, count: int = 3, *, dtype: str = "uint16", **options: Any) -> SensorMeta:
    """Import three dates of images with bands; return the metadata and the remarks."""
    mark = options.pop("photometric", None)
    rng = np.random.default_rng(0)
    for day in ("2020-01-05", "2020-02-05", "2020-03-05"):
        path = folder / "in" / f"{day}.tif"
        write_raster(path, rng.integers(1, 200, (count, 32, 32)).astype(dtype))
        if mark:
            with rasterio.open(path, "r+") as data:
                data.colorinterp = [rasterio.enums.ColorInterp[name] for name in mark]
    stated: dict[str, Any] = {"unit": "reflectance", "scale": 1e-3, "split": "test"}
    asked = ImportOptions(**{**stated, **options})
    said: list[str] = []
    import_dataset("geotiff-series", folder / "in", folder / "out", asked, note=said.append)
    meta = open_store(folder / "out").meta.sensors["image"]
    assert any("--rgb NAMES" in text for text in said) == (meta.display is None)
    return meta


def test_bands_without_colours_are_no_picture(tmp_path: Path) -> None:
    meta = sensor(tmp_path)
    assert meta.display is None
    kept, dropped = for_bands(("lpips.alex@1", "mae@1"), 3, rgb=False)
    assert kept == ("mae@1",)
    assert "--rgb NAMES" in dropped["lpips.alex@1"]


def test_colours_are_stated_at_import(tmp_path: Path) -> None:
    assert sensor(tmp_path / "a", rgb=("b3", "b1", "b2")).display == ("b3", "b1", "b2")
    named = sensor(tmp_path / "b", 4, bands=("B02", "B03", "B04", "B08"))
    assert named.display == ("B04", "B03", "B02")
    with pytest.raises(InputError, match=r"band of the files .b9."):
        sensor(tmp_path / "c", rgb=("b1", "b2", "b9"))
    with pytest.raises(InputError, match="it names 2 bands"):
        sensor(tmp_path / "d", rgb=("b1", "b2"))


def test_a_picture_says_its_colours_itself(tmp_path: Path) -> None:
    marks = ("blue", "green", "red")
    picture = {"unit": "display", "scale": None, "dtype": "uint8", "photometric": marks}
    assert sensor(tmp_path / "a", **picture).display == ("b3", "b2", "b1")
    reflectance = {"dtype": "uint8", "photometric": marks}
    assert sensor(tmp_path / "b", **reflectance).display is None
