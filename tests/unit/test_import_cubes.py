"""Cubes as series: NetCDF and Zarr, their variables, dates, grids and missing pixels."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from import_fixtures import importing
from typer.testing import CliRunner

from rsbench.build.importers import netcdf
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import describe_import
from rsbench.cli.main import app
from rsbench.core.errors import InputError
from rsbench.store.read import Store, open_store

xarray = pytest.importorskip("xarray")
pytest.importorskip("rioxarray")
pytest.importorskip("rasterio")
DAYS = ("2020-01-05", "2020-02-05", "2020-03-05")
NUMBERS = np.random.default_rng(3).integers(500, 4000, (3, 2, 24, 120)).astype(np.int16)
run_import = importing("netcdf-series")


def cube(*, south_up: bool = False, bare: bool = False, stacked: bool = False, **about: Any) -> Any:
    """Bands B04 and B08 as variables, or as one variable with a dimension of bands."""
    y = 5_000_000 - 10.0 * np.arange(24)
    numbers = NUMBERS[:, :, ::-1] if south_up else NUMBERS
    coords = {
        "time": np.array(DAYS, "datetime64[ns]"), "y": y[::-1] if south_up else y,
        "x": 600_005 + 10.0 * np.arange(120),
    }  # fmt: skip
    if stacked:
        bands = {"reflectance": (("time", "band", "y", "x"), numbers)}
        data = xarray.Dataset(bands, {**coords, "band": ["B04", "B08"]})
    else:
        bands = {b: (("time", "y", "x"), numbers[:, i]) for i, b in enumerate(("B04", "B08"))}
        data = xarray.Dataset(bands, coords)
    for name in data.data_vars:
        data[name].attrs |= about
    data = data if about.get("crs") else data.rio.write_crs("EPSG:32633")
    return data if bare else data.rio.write_coordinate_system()


def written(data: Any, root: Path, kind: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"place.{'nc' if kind == 'nc' else 'zarr'}"
    if kind == "nc":
        data.to_netcdf(path)
    else:
        data.to_zarr(path, zarr_format=int(kind[-1]), consolidated=False)
    return path


def imported(source: Path, out: Path, **options: Any) -> Store:
    stated = {"unit": "reflectance", "scale": 1e-4, "bands": ("B04", "B08"), "region_size": 24}
    return open_store(run_import(source, out, **{**stated, **options}).path)


def require_pixels(store: Store) -> None:
    first = store.regions[0]
    assert store.sensor("image").bands == ("B04", "B08")
    assert [str(day) for day in store.region(first).times["image"]] == list(DAYS)
    grid = store.region(first).grids["image"]
    assert (grid.crs, grid.transform) == ("EPSG:32633", (10, 0, 600_000, 0, -10, 5_000_005))
    assert (store.read(first, "image") == NUMBERS[:, :, :, :24]).all()


@pytest.mark.parametrize(
    ("kind", "form"),
    [("nc", "plain"), ("nc", "south_up"), ("nc", "bare"), ("nc", "stacked"),
     ("zarr2", "bare"), ("zarr2", "stacked"),
     ("zarr3", "south_up"), ("zarr3", "stacked")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:The data type")
def test_cubes_are_read_with_their_place_and_dates(kind: str, form: str, tmp_path: Path) -> None:
    """``bare``: without attributes at x and y, of which GDAL makes a grid at 0, 0 upside down."""
    path = written(cube(**({} if form == "plain" else {form: True})), tmp_path / "in", kind)
    require_pixels(imported(path, tmp_path / "out"))


def test_bare_coordinates_give_a_place_in_a_series_too(tmp_path: Path) -> None:
    written(cube(bare=True, south_up=True), tmp_path / "in", "nc")
    store = importing("geotiff-series")(
        tmp_path / "in", tmp_path / "out", unit="reflectance", scale=1e-4, bands=("B04", "B08"),
        region_size=24,
    )  # fmt: skip
    require_pixels(open_store(store.path))


@pytest.mark.parametrize("kind", ["nc", "zarr3"])
def test_scale_fill_and_mask_come_from_the_cube(kind: str, tmp_path: Path) -> None:
    data = cube(scale_factor=2e-4, add_offset=0.01)
    for name in ("B04", "B08"):
        data[name].attrs["_FillValue"] = np.int16(NUMBERS[0, 0, 2, 3])
    data["SCL"] = (("time", "y", "x"), np.full((3, 24, 120), 4, np.int16))
    data["SCL"][1, 5, 6] = 9
    data["SCL"].attrs["grid_mapping"] = "spatial_ref"
    data = xarray.decode_cf(data, mask_and_scale=False, decode_coords=False)
    path = written(data, tmp_path / "in", kind)
    store = imported(path, tmp_path / "out", scale=None, mask="SCL", mask_valid="4,5")
    meta, valid = store.sensor("image"), store.read(store.regions[0], "image", array="valid")
    assert (meta.scale, meta.offset) == (2e-4, 0.01)
    assert not valid[0, 2, 3]
    assert not valid[1, 5, 6]
    assert valid.mean() > 0.99


@pytest.mark.parametrize("kind", ["nc", "zarr2"])
def test_a_cube_without_a_crs_is_told_what_to_type(kind: str, tmp_path: Path) -> None:
    data = cube().drop_vars("spatial_ref")
    for name in ("B04", "B08"):
        data[name].attrs.pop("grid_mapping", None)
        data[name].encoding.clear()
    path = written(data, tmp_path / "in", kind)
    kept = ["--region-size", "24", "--unit", "reflectance", "--scale", "1e-4", "--bands", "B04,B08"]
    words = ["import-dataset", "netcdf-series", str(path), "--out", str(tmp_path / "out"), *kept]
    told = str(CliRunner().invoke(app, words).exception)
    assert f"{path}: it has no CRS. State it with --crs EPSG:code" in told
    command = re.search(r"rsbench (import-dataset .*)", told)
    assert command is not None
    assert CliRunner().invoke(app, shlex.split(command[1])).exit_code == 0
    require_pixels(open_store(tmp_path / "out"))


def test_a_crs_in_attributes_is_read(tmp_path: Path) -> None:
    path = written(cube(crs="+init=epsg:32633"), tmp_path / "in", "zarr3")
    require_pixels(imported(path, tmp_path / "out"))


def test_cubes_that_are_not_understood_are_named(tmp_path: Path) -> None:
    uneven = cube().assign_coords(x=np.r_[600_005 + 10.0 * np.arange(119), 700_000.0])
    twice = cube().assign_coords(time=np.array([DAYS[0], *DAYS[:2]], "datetime64[ns]"))
    numbered = cube().assign_coords(time=[1, 2, 3])
    two_fills = cube(missing_value=np.int16(3), nodata=4)
    for data, says in (
        (uneven, "do not go in even steps"),
        (twice, f"B04 has 2 images of {DAYS[0]}"),
        (numbered, "holds no dates of the standard calendar"),
        (two_fills, "several numbers of missing pixels: missing_value 3, nodata 4"),
    ):
        path = written(data, tmp_path / says[:9].replace(" ", ""), "zarr3")
        with pytest.raises(InputError, match=says):
            imported(path, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no NetCDF file"):
        imported(tmp_path / "empty", tmp_path / "out")
    path = written(cube(stacked=True), tmp_path / "stacked", "nc")
    with pytest.raises(InputError, match="its 2 bands along band have no names"):
        imported(path, tmp_path / "out", bands=("reflectance",))
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="it is no NetCDF file"):
        imported(tmp_path / "a.h5", tmp_path / "out")


def test_a_dry_run_lists_variables_and_dates(tmp_path: Path) -> None:
    path = written(cube(), tmp_path / "in", "zarr3")
    options = ImportOptions(unit="reflectance", scale=1e-4, bands=("B08", "B04"), region_size=24)
    rows = describe_import("netcdf-series", path, "x", options)
    assert [str(row.date) for row in rows] == list(DAYS)
    assert (rows[0].file, rows[0].bands) == ("place.zarr:B08,B04", "B08,B04")


def test_one_netcdf_per_date_takes_the_date_of_its_name(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        data = cube().isel(time=at, drop=True)
        written(data, tmp_path / day, "nc").rename(tmp_path / f"{day}.nc")
        (tmp_path / day).rmdir()
    require_pixels(imported(tmp_path, tmp_path.parent / "out"))


@pytest.mark.parametrize("form", ["numbered", "nameless", "band first", "without time"])
def test_a_netcdf_with_a_dimension_of_bands_is_read(form: str, tmp_path: Path) -> None:
    data = cube(stacked=True)
    if form == "numbered":
        data = data.assign_coords(band=[665, 842])
    elif form == "without time":
        data = data.isel(time=0, drop=True)
    else:
        data = data.drop_vars("band")
        data = data.transpose("band", "time", "y", "x") if form == "band first" else data
    path = written(data, tmp_path / "in", "nc")
    if form != "without time":
        require_pixels(imported(path, tmp_path / "out"))
        return
    path = path.rename(path.with_name("place_2020-01-05.nc"))
    store = imported(path, tmp_path / "out")
    assert (store.read(store.regions[0], "image") == NUMBERS[:1, :, :, :24]).all()


def test_some_bands_of_a_dimension_are_chosen_by_its_numbers(tmp_path: Path) -> None:
    data = cube(stacked=True).assign_coords(band=[4, 8])
    store = imported(written(data, tmp_path / "in", "nc"), tmp_path / "out", bands=("8",))
    assert store.sensor("image").bands == ("8",)
    assert (store.read(store.regions[0], "image") == NUMBERS[:, 1:, :, :24]).all()


TAGS = {
    "NETCDF_DIM_EXTRA": "{time,band}", "NETCDF_DIM_band_VALUES": "{B04,B08,B11}",
    "NETCDF_DIM_time_VALUES": "{0,31}", "time#units": "days since 2020-01-05 00:00:00",
}  # fmt: skip


def test_bands_are_named_by_the_text_along_their_dimension(tmp_path: Path) -> None:
    """Text coordinates of a NetCDF 4, as GDAL gives them, are names and never replaced."""

    def bands(asked: tuple[str, ...] | None, tags: dict[str, str] = TAGS) -> Any:
        return netcdf.bands(tmp_path / "a.nc", {"image": "a.nc"}, asked, lambda _: (6, tags))

    assert {name: source.numbers for name, source in bands(None).items()} == {
        "B04": (1, 4), "B08": (2, 5), "B11": (3, 6),
    }  # fmt: skip
    found = bands(("B11", "B08", "B05"))
    assert list(found) == ["B04", "B08", "B11"]
    with pytest.raises(InputError, match="no variable B05; there are B04, B08, B11"):
        netcdf.sources(tmp_path / "a.nc", found, ("B11", "B08", "B05"))
    numbered = {**TAGS, "NETCDF_DIM_band_VALUES": "{1,2,3}"}
    assert list(bands(("red", "green", "blue"), numbered)) == ["red", "green", "blue"]
    with pytest.raises(InputError, match="its 3 bands along band have no names"):
        bands(("red", "green"), numbered)
    first = {**TAGS, "NETCDF_DIM_EXTRA": "{band,time}"}
    assert bands(None, first)["B08"].numbers == (3, 4)
    with pytest.raises(InputError, match="beside rows and columns it has time, band, level"):
        bands(None, {**TAGS, "NETCDF_DIM_EXTRA": "{time,band,level}"})


def test_two_variables_with_one_band_are_refused(tmp_path: Path) -> None:
    variables = {"image": "a", "error": "b"}
    with pytest.raises(InputError, match="two of its variables have a band B04"):
        netcdf.bands(tmp_path / "a.nc", variables, None, lambda _: (6, TAGS))


def test_a_dry_run_is_printed_as_json(tmp_path: Path) -> None:
    path = written(cube(stacked=True), tmp_path / "in", "nc")
    words = ["import-dataset", "netcdf-series", str(path), "--out", str(tmp_path / "out")]
    words += ["--unit", "reflectance", "--scale", "1e-4", "--bands", "B04,B08", "--json"]
    words += ["--region-size", "24"]
    found = json.loads(CliRunner().invoke(app, [*words, "--dry-run"]).stdout)
    assert [image["date"] for image in found["images"]] == list(DAYS)
    assert {image["bands"] for image in found["images"]} == {"B04,B08"}
    assert not (tmp_path / "out").exists()
    done = json.loads(CliRunner().invoke(app, words).stdout)
    assert done == {"path": str(tmp_path / "out"), "digest": open_store(tmp_path / "out").digest}
