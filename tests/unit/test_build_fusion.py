"""Triplets of Landsat and MODIS, from made-up scenes in their own projections."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.stac_server import serve
from triplet_scenes import (
    BANDS,
    PLACE,
    SIZE,
    collect,
    fine_ground,
    landsat,
    modis,
    native_ground,
    recipe,
)

from rsbench.build.engine.builder import build
from rsbench.build.kinds.triplets.regions import chosen_days
from rsbench.build.plan.plan import make_plan
from rsbench.core.date_triplets import Gap
from rsbench.core.errors import InputError
from rsbench.core.grid import nesting
from rsbench.store.read import Store, open_store

JAN10, JAN18, JAN26 = date(2020, 1, 10), date(2020, 1, 18), date(2020, 1, 26)
FEB11, FEB27, MAR14 = date(2020, 2, 11), date(2020, 2, 27), date(2020, 3, 14)
MAR30, APR15, MAY1 = date(2020, 3, 30), date(2020, 4, 15), date(2020, 5, 1)
MAY17, DEC1 = date(2020, 5, 17), date(2020, 12, 1)
GOOD = (JAN10, JAN26, MAR14, MAY17)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def clouds(words: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    words[:, :80] = 1 << 3


def spots(words: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    """A cloud, its shadow, a hole, and a negative number that wrapped around."""
    words[40, 50], words[41, 50] = 1 << 3, 1 << 4
    values[:, 42, 50] = 0
    values[2, 43, 50] = 65513


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good days, and a day for every reason to refuse one."""
    root = tmp_path_factory.mktemp("triplets")
    landsat(root, JAN10, spoil=spots)
    landsat(root, JAN26, rows=slice(0, 130))  # two rows of one pass, with ground in common
    landsat(root, JAN26, rows=slice(100, None))
    for day in (JAN18, FEB27, MAR14, MAR30, APR15, MAY1, MAY17, DEC1):
        landsat(root, day)
    landsat(root, FEB11, spoil=clouds)
    landsat(root, date(2020, 1, 3), path="092")  # another path, seen more rarely
    landsat(root, date(2020, 1, 19), platform="landsat-7", path="091", epsg=32656)
    for day in (JAN10, JAN18, JAN26, FEB11, MAY17, DEC1):
        modis(root, day)

    def cloudy(planes: dict[str, npt.NDArray[Any]]) -> None:
        planes["state"][13:15, 22:25] = 1

    modis(root, MAR14, spoil=cloudy)
    # An older copy and Aqua's image show other ground, and must not be taken.
    modis(root, MAR14, shows=DEC1, made="2020001000000")
    modis(root, MAR14, shows=DEC1, product="MYD09A1")
    modis(root, MAR30, east=900.0)
    modis(root, APR15, spoil=lambda planes: planes.update(upside(planes)))
    modis(root, MAY1, spoil=early)
    return collect(root)


