"""Layouts of folders: each is imported, or refused with a reason and a remedy that works."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from build_fixtures import write_raster
from import_fixtures import typed
from series_fixtures import BANDS, DAYS, STATED, image, imported, same_pixels, whole

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.layout import band_layout, compiled
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import InputError
from rsbench.store.read import Store, open_store

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
    assert store.one_scene


def test_regions_far_apart_are_split_by_group(tmp_path: Path) -> None:
    places = {name: (500_000.0 + 70_000 * i, 5_000_020.0) for i, name in enumerate("wxyz")}
    store = imported(patches(tmp_path / "a", places), tmp_path / "out")
    assert store.regions == ("w", "x", "y", "z")
    assert {str(r["split"]) for r in store.listed.values()} == {"train", "val", "test"}
    assert not store.one_scene


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


# What is not taken -----------------------------------------------------------------------


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
