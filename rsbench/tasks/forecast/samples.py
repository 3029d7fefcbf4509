"""Samples of forecasts: which window of which region, which dates are given and asked for.

Under a protocol whose scheme is ``time`` or ``space-time`` the splits are made by target date
inside every region: the first half of the dates is for training, then validation, then test. A
sample may be given frames of an earlier split, as any forecast is, but is asked for none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Self

from rsbench.core.date_triplets import SHARES, shares
from rsbench.core.dates import uneven, usual_step
from rsbench.core.errors import HorizonError, InputError
from rsbench.core.grid import Window
from rsbench.tasks.windows import windows_of

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store


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
        """Identifies the sample without its window, so that neighbouring tiles share it."""
        return f"{self.region}:{self.start}"

    def at(self, window: Window) -> Self:
        """Return the sample with another window."""
        return replace(self, window=window)


@dataclass(frozen=True)
class Extent:
    """How many context frames are given and leads asked for, of which sensor.

    Args:
        context, horizon: the protocol's where None. Late starts have fewer leads.
        sensor: the sensor whose dates and grid count; the store's first where None.
    """

    context: int | None = None
    horizon: int | None = None
    sensor: str | None = None


def index(
    store: Store, protocol: Protocol, split: str, extent: Extent | None = None
) -> tuple[Sample, ...]:
    """Return the samples of a split: every start with a full context and at least one lead.

    Raises:
        HorizonError: if the data hold no start with that context and that many leads.
        InputError: if the protocol's window is larger than a region, its dates are uneven, or
            a split by date leaves none for the split.
    """
    asked = extent or Extent()
    leads = protocol.horizon if asked.horizon is None else asked.horizon
    frames = protocol.context if asked.context is None else asked.context
    name = asked.sensor or next(iter(store.meta.sensors))
    samples, lengths = list[Sample](), dict[str, int]()
    for region in regions_of(store, protocol, split):
        entry = store.region(region)
        times, grid = entry.times[name], entry.grids[name]
        _require_even(region, times)
        lengths[region] = len(times)
        windows = windows_of(region, grid, window=protocol.window, stride=protocol.stride)
        span = spans(protocol, len(times), frames).get(split)
        samples += [
            Sample(region, window, given, wanted)
            for given, wanted in (starts(span, context=frames, horizon=leads) if span else ())
            for window in windows
        ]
    require_leads(max(lengths.values(), default=0), context=frames, horizon=leads)
    if not samples:
        raise InputError(
            f"forecasts of the split {split} under protocol {protocol.name}",
            f"of {max(lengths.values())} dates a split by date leaves none for it",
            "Add dates, or take a protocol whose scheme is space",
        )
    return backward(samples, lengths) if protocol.direction == "past" else tuple(samples)


def regions_of(store: Store, protocol: Protocol, split: str) -> tuple[str, ...]:
    """Return the regions of a split; all of them where the splits are made by date alone."""
    if protocol.scheme == "time" and split in SHARES:
        return tuple(store.regions)
    return tuple(store.split(split))


Span = tuple[int, int]
"""First and last index of the target dates of a split."""


def spans(protocol: Protocol, times: int, context: int) -> dict[str, Span]:
    """Return split → span among ``times`` dates, of every split that has dates."""
    targets = range(context, times)
    if protocol.scheme == "space":
        return dict.fromkeys(SHARES, (context, times - 1))
    parts = shares(targets) if len(targets) else {}
    return {split: (own[0], own[-1]) for split, own in parts.items() if len(own)}


def starts(
    span: Span, *, context: int, horizon: int
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]:
    """Return (context, targets) of every start that has at least one target in the span."""
    first, last = span
    return tuple(
        (
            tuple(range(start - context + 1, start + 1)),
            tuple(range(start + 1, min(start + horizon, last) + 1)),
        )
        for start in range(first - 1, last)
    )


def curve_of(start: int, lead: int, *, span: Span, horizon: int) -> str:
    """Return to which matched sets a lead belongs: ``starts``, ``targets``, ``both`` or ``none``.

    A start is matched where all leads of the horizon exist after it; a target is matched where
    all leads of the horizon reach it from a start of the same split.
    """
    by_start = start + horizon <= span[1]
    by_target = start + lead - horizon >= span[0] - 1
    if by_start and by_target:
        return "both"
    return "starts" if by_start else "targets" if by_target else "none"


def backward(samples: Iterable[Sample], times: Mapping[str, int]) -> tuple[Sample, ...]:
    """Return the samples with time reversed: the first context date becomes the last.

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


def require_leads(times: int, *, context: int, horizon: int) -> None:
    """Refuse more context or leads than ``times`` dates hold.

    Raises:
        HorizonError: gives the number of leads for several contexts.
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


def _require_even(region: str, times: Sequence[date]) -> None:
    """Refuse uneven steps between dates: `lead 2` would be another time span at every start."""
    found = uneven(times)
    if found is not None:
        before, step = found
        raise InputError(
            f"the dates of region {region}",
            f"{step} days follow {before}, elsewhere it is about {usual_step(times)}",
            "Forecasts count leads in even steps: import evenly spaced dates, or make them even "
            f"with rsbench import-dataset … --step {usual_step(times)}d",
        )
