"""Samples: counted by hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import HorizonError, InputError, UnknownName
from rsbench.core.grid import Grid
from rsbench.store.read import Store
from rsbench.store.write import finalise, write_region
from rsbench.tasks.forecast.samples import (
    Extent,
    index,
)
from rsbench.tasks.windows import windows_of
from tests import toys


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("samples") / "s", regions=6)


def protocol(window: int = 64, stride: int | None = None, name: str = "year3") -> Protocol:
    return load_protocol(name).model_copy(update={"window": window, "stride": stride or window})


def test_every_start_with_a_full_context_and_a_lead(store: Store) -> None:
    found = index(store, protocol(), "val")
    assert [(s.context, s.targets) for s in found] == [
        ((0, 1, 2), (3, 4, 5)),
        ((1, 2, 3), (4, 5, 6)),
        ((2, 3, 4), (5, 6, 7)),
        ((3, 4, 5), (6, 7)),
        ((4, 5, 6), (7,)),
    ]
    assert {s.region for s in found} == {"toy-04"}
    assert found[0].start == 2
    assert found[0].key == "toy-04:2"


def test_regions_of_other_splits_never_appear(store: Store) -> None:
    for split in ("train", "val", "test"):
        assert {s.region for s in index(store, protocol(), split)} == set(store.split(split))
    with pytest.raises(UnknownName):
        index(store, protocol(), "all")


def test_horizon_and_context_may_be_given(store: Store) -> None:
    found = index(store, protocol(), "val", Extent(horizon=7, context=1))
    assert [len(s.targets) for s in found] == [7, 6, 5, 4, 3, 2, 1]
    assert all(len(s.context) == 1 for s in found)


@pytest.mark.parametrize(("context", "horizon", "room"), [(1, 8, "7"), (3, 6, "5"), (7, 2, "1")])
def test_a_horizon_beyond_the_data_says_what_there_is(
    store: Store, context: int, horizon: int, room: str
) -> None:
    with pytest.raises(HorizonError) as caught:
        index(store, protocol(), "val", Extent(horizon=horizon, context=context))
    assert "8 dates" in str(caught.value)
    assert f"k={context}: {room}" in str(caught.value)
    assert f"horizon of {room} or less" in str(caught.value)


def test_a_context_beyond_the_data_and_numbers_below_one(store: Store) -> None:
    with pytest.raises(HorizonError, match="shorter context"):
        index(store, protocol(), "val", Extent(horizon=1, context=9))
    with pytest.raises(HorizonError, match="1 or more"):
        index(store, protocol(), "val", Extent(horizon=0))
    with pytest.raises(HorizonError, match="1 or more"):
        index(store, protocol(), "val", Extent(context=0))


def test_windows_lie_on_a_fixed_grid() -> None:
    grid = Grid("EPSG:32633", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 70, 100)
    found = windows_of("r", grid, window=32, stride=32)
    assert [(w.y, w.x) for w in found] == [(y, x) for y in (0, 32) for x in (0, 32, 64)]
    assert len(windows_of("r", grid, window=32, stride=16)) == 3 * 5


def test_a_window_larger_than_the_region(store: Store) -> None:
    with pytest.raises(InputError, match=r"toy-04: it has 64×64 px. Take .* 64 px or less"):
        index(store, protocol(128), "val")


def test_dates_with_a_gap_are_refused_for_leads_would_differ(tmp_path: Path) -> None:
    from dataclasses import replace

    meta = toys.sensor_meta()
    gap = (date(2017, 7, 1), date(2018, 7, 1), date(2021, 7, 1), date(2022, 7, 1))
    made = replace(toys.arrays(0, size=16, years=4), times=gap)
    record = replace(toys.record(split="val", years=4), times=gap)
    write_region(tmp_path, record, {"s2": made}, {"s2": meta})
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    from rsbench import open_store

    with pytest.raises(InputError, match="1096 days follow 2018-07-01, elsewhere it is about 365"):
        index(open_store(tmp_path), protocol(16), "val", Extent(horizon=1, context=1))


def test_a_split_by_date_asks_nothing_of_another_split(store: Store) -> None:
    """Of seven target dates two are for training, two for validation, three for the test."""
    asked = {"train": {1, 2}, "val": {3, 4}, "test": {5, 6, 7}}
    for scheme in ("time", "space-time"):
        rules = protocol().model_copy(update={"scheme": scheme})
        for split, targets in asked.items():
            found = index(store, rules, split, Extent(context=1, horizon=7))
            assert {t for s in found for t in s.targets} == targets
            assert {s.targets[0] - s.start for s in found} == {1}
            whole = set(store.regions) if scheme == "time" else set(store.split(split))
            assert {s.region for s in found} == whole


def test_a_split_by_date_that_leaves_nothing_is_told(store: Store) -> None:
    rules = protocol().model_copy(update={"scheme": "time"})
    with pytest.raises(InputError, match=r"split train .* of 8 dates .* scheme is space"):
        index(store, rules, "train", Extent(context=7, horizon=1))
