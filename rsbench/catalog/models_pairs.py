"""What a recipe says of pairs of photographs and satellite images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rsbench.catalog.models_base import Entry, Name


class PairsSpec(Entry):
    """How a photograph of one day is paired with a satellite image of a near day.

    ``fine``, ``coarse``: sensors; ``ratio`` (k): fine pixels along one side of a coarse one, so
    that the fine pixels measure coarse gsd / k. ``tier``: how far apart the days may lie:
    ``strict`` 1, ``close`` 3, ``relaxed`` 15, ``season`` 30 days within one season. ``clear``:
    least share of coarse pixels that are clear after clouds are widened by ``dilate`` pixels;
    other pixels are masked. ``correlation``, ``shift``: a pair whose median correlation over bands
    is lower, or that lies more coarse pixels apart, is refused. ``candidates``: scenes tried.
    """

    fine: Name
    coarse: Name
    ratio: Literal[2, 4, 5, 8, 10, 16]
    tier: Literal["strict", "close", "relaxed", "season"] = "relaxed"
    clear: float = Field(default=1.0, gt=0, le=1)
    dilate: int = Field(default=2, ge=0, le=20)
    correlation: float = Field(default=0.5, ge=-1, le=1)
    shift: float = Field(default=1.0, gt=0, le=8)
    candidates: int = Field(default=5, ge=1, le=50)
