"""Samples: counted by hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.errors import HorizonError, InputError, UnknownName
from rsbench.core.grid import Grid, Window
from rsbench.store.read import Store
from rsbench.store.write import finalise, write_region
from rsbench.tasks.forecast_samples import (
    Sample,
    index,
    index_report,
    leak_report,
    matched_starts,
    matched_targets,
    starts,
    time_split,
    windows_of,
)
from tests import toys

WHOLE = Window(0, 0, 64, 64)


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
    found = index(store, protocol(), "val", horizon=7, context=1)
    assert [len(s.targets) for s in found] == [7, 6, 5, 4, 3, 2, 1]
    assert all(len(s.context) == 1 for s in found)


@pytest.mark.parametrize(("context", "horizon", "room"), [(1, 8, "7"), (3, 6, "5"), (7, 2, "1")])
def test_a_horizon_beyond_the_data_says_what_there_is(
    store: Store, context: int, horizon: int, room: str
) -> None:
    with pytest.raises(HorizonError) as caught:
        index(store, protocol(), "val", horizon=horizon, context=context)
    assert "8 dates" in str(caught.value)
    assert f"k={context}: {room}" in str(caught.value)
    assert f"horizon of {room} or less" in str(caught.value)


def test_a_context_beyond_the_data_and_numbers_below_one(store: Store) -> None:
    with pytest.raises(HorizonError, match="shorter context"):
        index(store, protocol(), "val", horizon=1, context=9)
    with pytest.raises(HorizonError, match="1 or more"):
        index(store, protocol(), "val", horizon=0)
    with pytest.raises(HorizonError, match="1 or more"):
        index(store, protocol(), "val", context=0)


def test_windows_lie_on_a_fixed_grid_and_the_remainder_is_counted() -> None:
    grid = Grid("EPSG:32633", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), 70, 100)
    found, dropped = windows_of("r", grid, window=32, stride=32)
    assert [(w.y, w.x) for w in found] == [(y, x) for y in (0, 32) for x in (0, 32, 64)]
    assert dropped == 70 * 100 - 64 * 96
    overlapping, dropped = windows_of("r", grid, window=32, stride=16)
    assert len(overlapping) == 3 * 5
    assert dropped == 70 * 100 - 64 * 96
    gaps, dropped = windows_of("r", grid, window=16, stride=32)
    assert dropped == 70 * 100 - len(gaps) * 16 * 16


def test_dropped_pixels_are_reported_by_region(store: Store) -> None:
    report = index_report(store, protocol(48), "test")
    assert report.dropped == {"toy-05": 64 * 64 - 48 * 48, "toy-06": 64 * 64 - 48 * 48}
    assert index(store, protocol(48), "test") == report.samples


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
        index(open_store(tmp_path), protocol(16), "val", horizon=1, context=1)


def samples(times: int, context: int, horizon: int) -> tuple[Sample, ...]:
    return tuple(
        Sample("r", WHOLE, given, wanted)
        for given, wanted in starts(times, context=context, horizon=horizon)
    )


def test_matched_starts_serve_every_lead() -> None:
    found = matched_starts(samples(8, 3, 5), 3)
    assert [(s.start, s.targets) for s in found] == [
        (2, (3, 4, 5)), (3, (4, 5, 6)), (4, (5, 6, 7)),
    ]  # fmt: skip


def test_matched_targets_are_reached_at_every_lead_with_one_context_length() -> None:
    found = matched_targets(samples(8, 3, 3), 3)
    by_target: dict[int, list[int]] = {}
    for sample, lead in found:
        assert sample.targets[lead - 1] == sample.start + lead
        assert len(sample.context) == 3
        by_target.setdefault(sample.start + lead, []).append(lead)
    assert {t: sorted(leads) for t, leads in by_target.items()} == {
        5: [1, 2, 3], 6: [1, 2, 3], 7: [1, 2, 3],
    }  # fmt: skip


def test_with_one_start_there_is_one_matched_target() -> None:
    assert [s.start for s in matched_starts(samples(8, 1, 7), 7)] == [0]
    assert {s.start + lead for s, lead in matched_targets(samples(8, 1, 7), 7)} == {7}


def test_a_time_split_asks_nothing_from_before_the_boundary() -> None:
    times = {"r": toys.dates(8)}
    before, after = time_split(samples(8, 1, 7), times, date(2021, 1, 1))
    assert {t for s in before for t in s.targets} == {1, 2, 3}
    assert all(min(s.targets) >= 4 for s in after)
    assert [s.start for s in after] == [3, 4, 5, 6]


def test_the_leak_report_measures_what_can_be_measured(store: Store) -> None:
    report = leak_report(store)
    assert report.clean
    assert report.nearest["train", "val"] == (60000.0 - 640.0, "toy-03", "toy-04")
    assert report.compared == 3 * 1 + 3 * 2 + 1 * 2
    assert report.apart == 0


def test_the_leak_report_finds_shared_ground(tmp_path: Path) -> None:
    from dataclasses import replace

    meta = toys.sensor_meta()
    for i, (split, shift, crs) in enumerate([
        ("train", 0.0, "EPSG:32633"), ("test", 310.0, "EPSG:32633"),
        ("val", 320.0, "EPSG:32633"), ("test", 0.0, "EPSG:32634"),
    ]):  # fmt: skip
        made = toys.arrays(i, size=32, years=2)
        grid = replace(made.grid, crs=crs, transform=(10.0, 0.0, shift, 0.0, -10.0, 0.0))
        write_region(
            tmp_path, toys.record(i, split=split, years=2),
            {"s2": replace(made, grid=grid)}, {"s2": meta},
        )  # fmt: skip
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    from rsbench import open_store

    report = leak_report(open_store(tmp_path))
    assert report.overlaps == (("toy-01", "toy-02"), ("toy-02", "toy-03"))
    assert not report.clean
    assert report.nearest["train", "val"] == (0.0, "toy-01", "toy-03")
    assert report.apart == 2
