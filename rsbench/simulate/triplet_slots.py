"""Kinds of simulated regions: where their dates lie, and what changes between.

``change``: a year of land-cover change between the first date and the target. A strained region
has ten dates: seven of one year around a day, two references 16, 48 and 96 days apart about one
target; and in the next year a target on changed ground, a date after it, and one that shows the
ground as it was before the change. Conditions of a protocol name them by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rsbench.catalog import Region, SimulatedSpec
from rsbench.simulate.api import simulated_regions

STABLE, CHANGED = "no-land-cover-change", "land-cover-change"
PLAIN = (STABLE, CHANGED)
STRAINED = "strained"
SEASON = (110, 150, 190, 230)
"""Days of the year between which the first, the target and the last scene are looked for."""
MIDDLES = (170, 175, 165, 180, 160, 185, 155, 190)
"""Days of the year around which the dates of a strained region may lie."""
APART = ((-48, 5), (-24, 5), (-8, 3), (0, 3), (8, 3), (24, 5), (48, 5))
"""Days from the target, and how many days a scene may lie from its day."""
LATER = ((0, 3), (20, 3), (28, 3))
"""The same in the year after: target, ground that stays changed, ground as it was."""


@dataclass(frozen=True)
class Slot:
    """Where one scene of a region is looked for.

    Args:
        ground: the year whose scenes are rendered.
        dated: the year of the date that they are given.
        first, last: days of the year; the last is not among them.
    """

    ground: int
    dated: int
    first: int
    last: int


def kind_of(spec: SimulatedSpec, region: Region, triplets: str = "plain") -> str:
    """Return the kind of a region: the plain kinds take turns within a split.

    Kinds of ground follow one another in a fixed order; after each round the kinds of triplets move
    on by one, so that no kind of ground has only one of them.
    """
    if triplets == STRAINED and region.split == "test":
        return STRAINED
    same = [r for r in simulated_regions(spec) if r.split == region.split]
    place = [r.name for r in same].index(region.name)
    grounds = len({r.stratum for r in simulated_regions(spec)})
    return PLAIN[(place + place // grounds) % len(PLAIN)]


def choices(kind: str, year: int) -> Iterator[tuple[Slot, ...]]:
    """Yield the slots that a kind may take."""
    for middle in MIDDLES if kind == STRAINED else MIDDLES[:1]:
        yield slots(kind, year, middle)


def slots(kind: str, year: int, middle: int = MIDDLES[0]) -> tuple[Slot, ...]:
    """Return the slots of a region's dates, ascending; ``middle``: day of a strained target."""
    if kind == STRAINED:
        late = year + 1
        grounds = (late, late, year)
        return (
            *(_around(year, year, middle + day, near) for day, near in APART),
            *(
                _around(ground, late, middle + day, near)
                for ground, (day, near) in zip(grounds, LATER, strict=True)
            ),
        )
    later = year + (1 if kind == CHANGED else 0)
    years: Sequence[int] = (year, later, later)
    return tuple(Slot(y, y, SEASON[i], SEASON[i + 1]) for i, y in enumerate(years))


def _around(ground: int, dated: int, day: int, near: int) -> Slot:
    return Slot(ground, dated, day - near, day + near + 1)
