"""Composites beyond the plain median: whole observations, thin pixels, spread, seasons, shifts."""

from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import random_folder, recipe, region, write_scene

from rsbench.build.compose.median import Rule, When, composite, deviation, months_seen
from rsbench.build.compose.registration import measure, yearly_shifts
from rsbench.build.compose.select import medoid, nearest, picked
from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import make_plan, regions_of
from rsbench.build.plan.season import middle_day, months_of, on_lattice
from rsbench.catalog import Recipe, load_recipe, recipe_canonical
from rsbench.core.errors import CatalogError, InputError
from rsbench.core.grid import Grid
from rsbench.store.layout import SensorArrays
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"), per_year=5)


def cube(count: int, *, bands: int = 3, side: int = 9) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count)
    values = draw.integers(0, 10_000, (count, bands, side, side)).astype(np.uint16)
    return values, draw.random((count, side, side)) < 0.6


@pytest.mark.parametrize("count", [1, 2, 3, 8, 21])
def test_medoid_is_the_observation_nearest_to_all_others(count: int) -> None:
    values, clear = cube(count)
    index = medoid(values, clear)
    for y, x in itertools.product(range(9), repeat=2):
        seen = np.flatnonzero(clear[:, y, x])
        if len(seen) == 0:
            continue
        points = values[seen, :, y, x].astype(np.float64)
        total = np.linalg.norm(points[:, None] - points[None], axis=-1).sum(axis=1)
        assert index[y, x] in seen
        at = int(np.flatnonzero(seen == index[y, x])[0])
        assert total[at] <= total.min() * (1 + 1e-5)


def test_medoid_ignores_what_is_masked_and_takes_the_earliest_of_equals() -> None:
    values = np.array([[9], [5], [5], [60_000]], np.uint16)[:, :, None, None]
    clear = np.array([1, 1, 1, 0], bool)[:, None, None]
    assert medoid(values, clear)[0, 0] == 1
    assert picked(values, medoid(values, clear))[0, 0, 0] == 5


def test_nearest_day_takes_the_earliest_of_two() -> None:
    days = np.array([100, 180, 190, 186])
    clear = np.array([[1, 1], [1, 0], [1, 1], [0, 0]], bool)[:, :, None]
    assert nearest(days, clear, 185)[:, 0].tolist() == [1, 2]


