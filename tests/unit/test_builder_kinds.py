"""Kinds of simulated triplets: dates, clouds, and ground that changes and changes back."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from rsbench.build.builder_kinds import CLOUDS, GAPS, KINDS, hidden, nearness, slots
from rsbench.build.builder_triplets import build_triplets, kind_of
from rsbench.build.simulate import simulated_regions
from rsbench.catalog import Recipe, load_recipe
from rsbench.catalog.models import TripletKind
from rsbench.store.read import Store, open_store


def recipe(*kinds: str, **changes: int) -> Recipe:
    """The strained demo with one test region per kind."""
    whole = load_recipe("demo-fusion-stress")
    assert whole.simulated is not None
    size = {"regions": len(kinds) + 2, "train": 1, "val": 1, "test": len(kinds), "size": 240}
    spec = whole.simulated.model_copy(update={**size, **changes})
    return whole.model_copy(update={"name": "strained", "triplets": kinds, "simulated": spec})


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """One store of the kinds that one can see, by kind of its test regions."""
    root = tmp_path_factory.mktemp("kinds")
    made = build_triplets(recipe("cloud-30", "gap-16", "gap-96", "change-and-back"), root / "s")
    store = open_store(made.path)
    assert store.validate() == []
    by_kind = {str(store.region(r).record.strata["stratum"]): r for r in store.split("test")}
    return dict.fromkeys(by_kind, store) | {"": store}


def region(store: Store, kind: str) -> str:
    return next(r for r in store.split("test") if store.region(r).record.strata["stratum"] == kind)


def test_the_catalogue_and_the_builder_know_the_same_kinds() -> None:
    assert set(get_args(TripletKind)) == set(KINDS)


def test_gaps_are_what_they_are_called(stores: dict[str, Store]) -> None:
    store = stores[""]
    for kind in ("gap-16", "gap-96"):
        first, target, last = store.region(region(store, kind)).times["landsat"]
        assert abs((last - first).days - GAPS[kind]) <= 2 * nearness(kind)
        assert first < target < last
        assert first.year == last.year
    for kind, gap in GAPS.items():
        a, b, c = slots(kind, 2019)
        assert (c.first - a.first, b.first - a.first) == (gap, gap // 2)


@pytest.mark.parametrize(("kind", "share"), sorted(CLOUDS.items()))
def test_clouds_hide_their_share_in_patches(kind: str, share: float) -> None:
    cloud = hidden(kind, 1, "sim-01", (30, 40))
    assert cloud.sum() == round(share * 1200)
    if share:
        beside = (cloud[:, 1:] & cloud[:, :-1]).mean() / cloud.mean()
        assert beside > share + 0.2  # of lone pixels it would be the share itself
        assert not np.array_equal(cloud, hidden(kind, 1, "sim-02", (30, 40)))
        assert np.array_equal(cloud, hidden(kind, 1, "sim-01", (30, 40)))


def test_only_the_coarse_target_is_clouded(stores: dict[str, Store]) -> None:
    store = stores[""]
    valid = store.read(region(store, "cloud-30"), "mod09a1", array="valid")
    assert valid[1].mean() <= 0.71
    assert valid[0].mean() > 0.75
    assert valid[2].mean() > 0.75


def test_what_changed_has_changed_back(stores: dict[str, Store]) -> None:
    """Dates span two years; the outer images are of one year's ground, the target of the next."""
    store = stores[""]
    times = store.region(region(store, "change-and-back")).times["landsat"]
    assert [t.year for t in times] == [2019, 2020, 2020]
    assert [s.ground for s in slots("change-and-back", 2019)] == [2019, 2020, 2019]
    assert [s.ground for s in slots("land-cover-change", 2019)] == [2019, 2020, 2020]
    assert {s.ground for s in slots("no-land-cover-change", 2019)} == {2019}


def test_kinds_take_turns() -> None:
    """In the whole recipe every kind has eight test regions, and no kind one ground only."""
    whole = load_recipe("demo-fusion-stress")
    assert whole.simulated is not None
    found: dict[str, list[str]] = {kind: [] for kind in whole.triplets}
    for place in simulated_regions(whole.simulated):
        if place.split == "test":
            found[kind_of(whole.simulated, place, whole.triplets)].append(place.stratum)
    assert {kind: len(grounds) for kind, grounds in found.items()} == dict.fromkeys(found, 8)
    assert all(len(set(grounds)) > 1 for grounds in found.values())


def test_the_plain_demo_is_still_the_two_kinds() -> None:
    plain = load_recipe("demo-fusion")
    assert plain.triplets == ()
    assert plain.simulated is not None
    kinds = [kind_of(plain.simulated, r) for r in simulated_regions(plain.simulated)]
    assert set(kinds) == {"land-cover-change", "no-land-cover-change"}
