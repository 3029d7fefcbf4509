"""Simulated triplets: kinds of regions, and the slots of the season from which scenes are taken.

A region has three dates of one season. In a region without land-cover change all three lie in one
year. In a region with land-cover change the first date lies a year before, so that a year of change
stands between it and the target, and none between the target and the last date. A stress region has
ten dates: seven of one year around a target, with two references 16, 48 and 96 days apart; and in
the next year a target on changed ground, a date after it, and one that shows the ground as it was
before the change. Conditions of a protocol name the dates by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

from pydantic import model_validator

from rsbench.catalog import Region, SimulatedSpec
from rsbench.simulate.regions import simulated_regions

FINE, COARSE = "landsat", "mod09a1"
STABLE, CHANGED = "no-land-cover-change", "land-cover-change"
PLAIN = (STABLE, CHANGED)
STRESS = "stress"
SEASON = (110, 150, 190, 230)
"""Days of the year between which the first, the target and the last scene are looked for."""
MIDDLES = (170, 175, 165, 180, 160, 185, 155, 190)
"""Days of the year around which the dates of a stress region may lie."""
APART = ((-48, 5), (-24, 5), (-8, 3), (0, 3), (8, 3), (24, 5), (48, 5))
"""Days from the target, and how many days a scene may lie from its day."""
LATER = ((0, 3), (20, 3), (28, 3))
"""The same in the year after: target, ground that stays changed, ground as it was."""


class TripletSpec(SimulatedSpec):
    """The simulated Earth behind a recipe of triplets: its catalogue holds only the dates of slots.

    ``scenes_per_year``: scenes from which those of the slots are taken. ``dates``: ``plain``: every
    region has three dates, with and without land-cover change in turn; ``stress``: the test regions
    have ten dates. ``size``: pixels of 10 m; the scenes are larger than the store's regions.
    """

    years: tuple[int, int] = (2019, 2020)
    sensors: tuple[Literal["landsat"], Literal["mod09a1"]] = ("landsat", "mod09a1")
    dates: Literal["plain", "stress"] = "plain"

    @model_validator(mode="after")
    def _may_change(self) -> Self:
        if self.years[0] == self.years[1]:
            raise ValueError("land-cover change needs two simulated years")
        return self


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


def triplet_regions(spec: TripletSpec) -> tuple[Region, ...]:
    """Return the regions, with the kind as stratum; a stress region's stratum is its ground."""
    kinds = kinds_of(spec)
    return tuple(
        region
        if kinds[region.name] == STRESS
        else region.model_copy(update={"stratum": kinds[region.name]})
        for region in simulated_regions(spec)
    )


@lru_cache(maxsize=8)
def kinds_of(spec: TripletSpec) -> Mapping[str, str]:
    """Return the kind of every region by name: the plain kinds take turns within a split.

    Kinds of ground follow one another in a fixed order; after each round the kinds of triplets move
    on by one, so that no kind of ground has only one of them.
    """
    regions = simulated_regions(spec)
    grounds = len({region.stratum for region in regions})
    kinds = {}
    for split in ("train", "val", "test"):
        same = [region.name for region in regions if region.split == split]
        for place, name in enumerate(same):
            plain = PLAIN[(place + place // grounds) % len(PLAIN)]
            kinds[name] = STRESS if spec.dates == STRESS and split == "test" else plain
    return kinds


def choices(kind: str, year: int) -> Iterator[tuple[Slot, ...]]:
    """Yield the slots that a kind may take."""
    for middle in MIDDLES if kind == STRESS else MIDDLES[:1]:
        yield slots(kind, year, middle)


def slots(kind: str, year: int, middle: int = MIDDLES[0]) -> tuple[Slot, ...]:
    """Return the slots of a region's dates, ascending; ``middle``: day of a stress target."""
    if kind == STRESS:
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
