"""Which pixels are valid: tags, --nodata, NaN, masks and alpha bands, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from import_fixtures import importing
from rasterio.enums import ColorInterp

from rsbench.core.errors import InputError, PixelError
from rsbench.store.read import open_store

SHAPE = (32, 160)
HOLE = np.zeros(SHAPE, np.bool_)
HOLE[4:12] = True
series = importing("geotiff-series")
Pixels = npt.NDArray[Any]


def image(year: int, dtype: str = "uint8", bands: int = 3) -> Pixels:
    rng = np.random.default_rng(year)
    return rng.integers(40, 200, (bands, *SHAPE)).astype(dtype)


def write(path: Path, values: Pixels, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=values.shape[0], height=values.shape[1],
        width=values.shape[2], dtype=values.dtype, crs="EPSG:32633",
        transform=Affine(10, 0, 5e5, 0, -10, 5e6), **options,
    ) as file:  # fmt: skip
        file.write(values)


def masked(path: Path, year: int) -> None:
    write(path, image(year))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(~HOLE)


def masked_beside(path: Path, year: int) -> None:
    write(path, image(year))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(~HOLE)
    assert path.with_name(path.name + ".msk").is_file()


def with_alpha(path: Path, year: int) -> None:
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)[None]
    write(path, np.concatenate([image(year), alpha]), photometric="RGB", alpha="YES")


def tagged(path: Path, year: int) -> None:
    write(path, np.where(HOLE, 7, image(year)).astype(np.uint8), nodata=7)


def mask_over_nan(path: Path, year: int) -> None:
    write(path, np.where(HOLE, np.nan, image(year) / 255).astype(np.float32))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(~HOLE)


def folder(root: Path, make: Callable[[Path, int], None]) -> Path:
    for year in (2019, 2020):
        make(root / f"{year}.tif", year)
    return root


@pytest.mark.parametrize("make", [masked, masked_beside, with_alpha, tagged, mask_over_nan])
def test_what_a_file_marks_as_missing_is_not_valid(
    make: Callable[[Path, int], None], tmp_path: Path
) -> None:
    unit = "reflectance" if make is mask_over_nan else "display"
    source = folder(tmp_path / "in", make)
    store = open_store(series(source, tmp_path / "out", unit=unit, region_size=32).path)
    for name, block in zip(store.regions, (0, 2, 4), strict=True):
        part = np.s_[:, 32 * block : 32 * (block + 1)]
        valid = store.read(name, "image", array="valid")
        assert (valid == ~HOLE[part]).all()
        values = store.read(name, "image")
        assert values.shape[1] == 3
        for t, year in enumerate((2019, 2020)):
            wanted = image(year)[:, *part] / (255 if make is mask_over_nan else 1)
            assert np.allclose(values[t][:, valid[t]], wanted[:, valid[t]])


def test_stated_nodata_adds_to_tag_and_nan(tmp_path: Path) -> None:
    def make(path: Path, year: int) -> None:
        values = image(year, "float32") / 255
        values[:, 0], values[:, 1], values[:, 2] = np.nan, -9999, -0.1
        write(path, values, nodata=-9999)

    source = folder(tmp_path / "in", make)
    with pytest.raises(PixelError, match="--nodata nan"):
        series(source, tmp_path / "no", unit="reflectance", region_size=32)
    nan = float("nan")
    made = series(source, tmp_path / "out", unit="reflectance", nodata=nan, region_size=32)
    store = open_store(made.path)
    rows = store.read(store.regions[0], "image", array="valid").all(axis=(0, 2))
    assert list(np.flatnonzero(~rows)) == [0, 1]


def test_tags_of_some_files_only_need_a_statement(tmp_path: Path) -> None:
    def make(path: Path, year: int) -> None:
        write(path, np.where(HOLE, 0, image(year)), **({"nodata": 0} if year == 2020 else {}))

    source = folder(tmp_path / "in", make)
    with pytest.raises(InputError, match="differ in nodata: None and 0"):
        series(source, tmp_path / "no", unit="display", region_size=32)
    made = series(source, tmp_path / "out", unit="display", nodata=0, region_size=32)
    store = open_store(made.path)
    assert (store.read(store.regions[0], "image", array="valid") == ~HOLE[:, :32]).all()


def test_a_fourth_band_marked_as_alpha_is_a_band_if_it_is_named(tmp_path: Path) -> None:
    def make(path: Path, year: int) -> None:
        write(path, image(year, bands=4), photometric="RGB", alpha="YES")
        with rasterio.open(path) as file:
            assert file.colorinterp[3] == ColorInterp.alpha

    source = folder(tmp_path / "in", make)
    with pytest.raises(InputError, match=r"band 4 is marked as alpha.*--bands"):
        series(source, tmp_path / "no", unit="display", region_size=32)
    assert not (tmp_path / "no").exists()
    bands = ("red", "green", "blue", "nir")
    made = series(source, tmp_path / "out", unit="display", bands=bands, region_size=32)
    store = open_store(made.path)
    assert store.sensor("image").bands == bands
    assert store.read(store.regions[0], "image", array="valid").all()


def test_an_alpha_band_that_is_not_the_last_is_refused(tmp_path: Path) -> None:
    def make(path: Path, year: int) -> None:
        write(path, image(year), photometric="MINISBLACK", alpha="YES")
        with rasterio.open(path) as file:
            assert file.colorinterp[1] == ColorInterp.alpha

    source = folder(tmp_path / "in", make)
    with pytest.raises(InputError, match=r"its band 2 of 3 is marked as alpha.*--bands"):
        series(source, tmp_path / "no", unit="display", region_size=32)
    bands = ("red", "green", "nir")
    made = series(source, tmp_path / "out", unit="display", bands=bands, region_size=32)
    assert open_store(made.path).sensor("image").bands == bands


def test_palettes_and_files_of_several_images_are_refused(tmp_path: Path) -> None:
    def palette(path: Path, year: int) -> None:
        write(path, image(year, bands=1), photometric="palette")
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {n: (n, 255 - n, 0, 255) for n in range(256)})

    def two(path: Path, year: int) -> None:
        write(path, image(year))
        write(path, image(year), APPEND_SUBDATASET=True)

    with pytest.raises(InputError, match=r"indices of a palette.*-expand rgb"):
        series(folder(tmp_path / "a", palette), tmp_path / "no", unit="display")
    with pytest.raises(InputError, match=r"it holds 2 images.*file of its own"):
        series(folder(tmp_path / "b", two), tmp_path / "no", unit="display")


def test_nodata_that_numbers_of_the_type_cannot_be_is_refused(tmp_path: Path) -> None:
    def make(path: Path, year: int) -> None:
        write(
            path, np.where(HOLE, 0, image(year, "uint16")), nodata=65535, photometric="MINISBLACK"
        )
        whole = path.read_bytes()
        assert whole.count(b"65535\0") == 1
        path.write_bytes(whole.replace(b"65535\0", b"-9999\0"))

    source = folder(tmp_path / "in", make)
    told = {"unit": "reflectance", "scale": 0.001, "region_size": 32}
    with pytest.raises(InputError, match=r"nodata tag is -9999, which uint16 numbers cannot be"):
        series(source, tmp_path / "no", **told)
    with pytest.raises(InputError, match=r"--nodata -1: 2019.tif holds uint16 numbers"):
        series(source, tmp_path / "no", nodata=-1.0, **told)
    store = open_store(series(source, tmp_path / "out", nodata=0.0, **told).path)
    assert (store.read(store.regions[0], "image", array="valid") == ~HOLE[:, :32]).all()