def upside(planes: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Bright where the ground is dark."""
    return {
        key: np.asarray(6000 - plane) if key.isdigit() else plane for key, plane in planes.items()
    }


def early(planes: dict[str, npt.NDArray[Any]]) -> None:
    """Half of the pixels were seen four days before."""
    planes["day"][::2] -= 4


@pytest.fixture(scope="module")
def store(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Built over HTTP, with a search by pystac-client."""
    out = tmp_path_factory.mktemp("built") / "out.zarr"
    with serve(folder) as url:
        return open_store(build(recipe(), out, provider=url).path)


def provenance(store: Store) -> dict[str, Any]:
    attributes = json.loads((store.path / "Fields" / "zarr.json").read_text())["attributes"]
    return dict(attributes["rsbench"]["provenance"])


def test_the_store_holds_both_images_of_every_accepted_day(store: Store) -> None:
    assert (store.validate(), store.complete, store.meta.kind) == ([], True, "triplets")
    entry = store.region("Fields")
    assert entry.times == {"landsat": GOOD, "mod09a1": GOOD}
    fine, coarse = entry.grids["landsat"], entry.grids["mod09a1"]
    assert nesting(fine, coarse, "Fields") == 16
    assert coarse.transform == (480.0, 0.0, float(PLACE[0]), 0.0, -480.0, float(PLACE[1]))
    assert store.sensor("mod09a1").bands == store.sensor("landsat").bands == tuple(BANDS)
    assert store.sensor("mod09a1").gsd == 480.0
    assert store.meta.step == "P16D/P96D"


def test_fine_pixels_are_those_of_the_scene(store: Store) -> None:
    values, valid = store.read("Fields", "landsat"), store.read("Fields", "landsat", array="valid")
    for t, day in enumerate(GOOD):
        land = fine_ground(day, PLACE, SIZE)
        for band, gain in enumerate(BANDS.values()):
            wanted = np.rint((gain * land + 0.2) / 2.75e-5).astype(np.uint16)
            assert (values[t, band][valid[t]] == wanted[valid[t]]).all()
    # The scene begins 32 pixels before the place.
    hidden = {tuple(int(v) + 32 for v in at) for at in np.argwhere(~valid[0])}
    assert hidden == {(40, 50), (41, 50), (42, 50), (43, 50)}
    assert valid[1:].all()


def test_coarse_pixels_are_area_means_of_the_ground(store: Store) -> None:
    """Against the ground itself, from which both MODIS and its blocks are means."""
    values = store.read("Fields", "mod09a1") * 1e-4
    valid = store.read("Fields", "mod09a1", array="valid")
    for t, day in enumerate(GOOD):
        land = fine_ground(day, PLACE, SIZE).reshape(10, 16, 10, 16).mean(axis=(1, 3))
        for band, gain in enumerate(BANDS.values()):
            off = np.abs(values[t, band] - gain * land)[valid[t]]
            assert off.max() < 0.02 * gain
            assert off.mean() < 0.008 * gain
    assert valid[[0, 1, 3]].all()
    assert 0.9 <= valid[2].mean() < 1.0


def test_a_block_is_the_mean_of_the_modis_pixels_it_covers(store: Store) -> None:
    """An oracle in another form: point by point, by the closed form of the projection."""
    from pyproj import Transformer
    from triplet_scenes import LEFT, PIXEL, TOP, R, native_corner

    stored = store.read("Fields", "mod09a1")[0, 3]
    native = np.rint(1e4 * BANDS["nir08"] * native_ground(JAN10))
    row, column = native_corner()
    to = Transformer.from_crs(32655, 4326, always_xy=True)
    for i, j in ((0, 0), (5, 7), (9, 9)):
        total = 0.0
        for a in range(8):
            for b in range(8):
                lon, lat = to.transform(
                    PLACE[0] + 480 * j + 60 * (b + 0.5), PLACE[1] - 480 * i - 60 * (a + 0.5)
                )
                x = R * np.radians(lon) * np.cos(np.radians(lat))
                y = R * np.radians(lat)
                total += native[int((TOP - y) // PIXEL) - row, int((x - LEFT) // PIXEL) - column]
        assert stored[i, j] == np.rint(total / 64)


def test_every_refused_day_keeps_its_reason(store: Store) -> None:
    refused = provenance(store)["refused"]
    assert store.meta.recipe["refused"]["Fields"] == refused
    assert set(refused) == {str(d) for d in (JAN18, FEB11, FEB27, MAR30, APR15, MAY1, DEC1)}
    assert "8 days after 2020-01-10" in refused["2020-01-18"]
    assert "less than 95% of the place is clear" in refused["2020-02-11"]
    assert "no mod09a1 image spans the day" in refused["2020-02-27"]
    assert "coarse pixels apart, more than 1" in refused["2020-03-30"]
    assert "fewer than 4 bands correlate by 0.7 (blue -" in refused["2020-04-15"]
    assert "of the coarse pixels are valid, 90% are asked" in refused["2020-05-01"]
    assert "makes no triplet with neighbours within 96 days" in refused["2020-12-01"]


def test_a_day_keeps_how_well_its_images_agree_and_a_triplet_its_change(store: Store) -> None:
    kept = provenance(store)
    assert [note["day"] for note in kept["days"]] == [str(day) for day in GOOD]
    for note in kept["days"]:
        assert min(note["correlation"].values()) > 0.95
        assert np.hypot(*note["shift"]) <= 0.25
        assert note["shifted"] is False
    assert len(kept["days"][1]["fine"]) == 2
    assert kept["days"][2]["coarse"] == [
        f"MOD09A1.A2020073.h{h}v12.061.2021001000000" for h in (29, 30)
    ]
    shown = [(t["dates"], t["gaps"]) for t in kept["triplets"]]
    assert shown == [
        (["2020-01-10", "2020-01-26", "2020-03-14"], [16, 48]),
        (["2020-01-26", "2020-03-14", "2020-05-17"], [48, 64]),
    ]
    near, far = (t["change"]["coarse"] for t in kept["triplets"])
    assert 0 < near[0] < near[1] == far[0]
    # The same by numpy on the stored images of both references.
    values = store.read("Fields", "mod09a1")
    wanted = 1 - np.mean(
        [np.corrcoef(values[0, b].ravel(), values[1, b].ravel())[0, 1] for b in range(6)]
    )
    assert near[0] == pytest.approx(wanted, abs=1e-3)


def test_models_take_blocky_and_smooth_coarse_images_of_one_store(
    store: Store, tmp_path: Path
) -> None:
    from rsbench.catalog import load_protocol
    from rsbench.tasks.batches import batches
    from rsbench.tasks.fusion.samples import triplets
    from tests.task_readers import reader_of

    seen = {}
    for name in ("fusion2", "fusion2-smooth"):
        protocol = load_protocol(name)
        samples = triplets(store, protocol, "test")
        assert [s.target for s in samples] == [JAN26, MAR14]
        (batch, *_) = batches(reader_of(store, protocol, tuple(BANDS)), samples, 1)
        coarse = next(frames for sensor, frames in batch.given.items() if sensor != batch.sensor)
        seen[name] = coarse.values[0, 0, 0, 3].numpy()
    blocks = seen["fusion2"].reshape(10, 16, 10, 16)
    assert (blocks == blocks[:, :1, :, :1]).all()
    smooth = seen["fusion2-smooth"].reshape(10, 16, 10, 16)
    assert (smooth.std(axis=(1, 3)) > 0).all()
    assert np.corrcoef(smooth.mean(axis=(1, 3)).ravel(), blocks[:, 0, :, 0].ravel())[0, 1] > 0.99


def test_the_card_tells_days_change_refusals_rights_and_leaks(store: Store) -> None:
    card = (store.path / "README.md").read_text()
    assert "| Fields | 2020-01-10 | 2020-01-26 | 2020-03-14 | 16, 48 |" in card
    assert "- refused: Fields 2020-02-11: less than 95% of the place is clear" in card
    assert "courtesy of the U.S. Geological Survey" in card
    assert "`modis-09A1-061`" in card
    assert "| nir08 |" in card
    assert "fusion2-time" in card
    assert "Training sees no target date of a later split on the same ground." in card


def test_the_daily_product_is_taken_on_the_very_day(tmp_path: Path) -> None:
    root = tmp_path / "stac"
    for day in (JAN10, JAN26, MAR14):
        landsat(root, day)
        modis(root, day, product="MCD43A4")
    for day in (JAN10, MAR14):
        # The days beside show other ground, and one of them states this day as its `datetime`.
        for other in (day.replace(day=day.day - 1), day.replace(day=day.day - 3)):
            modis(root, other, product="MCD43A4", shows=DEC1)
    made = build(recipe(daily=True), tmp_path / "out", provider=str(collect(root)))
    held = open_store(made.path)
    assert held.region("Fields").times["mcd43a4"] == (JAN10, JAN26, MAR14)
    land = fine_ground(JAN10, PLACE, SIZE).reshape(10, 16, 10, 16).mean(axis=(1, 3))
    off = held.read("Fields", "mcd43a4")[0, 3] * 1e-4 - BANDS["nir08"] * land
    assert np.abs(off).max() < 0.04


def test_a_quality_layer_of_one_band_counts_for_all(tmp_path: Path) -> None:
    root = tmp_path / "stac"

    def fill(planes: dict[str, npt.NDArray[Any]]) -> None:
        planes["1"][:] = 32767

    for day in (JAN10, JAN26, MAR14):
        landsat(root, day)
        modis(root, day, product="MCD43A4", spoil=fill if day == JAN26 else None)
    with pytest.raises(InputError, match=r"no region has a triplet; Fields 2020-03-14"):
        build(recipe(daily=True), tmp_path / "out", provider=str(collect(root)))


def test_a_place_where_no_pass_shows_everything_is_told(tmp_path: Path) -> None:
    root = tmp_path / "stac"
    landsat(root, JAN10, rows=slice(0, 130))
    modis(root, JAN10)
    with pytest.raises(InputError, match="no scene was found for Fields"):
        build(recipe(), tmp_path / "out", provider=str(collect(root)))


def test_a_tile_that_cannot_be_read_fails_the_year(folder: Path, tmp_path: Path) -> None:
    from rsbench.core.errors import UnitFailed

    root = tmp_path / "stac"
    shutil.copytree(folder, root)
    (root / "MOD09A1.A2020025.h30v12.061.2021001000000" / "state.tif").unlink()
    with pytest.raises(UnitFailed, match=r"MOD09A1\.A2020025\.h30v12"):
        build(recipe(), tmp_path / "out", provider=str(root))


def test_scenes_left_out_of_triplets_are_counted_in_the_plan(folder: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    found = {(one.sensor, one.reason): len(one.items) for one in lock.left["Fields"]}
    assert found == {
        ("landsat", "no mod09a1 image spans its day"): 1,
        ("landsat", "path 091 has more days"): 1,
        ("landsat", "the item states EPSG:32656, the region lies in EPSG:32655"): 1,
        ("mod09a1", "a newer copy is used"): 2,  # both tiles of the older copy
    }


def test_bands_that_do_not_stand_for_each_other_are_refused(folder: Path, tmp_path: Path) -> None:
    swapped = {"landsat": tuple(BANDS), "mod09a1": ("b01", "b04", "b03", "b02", "b06", "b07")}
    with pytest.raises(InputError, match=r"blue 0.48 µm, b01 0.645 µm"):
        build(recipe(bands=swapped), tmp_path / "out", provider=str(folder))


@pytest.mark.parametrize(
    ("days", "kept", "why"),
    [
        ([1, 17, 33], [1, 17, 33], {}),
        # Seven dates are more than six: the gap grows to 24 days.
        (
            [1, 17, 33, 49, 65, 81, 97],
            [1, 33, 65, 97],
            dict.fromkeys((17, 49, 81), "16 days after"),
        ),
        ([1, 9, 17, 33], [1, 17, 33], {9: "8 days after"}),
        ([1, 17], [], {1: "no triplet", 17: "no triplet"}),
        ([1, 17, 33, 200, 216, 232, 400], [1, 17, 33, 200, 216, 232], {400: "no triplet"}),
        ([1, 17, 33, 150, 270, 286, 302], [1, 17, 33, 270, 286, 302], {150: "no triplet"}),
    ],
)
def test_days_that_make_triplets(days: list[int], kept: list[int], why: dict[int, str]) -> None:
    def of(number: int) -> date:
        return date.fromordinal(date(2020, 1, 1).toordinal() + number)

    found, refused = chosen_days([of(n) for n in days], Gap(16, 96), most=6)
    assert found == tuple(of(n) for n in kept)
    assert set(refused) == {of(n) for n in why}
    for number, text in why.items():
        assert text in refused[of(number)]
