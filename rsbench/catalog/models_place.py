"""The schema of a region of triplet datasets: whole coarse blocks on the grid of Landsat."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rsbench.catalog.models import Continent, Region
from rsbench.catalog.models_base import Text

BLOCK_M = 480
PHASE_M = 15
"""Pixel corners of Landsat are 15 m past multiples of 30 m in the northern UTM zones."""


class TripletPlace(Region):
    """A region of triplet datasets: 1536 pixels of 30 m, or 96 blocks of 480 m, along a side."""

    title: Text
    country: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    continent: Continent
    biome: Text
    stratum: Literal["event", "stable", "phenology"]
    why: Text
    change: Text
    role: Literal["change-prone", "stable", "mixed"]
    tile: Literal[""] = ""
    epsg: int = Field(ge=32601, le=32660)
    size: Literal[1536] = 1536
    gsd: Annotated[float, Field(ge=30, le=30)] = 30.0
    water: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _on_blocks(self) -> Self:
        if any((corner - PHASE_M) % BLOCK_M for corner in self.origin):
            raise ValueError(f"the origin is not {PHASE_M} m past multiples of {BLOCK_M} m")
        return self
