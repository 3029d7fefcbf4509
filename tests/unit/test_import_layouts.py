"""Layouts of folders: each is imported, or refused with a reason and a remedy that works."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from build_fixtures import write_raster
from import_fixtures import typed
from rasterio.errors import NotGeoreferencedWarning

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.layout import band_layout, compiled
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import InputError
from rsbench.store.read import Store, open_store

DAYS = ("2020-01-05", "2020-02-05", "2020-03-05")
BANDS = ("B04", "B08")
STATED: dict[str, Any] = {"unit": "reflectance", "scale": 1e-4}
Numbers = npt.NDArray[np.uint16]


def image(day: int, seed: int = 0) -> Numbers:
    """Two bands of 32 × 160 pixels."""
    rng = np.random.default_rng([day, seed])
    return rng.integers(500, 4000, (2, 32, 160)).astype(np.uint16)


def imported(source: Path, out: Path, **options: Any) -> Store:
    stated = ImportOptions(**{**STATED, **options})
    return open_store(import_dataset("geotiff-series", source, out, stated).path)


def whole(root: Path) -> Store:
    """The same images, one file per date."""
    for at, day in enumerate(DAYS):
        write_raster(root / "plain" / f"{day}.tif", image(at))
    return imported(root / "plain", root / "plain.zarr", bands=BANDS, region_size=32)


def same_pixels(one: Store, other: Store) -> bool:
    return all(
        (one.read(a, "image") == other.read(b, "image")).all()
        for a, b in zip(one.regions, other.regions, strict=True)
    )


# A file per band -------------------------------------------------------------------------


def per_band(root: Path, name: Callable[[str, str], str]) -> Path:
    for at, day in enumerate(DAYS):
        for band, values in zip(BANDS, image(at), strict=True):
            write_raster(root / name(day, band), values)
    return root


NAMES: dict[str, tuple[Callable[[str, str], str], str]] = {
    "flat": (lambda day, band: f"{day}_{band}.tif", "{date}_{band}.tif"),
    "folder per date": (lambda day, band: f"{day}/{band}.tif", "{date}/{band}.tif"),
    "folder per band": (lambda day, band: f"{band}/x_{day}.tif", "{band}/x_{date}.tif"),
    "product": (
        lambda day, band: f"T33TVL_{day.replace('-', '')}T10031{day[6]}_{band}.tif",
        "*_{date}T*_{band}.tif",
    ),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_file_per_band_is_one_image_per_date(
    names: tuple[Callable[[str, str], str], str], tmp_path: Path
) -> None:
    source = per_band(tmp_path / "a", names[0])
    store = imported(source, tmp_path / "out", layout=names[1], region_size=32)
    assert store.sensor("image").bands == BANDS
    assert same_pixels(store, whole(tmp_path))
    turned = imported(source, tmp_path / "t", layout=names[1], bands=("B08", "B04"), region_size=32)
    first = turned.regions[0]
    assert (turned.read(first, "image")[:, ::-1] == store.read(first.replace("t-", "a-"), "image")
            ).all()  # fmt: skip


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_without_a_layout_the_command_is_told_and_works(
    names: tuple[Callable[[str, str], str], str], tmp_path: Path
) -> None:
    source = per_band(tmp_path / "a", names[0])
    with pytest.raises(InputError, match="type: rsbench import-dataset") as refused:
        imported(source, tmp_path / "out", region_size=32)
    typed(refused.value)
    store = open_store(tmp_path / "out")
    assert store.sensor("image").bands == BANDS
    assert same_pixels(store, whole(tmp_path))


def test_files_of_bands_that_do_not_fit_are_named(tmp_path: Path) -> None:
    source = per_band(tmp_path / "a", NAMES["flat"][0])
    layout = NAMES["flat"][1]
    (source / f"{DAYS[1]}_B08.tif").unlink()
    with pytest.raises(
        InputError, match=r"the bands of 2020-02-05: its files are of the bands B04"
    ):
        imported(source, tmp_path / "out", layout=layout, bands=BANDS)
    write_raster(source / f"{DAYS[1]}_B08.tif", image(1)[1, ::2, ::2], gsd=20.0)
    with pytest.raises(InputError, match=r"its grid is not that of 2020-02-05_B04\.tif"):
        imported(source, tmp_path / "out", layout=layout)
    write_raster(source / f"{DAYS[1]}_B08.tif", image(1)[1].astype(np.int16))
    with pytest.raises(InputError, match=r"its dtype is int16, that of 2020-02-05_B04\.tif uint16"):
        imported(source, tmp_path / "out", layout=layout)
    write_raster(source / f"{DAYS[1]}_B08.tif", image(1))
    with pytest.raises(InputError, match="it is the file of one band, but holds 2"):
        imported(source, tmp_path / "out", layout=layout)


@pytest.mark.parametrize("layout", ["{date}_{what}.tif", "plain.tif", "{date}/{date}.tif"])
def test_layouts_that_are_none(layout: str) -> None:
    with pytest.raises(InputError, match=r"Write \{region\}, \{date\} and \{band\}"):
        compiled(layout)


def test_a_file_that_does_not_follow_the_layout_is_named(tmp_path: Path) -> None:
    source = per_band(tmp_path / "a", NAMES["flat"][0])
    with pytest.raises(InputError, match=r"2020-01-05_B04\.tif does not follow it"):
        imported(source, tmp_path / "out", layout="{date}/{band}.tif")


def test_names_that_differ_by_several_parts_within_a_date_tell_no_layout() -> None:
    day = date(2020, 1, 5)
    assert band_layout({"a_x_2020.tif": day, "b_y_2020.tif": day}) is None
    assert band_layout({"a_2020.tif": day, "b_c_2020.tif": day}) is None
    assert band_layout({"s_2020_a.tif": day, "s_2020_b.tif": day}) == "s_2020_{band}.tif"


# Regions ---------------------------------------------------------------------------------


def patches(root: Path, places: dict[str, tuple[float, float]], side: int = 32) -> Path:
    for number, (name, origin) in enumerate(places.items()):
        for at, day in enumerate(DAYS):
            values = image(at, number)[:, :side, :side]
            write_raster(root / name / f"{day}.tif", values, origin=origin)
    return root


def test_many_small_patches_are_split_along_a_line_with_a_gap(tmp_path: Path) -> None:
    """Eight patches of 320 m side by side, and a second row of four below."""
    places = {f"p{i}": (500_000.0 + 320 * i, 5_000_020.0) for i in range(8)}
    places |= {f"q{i}": (500_000.0 + 320 * i, 5_000_020.0 - 320) for i in range(4)}
    store = imported(patches(tmp_path / "a", places), tmp_path / "out")
    splits = {s: store.split(s) for s in ("train", "val", "test")}
    assert splits["train"] == ("p0", "p1", "p2", "q0", "q1", "q2")
    assert splits["val"] == ("p4",)
    assert splits["test"] == ("p6", "p7")
    assert not {"p3", "q3", "p5"} & set(store.regions)
    assert store.read("p6", "image")[1].tolist() == image(1, 6)[:, :, :32].tolist()


def test_regions_far_apart_are_split_by_group(tmp_path: Path) -> None:
    places = {name: (500_000.0 + 70_000 * i, 5_000_020.0) for i, name in enumerate("wxyz")}
    store = imported(patches(tmp_path / "a", places), tmp_path / "out")
    assert store.regions == ("w", "x", "y", "z")
    assert {str(r["split"]) for r in store.listed.values()} == {"train", "val", "test"}


def test_too_few_patches_are_told_what_to_import(tmp_path: Path) -> None:
    places = {f"p{i}": (500_000.0 + 320 * i, 5_000_020.0) for i in range(3)}
    source = patches(tmp_path / "a", places)
    with pytest.raises(InputError, match=r"lie in 3 lines of 3\d\d m .*need 5 lines"):
        imported(source, tmp_path / "out")
    with pytest.raises(InputError, match=r"--region-size 32: .*3 regions, which are taken whole"):
        imported(source, tmp_path / "out", region_size=32)


def test_a_folder_per_region_and_date_is_read(tmp_path: Path) -> None:
    for number in range(5):
        for at, day in enumerate(DAYS):
            write_raster(
                tmp_path / "a" / f"r{number}" / day / "image.tif",
                image(at, number)[:, :, :32],
                origin=(500_000.0 + 320 * number, 5_000_020.0),
            )
    store = imported(tmp_path / "a", tmp_path / "out")
    assert store.regions == ("r0", "r2", "r4")
    assert tuple(map(str, store.region("r0").times["image"])) == DAYS
    assert "r0/2020-01-05/image.tif" in store.meta.recipe["files"]


# Kinds of files --------------------------------------------------------------------------


def test_south_up_images_are_turned(tmp_path: Path) -> None:
    import rasterio
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
    import rasterio
    from affine import Affine

    write_raster(tmp_path / "a" / "2020.tif", image(0))
    with rasterio.open(tmp_path / "a" / "2020.tif", "r+") as file:
        file.transform = Affine(-10, 0, 500_000, 0, -10, 5_000_020)
    with pytest.raises(InputError, match=r"rotated or mirrored.*gdalwarp"):
        imported(tmp_path / "a", tmp_path / "out")


def test_images_without_a_place_need_a_pixel_size(tmp_path: Path) -> None:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

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
    import rasterio
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
    with pytest.raises(InputError, match=rf"no GeoTIFF, but 1 \{suffix} files.*GeoTIFF first"):
        imported(tmp_path, tmp_path / "out")


# Masks -----------------------------------------------------------------------------------


def masks(root: Path, name: Callable[[str], str], ratio: int = 1) -> Path:
    """One image per date, and masks in which 4 and 5 mean valid: the left half."""
    for at, day in enumerate(DAYS):
        write_raster(root / f"{day}.tif", image(at))
        shown = np.full((32 // ratio, 160 // ratio), 3, np.uint8)
        shown[:, : 16 // ratio] = 4 + at % 2
        write_raster(root / name(day), shown, gsd=10.0 * ratio)
    return root


def left_half_is_valid(store: Store) -> bool:
    valid = store.read(store.regions[0], "image", array="valid")
    return bool(valid[:, :, :16].all() and not valid[:, :, 16:].any())


@pytest.mark.parametrize(("ratio", "end"), [(1, "_mask"), (2, "_SCL"), (1, "-qa")])
def test_mask_files_are_told_and_read(ratio: int, end: str, tmp_path: Path) -> None:
    source = masks(tmp_path / "a", lambda day: f"{day}{end}.tif", ratio)
    with pytest.raises(
        InputError, match=rf"looks like the mask .*holds 3, 4.*--mask {end} "
    ) as said:
        imported(source, tmp_path / "out", region_size=32)
    said.value.remedy = said.value.remedy.replace("--mask-valid 1", "--mask-valid 4-5")
    typed(said.value)
    store = open_store(tmp_path / "out")
    assert left_half_is_valid(store)
    assert f"{DAYS[0]}{end}.tif" in store.meta.recipe["files"]


def test_a_mask_beside_files_of_bands_is_a_band_of_the_layout(tmp_path: Path) -> None:
    source = masks(per_band(tmp_path / "a", NAMES["flat"][0]), lambda day: f"{day}_mask.tif")
    for day in DAYS:
        (source / f"{day}.tif").unlink()
    store = imported(
        source, tmp_path / "out", layout="{date}_{band}.tif", mask="mask", mask_valid="4,5",
        region_size=32,
    )  # fmt: skip
    assert store.sensor("image").bands == BANDS
    assert left_half_is_valid(store)


def test_masks_that_are_not_stated_wholly_or_absent_are_refused(tmp_path: Path) -> None:
    source = masks(tmp_path / "a", lambda day: f"{day}_mask.tif")
    with pytest.raises(InputError, match=r"not stated which of its numbers .* holds 3, 4"):
        imported(source, tmp_path / "out", mask="_mask")
    with pytest.raises(InputError, match="these are no numbers"):
        imported(source, tmp_path / "out", mask="_mask", mask_valid="clear")
    (source / f"{DAYS[1]}_mask.tif").unlink()
    with pytest.raises(InputError, match=r"the mask of 2020-02-05\.tif: there is none"):
        imported(source, tmp_path / "out", mask="_mask", mask_valid="4")


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


def test_a_zarr_is_read_by_way_of_the_netcdf_that_its_refusal_tells_to_write(
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
        assert "xarray.open_zarr(…).rio.write_crs(…).to_netcdf(…)" in caught.value.remedy
    (tmp_path / "nc").mkdir()
    xarray.open_zarr(place).rio.write_crs("EPSG:32633").to_netcdf(tmp_path / "nc" / "cube.nc")
    made = imported(tmp_path / "nc", tmp_path / "out", bands=("a", "b"), region_size=32)
    first = made.read_physical(made.regions[0], "image")[0]
    wanted = np.stack([cube["a"].values, cube["b"].values], axis=1)[..., :32] * 1e-4
    assert np.allclose(first, wanted, atol=1e-6)


def test_images_in_folders_below_others_are_told(tmp_path: Path) -> None:
    for at, name in enumerate(("s_2019.tif", "s_2020.tif", "more/s_2021.tif")):
        write_raster(tmp_path / "in" / name, image(at))
    shown: list[str] = []
    told = ImportOptions(**STATED)
    import_dataset("geotiff-series", tmp_path / "in", tmp_path / "out", told, note=shown.append)
    (line,) = shown
    assert line.startswith(
        f"1 images in folders below {tmp_path / 'in'} are not taken, the first: "
    )
    assert "more/s_2021.tif. To take them" in line


def test_one_file_under_two_dates_is_told(tmp_path: Path) -> None:
    for day, at in zip(DAYS, (0, 1, 0), strict=True):
        write_raster(tmp_path / "in" / f"s_{day}.tif", image(at))
    shown: list[str] = []
    told = ImportOptions(**STATED)
    import_dataset("geotiff-series", tmp_path / "in", tmp_path / "out", told, note=shown.append)
    assert shown == [
        f"s_{DAYS[2]}.tif has the bytes of s_{DAYS[0]}.tif: one of their dates may be wrong"
    ]


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
