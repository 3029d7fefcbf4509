"""Samples: which window of which region, which dates are given and which are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import combinations, pairwise
from math import hypot
from typing import TYPE_CHECKING

from rsbench.core.errors import HorizonError, InputError
from rsbench.core.grid import Grid, Window

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store

UNEVEN = 0.25
"""Largest deviation of one step between dates from the usual step, as a share of it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One window of one region with the indices of its dates.

    Args:
        context: time indices given, ascending; descending in a forecast of the past.
        targets: time indices asked for, consecutive after the context: lead 1, lead 2 …
    """

    region: str
    window: Window
    context: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def start(self) -> int:
        """Index of the last date given."""
        return self.context[-1]

    @property
    def key(self) -> str:
        """Names the sample apart from its window, so that neighbouring tiles share it."""
        return f"{self.region}:{self.start}"


@dataclass(frozen=True)
class SampleIndex:
    """The samples of a split, and what the window grid left out.

    Args:
        dropped: pixels per region that no window covers, because a remainder was too small.
    """

    samples: tuple[Sample, ...]
    dropped: Mapping[str, int]


def index(
    store: Store,
    protocol: Protocol,
    split: str,
    *,
    horizon: int | None = None,
    context: int | None = None,
    sensor: str | None = None,
) -> tuple[Sample, ...]:
    """Return the samples of a split: every start with a full context and at least one lead.

    Args:
        horizon: most leads per sample; the protocol's where None. Late starts have fewer.
        context: number of dates given; the protocol's where None.
        sensor: the sensor whose dates and grid count; the store's first where None.

    Raises:
        HorizonError: if the data hold no start with that context and that many leads.
        InputError: if the protocol's window is larger than a region, or its dates are uneven.
    """
    return index_report(
        store, protocol, split, horizon=horizon, context=context, sensor=sensor
    ).samples


def index_report(
    store: Store,
    protocol: Protocol,
    split: str,
    *,
    horizon: int | None = None,
    context: int | None = None,
    sensor: str | None = None,
) -> SampleIndex:
    """Return the same samples as :func:`index`, with the pixels that no window covers."""
    leads = protocol.horizon if horizon is None else horizon
    frames = protocol.context if context is None else context
    name = sensor or next(iter(store.meta.sensors))
    samples: list[Sample] = []
    dropped: dict[str, int] = {}
    longest = 0
    lengths: dict[str, int] = {}
    for region in store.split(split):
        entry = store.region(region)
        times, grid = entry.times[name], entry.grids[name]
        _require_even(region, times)
        longest, lengths[region] = max(longest, len(times)), len(times)
        windows, dropped[region] = windows_of(
            region, grid, window=protocol.window, stride=protocol.stride
        )
        samples += [
            Sample(region, window, given, wanted)
            for given, wanted in starts(len(times), context=frames, horizon=leads)
            for window in windows
        ]
    require_leads(longest, context=frames, horizon=leads)
    found = backward(samples, lengths) if protocol.direction == "past" else tuple(samples)
    return SampleIndex(found, dropped)


def backward(samples: Iterable[Sample], times: Mapping[str, int]) -> tuple[Sample, ...]:
    """Return the samples with time turned round: the first context date becomes the last.

    Given are later dates, descending; lead 1 is the date just before the earliest of them.

    Args:
        times: region → its number of dates.
    """
    return tuple(
        replace(
            s,
            context=tuple(times[s.region] - 1 - t for t in s.context),
            targets=tuple(times[s.region] - 1 - t for t in s.targets),
        )
        for s in samples
    )


def starts(
    times: int, *, context: int, horizon: int
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return (context, targets) of every start among ``times`` dates with at least one lead."""
    return tuple(
        (
            tuple(range(start - context + 1, start + 1)),
            tuple(range(start + 1, min(start + horizon, times - 1) + 1)),
        )
        for start in range(context - 1, times - 1)
    )


def require_leads(times: int, *, context: int, horizon: int) -> None:
    """Refuse more context or leads than ``times`` dates hold.

    Raises:
        HorizonError: says how many leads there are, and for which context.
    """
    asked = f"a horizon of {horizon} after a context of {context}"
    if context < 1 or horizon < 1:
        raise HorizonError(asked, "both are at least 1", "Give 1 or more for each")
    if context + horizon <= times:
        return
    room = times - context
    there = ", ".join(f"k={k}: {times - k}" for k in sorted({1, 2, 3, context}) if k < times)
    raise HorizonError(
        asked,
        f"the data have {times} dates; leads by context are {there or 'none'}",
        f"Ask for a horizon of {room} or less" if room >= 1 else "Ask for a shorter context",
    )


def windows_of(
    region: str, grid: Grid, *, window: int, stride: int
) -> tuple[tuple[Window, ...], int]:
    """Return the windows of a fixed grid from the upper-left corner, and the pixels left over.

    Raises:
        InputError: if the window is larger than the region.
    """
    side = min(grid.height, grid.width)
    if window > side:
        raise InputError(
            f"windows of {window} px in region {region}",
            f"it has {grid.height}×{grid.width} px",
            f"Take a protocol with a window of {side} px or less",
        )
    rows = range(0, grid.height - window + 1, stride)
    columns = range(0, grid.width - window + 1, stride)
    found = tuple(Window(y, x, window, window) for y in rows for x in columns)
    covered = _covered(rows, window, stride) * _covered(columns, window, stride)
    return found, grid.height * grid.width - covered


