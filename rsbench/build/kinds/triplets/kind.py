"""The dataset kind ``triplets``: regions with the dates that make triplets of two sensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rsbench.build.kinds.base import (
    Assembled,
    BuildContext,
    Found,
    IndexFacts,
    Refused,
    RegionSearch,
    UnitData,
    Units,
)
from rsbench.build.kinds.triplets.card import card_lines
from rsbench.build.kinds.triplets.days import days_unit, stored_sensors
from rsbench.build.kinds.triplets.recipe import TripletsRecipe, fusion_of
from rsbench.build.kinds.triplets.regions import assemble_region
from rsbench.build.kinds.triplets.search import search_triplets
from rsbench.catalog import Recipe, Sensor
from rsbench.core.date_triplets import Gap
from rsbench.store.layout import SensorMeta
from rsbench.store.read import Store

COMPOSITOR = "triplets@1"


class TripletsKind:
    """Dates of a fine and a coarse sensor; a region without a triplet is left out."""

    name = "triplets"
    recipe: type[Recipe] = TripletsRecipe

    def search(self, asked: RegionSearch) -> Found:
        """Return the fine scenes of one path, and the coarse images that span their days."""
        return search_triplets(asked)

    def unit(self, context: BuildContext, region: str, year: int) -> UnitData:
        """Return the accepted days of one region and year, and why others were refused."""
        return days_unit(context, region, year)

    def assemble(self, context: BuildContext, region: str, units: Units) -> Assembled | Refused:
        """Return a region with the days that make a triplet."""
        return assemble_region(context, region, units)

    def lattice(self, recipe: Recipe) -> str:
        """Return the fine sensor: coarse pixels are averaged over blocks of its pixels."""
        return fusion_of(recipe).fine

    def sensors(self, recipe: Recipe, sensors: Sequence[Sensor]) -> Mapping[str, SensorMeta]:
        """Return both sensors; the coarse bands carry the names of the fine ones."""
        return stored_sensors(recipe, sensors)

    def index(self, recipe: Recipe, refused: Mapping[str, Mapping[str, str]]) -> IndexFacts:
        """Return what was refused, and the gap between dates as the step."""
        return IndexFacts(COMPOSITOR, Gap(*fusion_of(recipe).gap).step, {"refused": refused})

    def card(self, store: Store) -> Iterator[str]:
        """Yield triplets, days, refusals, and what a split by date would take."""
        yield from card_lines(store)


KIND = TripletsKind()
