"""Several dates in one file, and several offsets in one series: stated, read or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from build_fixtures import write_raster
from import_fixtures import typed

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import InputError, PixelError
from rsbench.store.read import Store, open_store

STATED: dict[str, Any] = {"unit": "reflectance", "scale": 1e-4, "region_size": 32}
MONTHS = [f"2020-{month:02d}-01" for month in range(1, 13)]
RNG = np.random.default_rng(3)
STACK = RNG.integers(500, 4000, (12, 32, 160)).astype(np.uint16)


def imported(source: Path, out: Path, **options: Any) -> Store:
    stated = ImportOptions(**{**STATED, **options})
    return open_store(import_dataset("geotiff-series", source, out, stated).path)


def stack(root: Path, name: str = "2020", names: tuple[str, ...] = (), values: Any = STACK) -> Path:
    import rasterio

    write_raster(root / f"{name}.tif", values)
    if names:
        with rasterio.open(root / f"{name}.tif", "r+") as file:
            file.descriptions = names
    return root


def is_the_stack(store: Store, bands: int = 1) -> bool:
    first = store.regions[0]
    held = store.read(first, "image")
    return bool((held == STACK.reshape(-1, bands, 32, 160)[..., :32]).all())


@pytest.mark.parametrize(
    "names",
    [
        (),
        tuple(MONTHS),
        tuple(f"ndvi_{m}" for m in ["Jan", "Feb", "March", "April", "may", "jun"]) * 2,
    ],
    ids=["without", "dates", "months"],
)
def test_twelve_months_are_never_twelve_bands_silently(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    source = stack(tmp_path / "a", names=names)
    with pytest.raises(InputError, match=r"12 bands .*which may be dates") as refused:
        imported(source, tmp_path / "out")
    typed(refused.value)
    store = open_store(tmp_path / "out")
    assert [str(day) for day in store.region(store.regions[0]).times["image"]] == MONTHS
    assert is_the_stack(store)
    assert store.meta.step == "P1M"


def test_bands_with_names_of_their_own_are_bands(tmp_path: Path) -> None:
    source = stack(tmp_path / "a", names=tuple(f"B{n}" for n in range(12)))
    assert len(imported(source, tmp_path / "out").sensor("image").bands) == 12


def test_many_bands_are_bands_if_they_are_named(tmp_path: Path) -> None:
    source = stack(tmp_path / "a")
    stack(source, "2021", values=STACK[::-1])
    with pytest.raises(InputError, match="which may be dates") as refused:
        imported(source, tmp_path / "out")
    typed(refused.value, 1)
    store = open_store(tmp_path / "out")
    assert len(store.sensor("image").bands) == 12
    assert len(store.region(store.regions[0]).times["image"]) == 2


@pytest.mark.parametrize(
    ("stated", "bands", "days"),
    [
        (",".join(MONTHS), None, MONTHS),
        (",".join(MONTHS[::2]), ("red", "nir"), MONTHS[::2]),
        ("2m", ("red", "nir"), MONTHS[::2]),
        ("10d", ("a", "b", "c"), ["2020-01-01", "2020-01-11", "2020-01-21", "2020-01-31"]),
    ],
)
def test_dates_in_a_file_are_stated(
    stated: str, bands: tuple[str, ...] | None, days: list[str], tmp_path: Path
) -> None:
    store = imported(stack(tmp_path / "a"), tmp_path / "o", dates_in_file=stated, bands=bands)
    assert [str(day) for day in store.region(store.regions[0]).times["image"]] == days
    assert is_the_stack(store, len(bands or ("one",)))


def test_a_file_per_band_may_hold_all_dates(tmp_path: Path) -> None:
    source = tmp_path / "a"
    for band, values in (("red", STACK), ("nir", STACK[::-1])):
        write_raster(source / f"2020_{band}.tif", values)
    store = imported(
        source, tmp_path / "out", layout="{date}_{band}.tif", dates_in_file="1m",
        bands=("red", "nir"),
    )  # fmt: skip
    held = store.read(store.regions[0], "image")
    assert (held == np.stack([STACK, STACK[::-1]], axis=1)[..., :32]).all()
    assert store.sensor("image").bands == ("red", "nir")


def test_triplets_of_many_bands_without_names_are_refused_too(tmp_path: Path) -> None:
    for at in (1, 2):
        write_raster(tmp_path / "a" / "fine" / f"2020-0{at}-05.tif", STACK)
        write_raster(tmp_path / "a" / "coarse" / f"2020-0{at}-05.tif", STACK[:, ::4, ::4], gsd=40.0)
    options = ImportOptions(unit="reflectance", scale=1e-4, coarse_scale=1e-4)
    with pytest.raises(InputError, match="12 bands without names, which may be dates") as refused:
        import_dataset("geotiff-triplets", tmp_path / "a", tmp_path / "out", options)
    typed(refused.value, 1)
    assert len(open_store(tmp_path / "out").sensor("fine").bands) == 12


def test_two_years_of_months_are_one_series(tmp_path: Path) -> None:
    source = stack(stack(tmp_path / "a"), "2021")
    store = imported(source, tmp_path / "out", dates_in_file="1m")
    assert store.meta.step == "P1M"
    assert len(store.region(store.regions[0]).times["image"]) == 24


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dates_in_file": "2020-01,2020-02,2020-03,2020-04,2020-05"}, "12 bands, 5 dates"),
        ({"dates_in_file": "1m", "bands": tuple("abcde")}, "12 bands, 2 dates of 5 bands"),
        ({"dates_in_file": "names"}, "the date of band ''"),
        ({"dates_in_file": "soon,later"}, "'soon' is no date"),
    ],
)
def test_dates_in_files_that_do_not_fit(options: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        imported(stack(tmp_path / "a"), tmp_path / "out", **options)


# Offsets ---------------------------------------------------------------------------------

DAYS = ("2021-11-10", "2021-12-10", "2022-01-20", "2022-02-10", "2022-03-10")


def dark(at: int) -> npt.NDArray[np.uint16]:
    rng = np.random.default_rng(at)
    return rng.uniform(200, 1600, (2, 32, 160)).astype(np.uint16)


def sentinel(root: Path, *, tagged: bool = False) -> Path:
    """Files from 25 January 2022 on hold 1000 more, as of processing baseline 04.00."""
    import rasterio

    for at, day in enumerate(DAYS):
        write_raster(root / f"S2_{day}.tif", dark(at) + np.uint16(1000 * (day > "2022-01-25")))
        if tagged:
            with rasterio.open(root / f"S2_{day}.tif", "r+") as file:
                file.scales = (1e-4,) * 2
                file.offsets = (-0.1 * (day > "2022-01-25"),) * 2
    return root


def is_harmonised(store: Store) -> bool:
    values, _ = store.read_physical(store.regions[0], "image")
    wanted = np.stack([dark(at) for at in range(5)])[..., :32] * 1e-4
    return bool(np.allclose(values, wanted, atol=1e-6))


def test_sentinel_2_across_january_2022_demands_a_statement(tmp_path: Path) -> None:
    source = sentinel(tmp_path / "a")
    with pytest.raises(
        PixelError, match=r"rise from 0\.021\d* to 0\.12\d* .*from 2022-01-25"
    ) as said:
        imported(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    typed(said.value)
    store = open_store(tmp_path / "out")
    assert is_harmonised(store)
    assert store.meta.recipe["added"] == {f"S2_{day}.tif": 1000 for day in DAYS[:3]}


def test_files_of_one_offset_are_taken_as_stated(tmp_path: Path) -> None:
    source = sentinel(tmp_path / "a")
    with pytest.raises(PixelError) as said:
        imported(source, tmp_path / "out")
    typed(said.value, 1)
    store = open_store(tmp_path / "out")
    assert (
        store.read(store.regions[0], "image")[4].tolist()
        == (dark(4)[:, :, :32] + np.uint16(1000)).tolist()
    )


def test_offsets_that_files_state_are_brought_to_one(tmp_path: Path) -> None:
    store = imported(sentinel(tmp_path / "a", tagged=True), tmp_path / "out", scale=None)
    assert store.sensor("image").offset == pytest.approx(-0.1)
    assert is_harmonised(store)
    with pytest.raises(InputError, match=r"S2_2022-02-10\.tif states the offset -0\.1"):
        imported(tmp_path / "a", tmp_path / "o", scale=None, offset_from=("2022-01-25", -0.1))


def test_files_of_one_season_and_other_years_are_no_case(tmp_path: Path) -> None:
    for at, day in enumerate(DAYS):
        write_raster(tmp_path / "a" / f"{day}.tif", dark(at))
    assert "added" not in imported(tmp_path / "a", tmp_path / "out").meta.recipe


def test_numbers_that_leave_their_type_are_refused(tmp_path: Path) -> None:
    source = sentinel(tmp_path / "a")
    bright = np.full((2, 32, 160), 65000, np.uint16)
    write_raster(source / f"S2_{DAYS[0]}.tif", bright)
    with pytest.raises(PixelError, match="with 1000 added, its numbers leave the range of uint16"):
        imported(source, tmp_path / "out", offset_from=("2022-01-25", -0.1))