def _covered(origins: range, window: int, stride: int) -> int:
    return (len(origins) - 1) * min(window, stride) + window


def _require_even(region: str, times: Sequence[date]) -> None:
    """Where steps differ, `lead 2` would mean another thing at every start."""
    steps = [(b - a).days for a, b in pairwise(times)]
    if not steps:
        return
    usual = sorted(steps)[len(steps) // 2]
    for before, step in zip(times, steps, strict=False):
        if abs(step - usual) > UNEVEN * usual:
            raise InputError(
                f"the dates of region {region}",
                f"{step} days follow {before}, elsewhere it is about {usual}",
                "Forecasts count leads in even steps: import evenly spaced dates, or fill the "
                "gap with a frame that is wholly invalid",
            )


def matched_starts(samples: Iterable[Sample], horizon: int) -> tuple[Sample, ...]:
    """Return the samples whose start serves every lead up to the horizon, cut to it."""
    return tuple(
        replace(s, targets=s.targets[:horizon]) for s in samples if len(s.targets) >= horizon
    )


def matched_targets(samples: Iterable[Sample], horizon: int) -> tuple[tuple[Sample, int], ...]:
    """Return (sample, lead) whose target is reached at every lead up to the horizon.

    The context has one length; only the start moves, so lead and target year are not confounded.
    """
    listed = tuple(samples)
    reached: dict[tuple[str, Window, int], set[int]] = {}
    for sample in listed:
        for lead, target in enumerate(sample.targets[:horizon], start=1):
            reached.setdefault((sample.region, sample.window, target), set()).add(lead)
    return tuple(
        (sample, lead)
        for sample in listed
        for lead, target in enumerate(sample.targets[:horizon], start=1)
        if len(reached[sample.region, sample.window, target]) == horizon
    )


def time_split(
    samples: Iterable[Sample], times: Mapping[str, Sequence[date]], boundary: date
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return (before, after): samples that end before a date, and those whose leads begin at it.

    Samples before are cut to the targets before the boundary; a sample after may be given dates
    before it, as any forecast is, but is asked for none of them.

    Args:
        times: region → its dates.
    """
    before: list[Sample] = []
    after: list[Sample] = []
    for sample in samples:
        dates = times[sample.region]
        early = tuple(t for t in sample.targets if dates[t] < boundary)
        if early:
            before.append(replace(sample, targets=early))
        elif sample.targets:
            after.append(sample)
    return tuple(before), tuple(after)


@dataclass(frozen=True)
class LeakReport:
    """How far apart the splits are.

    Args:
        overlaps: pairs of regions of different splits that share ground.
        nearest: per pair of splits, the smallest distance in CRS units (metres) and its regions.
        compared: pairs of regions compared.
        apart: pairs not compared because their grids have different CRSs.
    """

    overlaps: tuple[tuple[str, str], ...]
    nearest: Mapping[tuple[str, str], tuple[float, str, str]]
    compared: int
    apart: int

    @property
    def clean(self) -> bool:
        """Whether no ground lies in two splits."""
        return not self.overlaps


def leak_report(store: Store, *, sensor: str | None = None) -> LeakReport:
    """Compare all regions of different splits whose grids share a CRS."""
    name = sensor or next(iter(store.meta.sensors))
    regions = [
        (r, str(store.listed[r]["split"]), store.region(r).grids[name]) for r in store.regions
    ]
    overlaps: list[tuple[str, str]] = []
    nearest: dict[tuple[str, str], tuple[float, str, str]] = {}
    compared = apart = 0
    for (a, split_a, grid_a), (b, split_b, grid_b) in combinations(regions, 2):
        if split_a == split_b:
            continue
        if grid_a.crs != grid_b.crs:
            apart += 1
            continue
        compared += 1
        distance = grid_distance(grid_a, grid_b)
        if distance is None:
            overlaps.append((a, b))
            distance = 0.0
        low, high = sorted((split_a, split_b))
        nearest[low, high] = min(nearest.get((low, high), (float("inf"), "", "")), (distance, a, b))
    return LeakReport(tuple(overlaps), nearest, compared, apart)


def grid_distance(a: Grid, b: Grid) -> float | None:
    """Return the distance of two grids of one CRS in its units; None where they share ground."""
    ax0, ay0, ax1, ay1 = _bounds(a)
    bx0, by0, bx1, by1 = _bounds(b)
    dx, dy = max(bx0 - ax1, ax0 - bx1), max(by0 - ay1, ay0 - by1)
    if dx < 0 and dy < 0:
        return None
    return hypot(max(dx, 0.0), max(dy, 0.0))


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    a, _, c, _, e, f = grid.transform
    x, y = (c, c + a * grid.width), (f, f + e * grid.height)
    return min(x), min(y), max(x), max(y)
