"""Kinds of files and numbers: each is imported, or refused with a remedy that works."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from build_fixtures import write_raster
from import_fixtures import typed
from rasterio.errors import NotGeoreferencedWarning
from series_fixtures import BANDS, DAYS, image, imported, same_pixels, whole

from rsbench.core.errors import InputError
from rsbench.store.read import open_store


def test_south_up_images_are_turned(tmp_path: Path) -> None:
    from affine import Affine

    for at, day in enumerate(DAYS):
        path = tmp_path / "a" / f"{day}.tif"
        write_raster(path, image(at)[:, ::-1])
        with rasterio.open(path, "r+") as file:
            file.transform = Affine(10, 0, 500_000, 0, 10, 5_000_020 - 320)
    store = imported(tmp_path / "a", tmp_path / "out", bands=BANDS, region_size=32)
    plain = whole(tmp_path)
    assert same_pixels(store, plain)
    assert store.region(store.regions[0]).grids == plain.region(plain.regions[0]).grids


def test_mirrored_images_are_refused(tmp_path: Path) -> None:
    from affine import Affine

    write_raster(tmp_path / "a" / "2020.tif", image(0))
    with rasterio.open(tmp_path / "a" / "2020.tif", "r+") as file:
        file.transform = Affine(-10, 0, 500_000, 0, -10, 5_000_020)
    with pytest.raises(InputError, match=r"rotated or mirrored.*gdalwarp"):
        imported(tmp_path / "a", tmp_path / "out")


def test_images_without_a_place_need_a_pixel_size(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        path = tmp_path / "a" / f"{day}.tif"
        path.parent.mkdir(exist_ok=True)
        with (
            pytest.warns(NotGeoreferencedWarning),
            rasterio.open(
                path, "w", driver="GTiff", count=2, height=32, width=160, dtype="uint16"
            ) as file,
        ):
            file.write(image(at))
    for options in ({}, {"crs": "EPSG:3857"}, {"gsd": 10.0}):
        with pytest.raises(InputError, match=r"no CRS and no place.*--crs EPSG:3857 --gsd 10;"):
            imported(tmp_path / "a", tmp_path / "out", **options)
    store = imported(
        tmp_path / "a", tmp_path / "out", crs="EPSG:3857", gsd=10.0, bands=BANDS, region_size=32
    )
    assert same_pixels(store, whole(tmp_path))
    assert store.sensor("image").gsd == 10.0


def test_jpeg_2000_is_read(tmp_path: Path) -> None:
    from affine import Affine

    for at, day in enumerate(DAYS):
        path = tmp_path / "a" / f"{day}.jp2"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(
            path, "w", driver="JP2OpenJPEG", count=2, height=32, width=160, dtype="uint16",
            crs="EPSG:32633", transform=Affine(10, 0, 500_000, 0, -10, 5_000_020),
            QUALITY=100, REVERSIBLE="YES",
        ) as file:  # fmt: skip
            file.write(image(at))
    store = imported(tmp_path / "a", tmp_path / "out", bands=BANDS, region_size=32)
    assert same_pixels(store, whole(tmp_path))


def test_envi_files_are_read(tmp_path: Path) -> None:
    header = (
        "ENVI\nsamples = 160\nlines = 32\nbands = 2\ndata type = 12\ninterleave = bsq\n"
        "header offset = 0\nbyte order = 0\n"
        "map info = {UTM, 1, 1, 500000, 5000020, 10, 10, 33, North, WGS-84}\n"
    )
    (tmp_path / "a").mkdir()
    for at, day in enumerate(DAYS):
        (tmp_path / "a" / f"x_{day}").write_bytes(image(at).tobytes())
        (tmp_path / "a" / f"x_{day}.hdr").write_text(header)
    store = imported(tmp_path / "a", tmp_path / "out", bands=BANDS, region_size=32)
    assert same_pixels(store, whole(tmp_path))


def netcdf(path: Path, days: tuple[str, ...], **changes: Any) -> None:
    """Variables B04 and B08 ``(t, y, x)`` and SCL, south up, as xarray writes them."""
    from pyproj import CRS
    from scipy.io import netcdf_file

    stack = np.stack([image(DAYS.index(day)) for day in days]).astype(">i2")
    path.parent.mkdir(exist_ok=True)
    with netcdf_file(path, "w") as file:
        for name, values in (
            ("t", [(date.fromisoformat(day) - date(1990, 1, 1)).days for day in days]),
            ("y", 5_000_020 - 320 + 5 + 10.0 * np.arange(32)),
            ("x", 500_005 + 10.0 * np.arange(160)),
        ):
            file.createDimension(name, len(values))
            held = file.createVariable(name, "i4" if name == "t" else "f8", (name,))
            held[:] = values
            held.standard_name = {"t": "time"}.get(name, f"projection_{name}_coordinate")
        file.variables["t"].units = changes.get("units", "days since 1990-01-01")
        file.variables["t"].calendar = changes.get("calendar", "standard")
        crs = file.createVariable("crs", "i4", ())
        crs.spatial_ref = CRS("EPSG:32633").to_wkt("WKT1_GDAL")
        for name, values in (("B04", stack[:, 0]), ("B08", stack[:, 1]), ("SCL", stack[:, 0])):
            held = file.createVariable(name, "i2", ("t", "y", "x"))
            held[:] = values[:, ::-1]
            held.grid_mapping = "crs"
            held._FillValue = np.int16(-1)


@pytest.mark.parametrize("files", [(DAYS,), tuple((day,) for day in DAYS)], ids=["one", "each"])
def test_variables_of_netcdf_are_bands(files: tuple[tuple[str, ...], ...], tmp_path: Path) -> None:
    for number, days in enumerate(files):
        netcdf(tmp_path / "a" / f"part{number}.nc", days)
    with pytest.raises(
        InputError, match=r"variables are bands; there are B04, B08, SCL\. Name them"
    ):
        imported(tmp_path / "a", tmp_path / "no", region_size=32)
    store = imported(tmp_path / "a", tmp_path / "out", bands=BANDS, region_size=32)
    assert store.sensor("image").bands == BANDS
    assert tuple(map(str, store.region(store.regions[0]).times["image"])) == DAYS
    assert same_pixels(store, whole(tmp_path))


@pytest.mark.parametrize(
    ("changes", "bands", "says"),
    [
        ({}, ("B04", "B11"), r"has no variable B11; there are B04, B08, SCL"),
        ({"calendar": "noleap"}, BANDS, "its calendar is noleap"),
        ({"units": "fortnights"}, BANDS, r"it has t, in fortnights"),
    ],
)
def test_netcdf_that_is_not_understood_is_refused(
    changes: dict[str, str], bands: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    netcdf(tmp_path / "a" / "x.nc", DAYS, **changes)
    with pytest.raises(InputError, match=says):
        imported(tmp_path / "a", tmp_path / "out", bands=bands, region_size=32)


@pytest.mark.parametrize("suffix", [".h5", ".zarr", ".npy", ".png"])
def test_other_kinds_of_files_are_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"2020{suffix}").write_bytes(b"x")
    told = "import-dataset netcdf-series" if suffix == ".zarr" else "GeoTIFF first"
    with pytest.raises(InputError, match=rf"no GeoTIFF, but 1 \{suffix} files.*{told}"):
        imported(tmp_path, tmp_path / "out")


def test_a_zarr_is_refused_with_its_importer_and_a_netcdf_of_it_is_read(
    tmp_path: Path,
) -> None:
    pytest.importorskip("rioxarray")
    xarray = pytest.importorskip("xarray")
    draw = np.random.default_rng(0)
    cube = xarray.Dataset(
        {band: (("time", "y", "x"), draw.integers(300, 3000, (3, 32, 160))) for band in "ab"},
        {
            "time": np.array(["2019-07-01", "2020-07-01", "2021-07-01"], "datetime64[ns]"),
            "y": 5_100_000 - 10.0 * np.arange(32), "x": 600_005 + 10.0 * np.arange(160),
        },
    ).astype("uint16")  # fmt: skip
    place = tmp_path / "in" / "cube.zarr"
    cube.to_zarr(place, zarr_format=2)
    for source in (place, place.parent):
        with pytest.raises(InputError, match=r"1 \.zarr files, which are not read") as caught:
            imported(source, tmp_path / "out")
        assert "import-dataset netcdf-series" in caught.value.remedy
    (tmp_path / "nc").mkdir()
    xarray.open_zarr(place).rio.write_crs("EPSG:32633").to_netcdf(tmp_path / "nc" / "cube.nc")
    made = imported(tmp_path / "nc", tmp_path / "out", bands=("a", "b"), region_size=32)
    first = made.read_physical(made.regions[0], "image")[0]
    wanted = np.stack([cube["a"].values, cube["b"].values], axis=1)[..., :32] * 1e-4
    assert np.allclose(first, wanted, atol=1e-6)


def test_a_world_file_places_an_image_and_an_aux_file_states_its_nodata(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for at, day in enumerate(DAYS):
        path = tmp_path / "in" / f"s_{day}.tif"
        values = image(at)
        values[:, :, :16] = 9
        shape = {"count": 2, "height": 32, "width": 160, "dtype": "uint16"}
        with (
            pytest.warns(NotGeoreferencedWarning),
            rasterio.open(path, "w", driver="GTiff", **shape) as data,
        ):
            data.write(values)
        path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n600005\n5099995\n")
        stated = "".join(
            f'<PAMRasterBand band="{band}"><NoDataValue>9</NoDataValue></PAMRasterBand>'
            for band in (1, 2)
        )
        Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{stated}</PAMDataset>")
    store = imported(tmp_path / "in", tmp_path / "out", crs="EPSG:32633", region_size=32)
    name = store.regions[0]
    assert store.region(name).grids["image"].transform[2::3] == (600_000, 5_100_000)
    valid = store.read_physical(name, "image")[1].reshape(3, 32, 32)
    assert valid[:, :, 16:].all()
    assert not valid[:, :, :16].any()


# Types and units -------------------------------------------------------------------------


def test_integers_of_32_bits_are_stored_exactly_or_refused(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        values = image(at).astype(np.int32)
        values[:, 0, 0] = -(2**31)
        write_raster(tmp_path / "a" / f"{day}.tif", values, nodata=-(2**31))
    store = imported(tmp_path / "a", tmp_path / "out", bands=BANDS, region_size=32)
    assert store.sensor("image").dtype == "float32"
    first = store.regions[0]
    assert not store.read(first, "image", array="valid")[:, 0, 0].any()
    held = store.read(first, "image")[:, :, 1:]
    assert (held == np.stack([image(at)[:, 1:, :32] for at in range(3)])).all()
    write_raster(tmp_path / "a" / f"{DAYS[0]}.tif", np.full((2, 32, 160), 2**25, np.int32),
                 nodata=-(2**31))  # fmt: skip
    with pytest.raises(InputError, match=r"int32 numbers up to 33554432.*--nodata"):
        imported(tmp_path / "a", tmp_path / "no", bands=BANDS, region_size=32)


def test_an_index_is_a_unit_of_its_own(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        values = (image(at)[:1].astype(np.int32) * 4 - 4000).clip(-2000, 10000).astype(np.int16)
        write_raster(tmp_path / "a" / f"{day}.tif", values, nodata=-3000)
    options: dict[str, Any] = {"bands": ("ndvi",), "region_size": 32}
    with pytest.raises(InputError, match=r"NDVI or another index, type: .*--unit index") as told:
        imported(tmp_path / "a", tmp_path / "out", unit=None, scale=None, **options)
    typed(told.value, 2)
    found = open_store(tmp_path / "out").sensor("image")
    assert (found.unit, found.scale, found.value_range) == ("index", 1e-4, (-1.0, 1.0))