@pytest.mark.parametrize("kind", ["medoid", "best"])
def test_source_names_the_observation_that_was_kept(kind: str) -> None:
    values, clear = cube(7)
    clear[:, 0, 0] = False
    when = When(np.arange(1, 8, dtype=np.uint8), np.arange(20, 160, 20, dtype=np.int16))
    made = composite(values, clear, 0, rule=Rule(kind, day=90), when=when, halves=True)
    assert made.source is not None
    assert made.source[0, 0] == 0
    assert not made.valid[0, 0]
    assert (made.values[:, 0, 0] == 0).all()
    for y, x in itertools.product(range(9), repeat=2):
        if made.n_valid[y, x]:
            kept = int(made.source[y, x]) - 1
            assert clear[kept, y, x]
            assert (made.values[:, y, x] == values[kept, :, y, x]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_deviation_equals_the_masked_median_of_distances(dtype: str) -> None:
    from rsbench.build.compose.median import to_keys

    draw = np.random.default_rng(3)
    info = np.iinfo(dtype)
    values = draw.integers(info.min, info.max, (9, 2, 5, 6), endpoint=True).astype(dtype)
    clear = draw.random((9, 5, 6)) < 0.7
    clear[:, 0, 0] = False
    found = deviation(to_keys(values), clear)
    seen = np.where(clear[:, None], values.astype(np.float64), np.nan)
    some = clear.any(axis=0)
    middle = np.rint(np.nanmedian(seen[..., some], axis=0))
    wanted = np.rint(np.nanmedian(np.abs(seen[..., some] - middle), axis=0))
    assert (found[:, some] == wanted).all()
    assert (found[:, ~some] == 0).all()


def test_thin_pixels_are_not_valid_and_say_how_thin() -> None:
    values = np.full((4, 1, 1, 4), 7, np.uint16)
    clear = np.ones((4, 1, 4), bool)
    clear[0, 0, 1] = clear[3, 0, 2] = False
    clear[:, 0, 3] = False
    months = np.array([1, 1, 1, 2], np.uint8)
    assert months_seen(clear, months).tolist() == [[2, 2, 1, 0]]
    rule = Rule(min_dates=3, min_months=2)
    made = composite(values, clear, 0, rule=rule, when=When(months, months.astype(np.int16)))
    assert made.valid.tolist() == [[True, True, False, False]]  # the third: enough, of one month
    assert made.n_valid.tolist() == [[4, 3, 3, 0]]
    assert made.values.tolist() == [[[7, 7, 0, 0]]]
    assert rule.name == "median@1 dates>=3 months>=2"
    assert Rule().name == "median@1"


def test_a_rule_that_needs_dates_says_so() -> None:
    values, clear = cube(3)
    with pytest.raises(ValueError, match="needs the dates"):
        composite(values, clear, 0, rule=Rule(min_months=2))
    with pytest.raises(ValueError, match="'mode'"):
        composite(values, clear, 0, rule=Rule("mode"))


def test_a_store_keeps_spread_source_dates_and_shift(folder: Path, tmp_path: Path) -> None:
    plain = build(recipe(), tmp_path / "plain", provider=str(folder))
    options: dict[str, Any] = {"min_dates": 3, "min_months": 2, "spread": True, "shift": True}
    made = build(recipe(**options), tmp_path / "rule", provider=str(folder))
    one, two = open_store(plain.path), open_store(made.path)
    assert (one.meta.compositor, two.meta.compositor) == (
        "median@1", "median@1 dates>=3 months>=2",
    )  # fmt: skip
    assert one.digest != two.digest
    assert two.validate() == []
    n = two.read("west", "s2", array="n_valid")
    valid = two.read("west", "s2", array="valid")
    assert (n == one.read("west", "s2", array="n_valid")).all()
    assert not valid[n < 3].any()
    assert valid.any()
    assert not valid.all()
    keep = np.broadcast_to(valid[:, None], (2, 2, 48, 48))
    assert (two.read("west", "s2")[keep] == one.read("west", "s2")[keep]).all()
    assert (two.read("west", "s2")[~keep] == 0).all()
    assert two.read("west", "s2", array="spread").shape == (2, 2, 48, 48)
    import json

    group = json.loads((made.path / "west" / "zarr.json").read_text())
    held = group["attributes"]["rsbench"]["provenance"]
    assert len(held["scenes"]["2021"]["s2"]["dates"]) == held["scenes"]["2021"]["s2"]["read"] == 5
    assert set(held["shift"]["s2"]) == {"2021", "2022"}


@pytest.mark.parametrize("kind", ["yearly-medoid", "yearly-best"])
def test_strips_and_kills_change_nothing_of_other_composites(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = recipe(compositing=kind)
    whole = build(chosen, tmp_path / "whole", provider=str(folder))
    monkeypatch.setattr("rsbench.build.engine.unit._STRIP_ROWS", 16)
    monkeypatch.setattr("rsbench.build.engine.builder._MEMORY", 1)
    strips = build(chosen, tmp_path / "strips", provider=str(folder))
    assert whole.digest == strips.digest
    store = open_store(whole.path)
    assert (store.read("west", "s2", array="source") <= 5).all()
    assert store.meta.compositor == f"{kind.removeprefix('yearly-')}@1"


# Seasons and lattices -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epsg", "north", "months"),
    [
        (32633, 5_000_000, (6, 7, 8, 9)),
        (32633, 1_000_000, (1, 2, 3, 4)),
        (32733, 9_000_000, (6, 7, 8, 9)),
        (32733, 6_000_000, (1, 2, 3, 4)),
    ],
)
def test_seasons_follow_latitude(epsg: int, north: int, months: tuple[int, ...]) -> None:
    place = region("a", (500_000, north), "train", epsg=epsg, size=1024)
    assert months_of(recipe(season="by-latitude"), place) == months
    assert months_of(recipe(season="by-latitude", seasons={"a": (5, 6)}), place) == (5, 6)
    assert months_of(recipe(), place) == tuple(range(1, 13))


def test_season_chooses_scenes(folder: Path) -> None:
    lock = make_plan(recipe(season="by-latitude"), provider=str(folder))
    assert [i.datetime[5:7] for i in lock.items("west", "s2", 2021)] == ["06", "07"]


def test_middle_of_months() -> None:
    assert middle_day(tuple(range(1, 13))) == 183
    assert middle_day((6, 7, 8, 9)) == (152 + 273) // 2


@pytest.mark.parametrize(
    "changes",
    [
        {"season": "by-latitude", "months": (6, 7)},
        {"seasons": {"west": (5, 6)}},
        {"season": "by-latitude", "seasons": {"west": (9, 2)}},
        {"query": {"landsat": {}}},
    ],
)
def test_recipes_that_contradict_themselves_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, CatalogError, InputError)):
        Recipe.model_validate({**recipe().model_dump(), **changes})


