"""The options of simulated pairs; recipes read them without the arrays of the simulation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from rsbench.catalog import SimulatedSpec

FINE, COARSE, LABELS = "naip", "s2", "sim-cover"
RATIO = 4
"""Pixels of the aerial image along one side of a satellite pixel."""


class PairSpec(SimulatedSpec):
    """The simulated Earth behind a recipe of pairs: one day, and one scene of each sensor.

    ``size``: pixels of the satellite image.
    """

    years: tuple[int, int] = (2020, 2020)
    scenes_per_year: int = Field(default=1, ge=1, le=1)
    sensors: tuple[Literal["naip"], Literal["s2"]] = ("naip", "s2")

    @model_validator(mode="after")
    def _one_year(self) -> Self:
        if self.years[0] != self.years[1]:
            raise ValueError("simulated pairs have one day: give one year twice")
        return self
