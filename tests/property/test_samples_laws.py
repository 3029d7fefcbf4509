"""Samples: laws that hold for any number of dates, context, horizon, window and stride."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rsbench.core.grid import Grid
from rsbench.tasks.forecast.samples import curve_of, starts
from rsbench.tasks.windows import windows_of

NUMBERS = st.integers(1, 12)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_targets_follow_the_context_without_a_gap(times: int, context: int, horizon: int) -> None:
    for given_, wanted in starts((context, times - 1), context=context, horizon=horizon):
        line = [*given_, *wanted]
        assert line == list(range(line[0], line[0] + len(line)))
        assert len(given_) == context
        assert 1 <= len(wanted) <= horizon
        assert line[0] >= 0
        assert line[-1] < times


@given(NUMBERS, NUMBERS, NUMBERS)
def test_matched_sets_have_the_same_count_at_every_lead(
    times: int, context: int, horizon: int
) -> None:
    count = max(0, times - context - horizon + 1)
    span = (context, times - 1)
    made = [
        (lead, curve_of(given_[-1], lead, span=span, horizon=horizon))
        for given_, wanted in starts(span, context=context, horizon=horizon)
        for lead in range(1, len(wanted) + 1)
    ]
    for name in ("starts", "targets"):
        leads = [lead for lead, curve in made if curve in (name, "both")]
        assert all(leads.count(lead) == count for lead in range(1, horizon + 1))


@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 12), st.integers(1, 16))
def test_windows_stay_inside_and_lie_wherever_one_fits(
    height: int, width: int, window: int, stride: int
) -> None:
    window = min(window, height, width)
    grid = Grid("EPSG:32633", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0), height, width)
    found = windows_of("r", grid, window=window, stride=stride)
    fits = {
        (y, x)
        for y in range(height)
        for x in range(width)
        if y % stride == x % stride == 0 and y + window <= height and x + window <= width
    }
    assert len(found) == len(fits)
    assert {(w.y, w.x) for w in found} == fits
    assert all((w.height, w.width) == (window, window) for w in found)
