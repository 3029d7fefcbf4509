"""Recipes of pairs: how photographs and satellite images are matched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rsbench.build.kinds.labels_recipe import LabelledRecipe
from rsbench.catalog import Recipe, Sensor
from rsbench.catalog.loaders import load_protocol
from rsbench.catalog.models_base import Entry, Name
from rsbench.core.errors import InputError
from rsbench.simulate.pair_spec import RATIO, PairSpec

TASK = "segment"
"""The task that uses pairs with labels."""


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


class PairsRecipe(LabelledRecipe):
    """A recipe of pairs; ``labels`` lie on the pixels of their coarse sensor.

    With labels, ``default_protocol`` may be a protocol of segmentation.
    """

    kind: Literal["pairs"] = "pairs"
    pairs: PairsSpec
    simulated: PairSpec | None = None

    @model_validator(mode="after")
    def _names_its_sensors(self) -> Self:
        if {self.pairs.fine, self.pairs.coarse} != set(self.sensor_names):
            raise ValueError("pairs names its fine and its coarse sensor, which are the sensors")
        if self.simulated and self.pairs.ratio != RATIO:
            raise ValueError(f"pairs: ratio: simulated pairs have {RATIO}")
        return self

    def sensor_changes(self, name: str, sensors: Sequence[Sensor]) -> Mapping[str, Any]:
        """Return the fine sensor's pixel size: that of the coarse sensor divided by the ratio."""
        if name != self.pairs.fine:
            return {}
        coarse = next(sensor for sensor in sensors if sensor.name == self.pairs.coarse)
        return {"gsd": coarse.gsd / self.pairs.ratio}

    def protocol_fault(self) -> str | None:
        """Return why ``default_protocol`` does not fit: only pairs with labels may have one."""
        if self.default_protocol and self.labels is None:
            return "no task uses pairs without labels; name a label set, or leave it out"
        return None

    def references(self) -> Mapping[str, Callable[[], object]]:
        """Return the checks of the label set, which the provider has, and of the protocol."""
        checks = dict(super().references())
        if self.default_protocol:
            checks["default_protocol"] = partial(_require_segment, self.default_protocol)
        return checks


def pairs_recipe(recipe: Recipe) -> PairsRecipe:
    """Return a recipe as one of pairs.

    Raises:
        TypeError: if it is of another kind; the engine never asks this kind to build it.
    """
    if not isinstance(recipe, PairsRecipe):
        raise TypeError(f"recipe {recipe.name} of kind {recipe.kind} has no pairs")
    return recipe


def _require_segment(name: str) -> None:
    if (task := load_protocol(name).task) != TASK:
        raise InputError(
            f"the protocol {name} for pairs with labels",
            f"it is of the task {task}",
            f"Name a protocol of the task {TASK}, as segment",
        )
