"""Entries that bound a forecast: a simulation's conditional mean and the data's noise floor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsbench.tasks.base import Bound, Whole
from rsbench.tasks.forecast.samples import regions_of

if TYPE_CHECKING:
    from rsbench.tasks.config import EvaluationConfig


def bounds(config: EvaluationConfig) -> Iterator[Bound]:
    """Yield the oracle where the data are simulated, and the floor where they have halves."""
    if config.store.meta.simulation is not None and config.protocol.direction == "future":
        yield oracle(config)
    region = regions_of(config.store, config.protocol, config.split)[0]
    if {"odd", "even"} <= set(config.store.arrays(region, config.sensor)):
        yield floor(config)


def oracle(config: EvaluationConfig) -> Bound:
    """Return the conditional mean of the simulation."""
    from rsbench.catalog import SimulatedSpec
    from rsbench.simulate.api import conditional_mean

    spec = SimulatedSpec.model_validate(dict(config.store.meta.simulation or {}))

    @lru_cache(maxsize=256)
    def whole(region: str, start: date, target: date) -> torch.Tensor:
        values = conditional_mean(
            spec, region, config.sensor,
            context_end=start.year, targets=(target.year,), bands=config.bands,
        )  # fmt: skip
        return torch.from_numpy(values[0])

    return Bound("oracle", "oracle", whole)


def floor(config: EvaluationConfig) -> Bound:
    """Return the noise floor: medians of odd dates against medians of even dates."""
    store, meta = config.store, config.meta
    index = list(meta.band_index(config.bands))

    @lru_cache(maxsize=8)
    def array(region: str, name: str) -> np.ndarray[Any, Any]:
        return store.read(region, config.sensor, array=name)

    def place(region: str, target: date) -> int:
        return store.region(region).times[config.sensor].index(target)

    def half(name: str) -> Whole:
        def whole(region: str, start: date, target: date) -> torch.Tensor:
            raw = array(region, name)[place(region, target)][index]
            return torch.from_numpy(store.to_physical(config.sensor, raw))

        return whole

    def both(region: str, start: date, target: date) -> torch.Tensor:
        at = place(region, target)
        there = [(array(region, name)[at] != meta.nodata).all(axis=0) for name in ("odd", "even")]
        return torch.from_numpy(there[0] & there[1])[None]

    return Bound("floor", "floor", half("odd"), half("even"), both)
