"""Triplets of dates for fusion: neighbouring dates, splits by target date, and leaks.

Used to build and describe stores, and to draw samples.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Self, TypeVar

from rsbench.core.errors import InputError
from rsbench.core.grid import Window

T = TypeVar("T")
SHARES = {"train": 0.5, "val": 0.1, "test": 0.4}
"""Shares of the target dates in splits by date."""


@dataclass(frozen=True, slots=True)
class Triplet:
    """One sample of fusion: a window of a region, its reference dates and its target date.

    Args:
        references: ascending, without the target.
        condition: name of the stress scenario; empty without one.
        cloud: share of the target's coarse image that is masked.

    Raises:
        InputError: if the target is among the references, or these do not ascend.
    """

    region: str
    window: Window
    references: tuple[date, ...]
    target: date
    condition: str = ""
    cloud: float = 0.0

    def __post_init__(self) -> None:
        asked = f"target {self.target} of region {self.region}"
        shown = ", ".join(str(day) for day in self.references)
        if self.target in self.references:
            raise InputError(
                asked,
                f"it is among the references {shown}",
                "Its fine image is the truth",
            )
        if not self.references or list(self.references) != sorted(set(self.references)):
            raise InputError(
                asked, f"the references are {shown or 'none'}", "Give each once, ascending"
            )

    @property
    def dates(self) -> tuple[date, ...]:
        """References and target, ascending."""
        return tuple(sorted((*self.references, self.target)))

    @property
    def key(self) -> str:
        """Name of the sample without its window, equal for all windows of a region."""
        named = f"{self.region}:{'+'.join(str(day) for day in self.references)}:{self.target}"
        return f"{named}:{self.condition}" if self.condition else named

    def at(self, window: Window) -> Self:
        """Return the triplet with another window."""
        return replace(self, window=window)


@dataclass(frozen=True, slots=True)
class DateLeak:
    """A test target whose fine image is in training, as ``reference`` or ``target``."""

    region: str
    target: date
    role: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Smallest and largest number of days between neighbouring dates of a triplet."""

    fewest: int
    most: int

    @property
    def step(self) -> str:
        """The ``step`` of a store's metadata, e.g. ``P8D/P32D``."""
        return f"P{self.fewest}D/P{self.most}D"

    def holds(self, dates: Sequence[date]) -> bool:
        """Return whether all gaps between ascending dates are within the limits."""
        return all(self.fewest <= (b - a).days <= self.most for a, b in pairwise(dates))


def gap_of(step: str) -> Gap | None:
    """Return the gap in the ``step`` of a store; None if it is another kind of step."""
    found = re.fullmatch(r"P(\d+)D/P(\d+)D", step)
    return Gap(int(found[1]), int(found[2])) if found else None


def neighbours(
    dates: Sequence[date], references: int, gap: Gap | None = None
) -> tuple[tuple[tuple[date, ...], date], ...]:
    """Return ``(references, target)`` for all runs of neighbouring dates within the gap.

    Args:
        dates: ascending.
        references: 2 for the dates before and after the target, 1 for the date before.
    """
    found = []
    for at in range(1, len(dates) - (references - 1)):
        held = tuple(dates[at - 1 : at + references])
        if gap is None or gap.holds(held):
            found.append(((held[0], *held[2:]), held[1]))
    return tuple(found)


def split_by_date(samples: Iterable[Triplet]) -> Mapping[str, tuple[Triplet, ...]]:
    """Split samples by target date, in order of time: train, then val, then test.

    Train has half of the target dates and test the last 40 %. Val has a tenth and at least two,
    or none if there are fewer than six dates. A sample of train or val is left out if one of its
    dates is a target of a later split, because its fine image is the truth of that split.
    """
    listed = tuple(samples)
    targets = sorted({sample.target for sample in listed})
    parts: dict[str, tuple[Triplet, ...]] = {}
    later: set[date] = set()
    for split, own in reversed(shares(targets).items()):
        chosen = (sample for sample in listed if sample.target in own)
        parts[split] = tuple(s for s in chosen if not later & set(s.dates))
        later |= set(own)
    return parts


def date_leaks(train: Iterable[Triplet], test: Iterable[Triplet]) -> tuple[DateLeak, ...]:
    """Return the test targets whose fine images are in training, in overlapping windows.

    A reference in both is no leak, because the model also gets it in the test.
    """
    seen: dict[tuple[str, date], list[tuple[str, Window]]] = {}
    for sample in train:
        for day in sample.dates:
            role = "target" if day == sample.target else "reference"
            seen.setdefault((sample.region, day), []).append((role, sample.window))
    found = {
        DateLeak(sample.region, sample.target, role)
        for sample in test
        for role, window in seen.get((sample.region, sample.target), ())
        if _overlap(window, sample.window)
    }
    return tuple(sorted(found, key=lambda leak: (leak.region, leak.target, leak.role)))


def _overlap(a: Window, b: Window) -> bool:
    return (
        a.y < b.y + b.height
        and b.y < a.y + a.height
        and a.x < b.x + b.width
        and b.x < a.x + a.width
    )


def shares(targets: Sequence[T]) -> dict[str, Sequence[T]]:
    """Cut ascending target dates, or their indices, into the splits, in order of time."""
    count = len(targets)
    test = max(1, round(SHARES["test"] * count))
    # The later reference of the last date is a test target, so a single date would have no sample.
    val = max(2, round(SHARES["val"] * count)) if count > 5 else 0
    train = count - test - val
    return {
        "train": targets[:train],
        "val": targets[train : train + val],
        "test": targets[train + val :],
    }
