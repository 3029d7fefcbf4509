"""Recipes of triplets: how scenes of two sensors are paired, and which dates are accepted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from rsbench.catalog import Recipe
from rsbench.catalog.models_base import Entry, Name
from rsbench.simulate.triplet_slots import TripletSpec


class FusionSpec(Entry):
    """How fine scenes are dated, paired with a coarse product, and accepted.

    ``fine``, ``coarse``: sensors; their bands stand in one order. ``ratio``: fine pixels along one
    side of a coarse pixel of the store. ``periods``: region → first and last day; a region without
    one takes all years of the recipe. ``gap``: fewest and most days between neighbouring dates of
    a triplet. ``dates``: most dates of a place; where more are accepted the fewest days between two
    of them grow until they fit, at most to the most.

    ``product``: pattern of the coarse items' ids (Aqua's band 6 has dead detectors, so that only
    Terra's are taken). ``days``: how many days a coarse image spans from its nominal day on; 1 for
    a daily product. ``day_layer``, ``day_off``: asset with the day of the year of every coarse
    pixel, and how many days it may lie beside the fine image's.

    A date is refused with less than ``fine_clear`` or ``coarse_clear`` of its pixels valid, if the
    ``bands``-th best correlation of block means with the coarse bands is below ``correlation``, or
    if both lie more than ``shift`` coarse pixels apart. Without ``correlation`` (null) both images
    are known to agree: correlation and shift are recorded, and refuse no date.
    """

    fine: Name
    coarse: Name
    ratio: Literal[2, 4, 5, 8, 10, 16] = 16
    periods: Mapping[Name, tuple[date, date]] = Field(default_factory=dict)
    gap: tuple[int, int] = (16, 96)
    dates: int = Field(default=12, ge=3)
    product: str = "*"
    days: int = Field(default=1, ge=1, le=31)
    day_layer: str = ""
    day_off: int = Field(default=3, ge=0, le=31)
    fine_clear: float = Field(default=0.95, gt=0, le=1)
    coarse_clear: float = Field(default=0.9, gt=0, le=1)
    correlation: float | None = Field(default=0.7, ge=-1, le=1)
    bands: int = Field(default=4, ge=1)
    shift: float = Field(default=1.0, gt=0, le=1.4)

    @field_validator("periods")
    @classmethod
    def _ascend(cls, periods: Mapping[str, tuple[date, date]]) -> Mapping[str, tuple[date, date]]:
        for name, (first, last) in periods.items():
            if first >= last:
                raise ValueError(f"the period of {name} ends before it begins")
        return periods

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not 1 <= self.gap[0] <= self.gap[1]:
            raise ValueError("gap is fewest and most days between two dates, at least 1")
        if self.fine == self.coarse:
            raise ValueError("fusion names a fine and a coarse sensor")
        return self


class TripletsRecipe(Recipe):
    """A recipe of triplets, of real scenes or of the simulated Earth."""

    kind: Literal["triplets"] = "triplets"
    fusion: FusionSpec
    simulated: TripletSpec | None = None

    @model_validator(mode="after")
    def _names_both_sensors(self) -> Self:
        if {self.fusion.fine, self.fusion.coarse} != set(self.sensor_names):
            raise ValueError("fusion is for triplets and names their two sensors")
        return self


def fusion_of(recipe: Recipe) -> FusionSpec:
    """Return how the triplets of a recipe are made of scenes.

    Raises:
        TypeError: if it is of another kind; the engine never asks this kind to build it.
    """
    if not isinstance(recipe, TripletsRecipe):
        raise TypeError(f"recipe {recipe.name} of kind {recipe.kind} has no triplets")
    return recipe.fusion