def test_landsat_regions_lie_on_landsats_lattice_inside_their_square() -> None:
    landsat, sentinel = load_recipe("landsat-yearly"), load_recipe("s2-yearly")
    for small, large in zip(regions_of(sentinel), regions_of(landsat), strict=True):
        assert (large.name, large.size, large.gsd) == (small.name, 384, 30.0)
        assert [v % 30 for v in large.origin] == [15, 15]
        assert 32600 < large.epsg <= 32660
        south = 10_000_000 if small.epsg > 32700 else 0
        inside = (small.origin[0] - large.origin[0], large.origin[1] - small.origin[1] + south)
        assert all(600 <= offset <= 680 for offset in inside)  # the old square, in the middle
        assert on_lattice(landsat, large) == large


def test_scenes_of_another_zone_are_left_out(tmp_path: Path) -> None:
    bands = {b: np.full((96, 96), 500, np.uint16) for b in ("B02", "B03")}
    scl = np.full((48, 48), 4, np.uint8)
    zones = {"own": {"proj:code": "EPSG:32633"}, "older": {"proj:epsg": 32633}}
    zones |= {"beside": {"proj:code": "EPSG:32634"}, "silent": {}}
    for number, (name, stated) in enumerate(zones.items()):
        when = f"2021-06-{number + 1:02}T10:00:00Z"
        write_scene(tmp_path, name, when, bands, scl, **stated)
    lattice = {"gsd": 10.0, "size": 32, "phase": 0.0}
    places = (region("west", (500_000, 5_000_020), "test"),)
    chosen = recipe(lattice=lattice, regions=places, years=(2021, 2021))
    lock = make_plan(chosen, provider=str(tmp_path))
    assert [i.id for i in lock.items("west", "s2", 2021)] == ["own", "older"]


def test_options_left_alone_do_not_move_a_lock() -> None:
    later = {"min_dates", "min_months", "spread", "shift", "season", "seasons", "lattice", "query"}
    assert not later & set(recipe_canonical(load_recipe("demo")))
    assert {"min_dates", "spread"} <= set(recipe_canonical(load_recipe("s2-yearly")))


# Shifts ---------------------------------------------------------------------------------


def land(side: int, seed: int) -> np.ndarray:
    f = np.fft.fftfreq(side)
    size = np.hypot(f[:, None], f[None])
    size[0, 0] = 1
    noise = np.random.default_rng(seed).standard_normal((side, side))
    made = np.fft.ifft2(np.fft.fft2(noise) * size**-1.2).real
    return np.asarray((made - made.mean()) / made.std())


def moved(plane: np.ndarray, down: float, right: float) -> np.ndarray:
    f = np.fft.fftfreq(len(plane))
    turn = np.exp(-2j * np.pi * (f[:, None] * down + f[None] * right))
    return np.asarray(np.fft.ifft2(np.fft.fft2(plane) * turn).real)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.1, 0.46), (1.4, -2.3)])
def test_shift_is_found_to_a_twentieth_of_a_pixel(shift: tuple[float, float]) -> None:
    base = land(192, 1)
    other = 1.3 * moved(base, *shift) + 0.3 * land(192, 2)
    fade = np.outer(np.hanning(192), np.hanning(192))
    assert measure(base * fade, other * fade) == pytest.approx(shift, abs=0.05)


def test_the_year_that_moved_is_flagged_and_gaps_are_told() -> None:
    base = land(128, 3)
    years = [base, base, moved(base, 0.5, 0.0), base, base]
    values = np.stack([np.rint(3000 + 500 * y).astype(np.uint16)[None] for y in years])
    valid = np.ones((5, 128, 128), bool)
    valid[4, 20:] = False
    times = tuple(date(2017 + t, 7, 1) for t in range(5))
    grid = Grid("EPSG:32633", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 128, 128)
    found = yearly_shifts(SensorArrays(values, valid, valid.astype(np.uint16), times, grid))
    assert [shift.flagged for shift in found] == [False, False, True, False, False]
    assert found[2].rows == pytest.approx(0.5, abs=0.06)
    assert found[4].to_json() == {"rows": None, "columns": None, "flagged": False}
