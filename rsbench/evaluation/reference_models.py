"""The rows that always stand in a table: trivial forecasts, the oracle, the floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsbench.core.digest import sha256_json
from rsbench.evaluation.entries import ModelEntry, floor_entry, model_entry, whole_entry
from rsbench.evaluation.loop import score
from rsbench.evaluation.scores import Absent
from rsbench.evaluation.strata import whole
from rsbench.metrics.queries import SELECTION
from rsbench.models.api import Fitted, Frames, Model
from rsbench.models.registry import card, create_model
from rsbench.tasks.config import EvaluationConfig
from rsbench.tasks.settings import Note, cases, quiet

if TYPE_CHECKING:
    from rsbench.models.api import Given, Want

TRIVIAL: Mapping[str, tuple[str, ...]] = {
    "forecast": ("persistence", "climatology", "linear_trend", "damped_persistence"),
    "fusion": ("copy_f0", "copy_f2", "mean_refs", "add_change", "copy_c1"),
}
"""The rows that always stand in a table, by task."""


@dataclass(frozen=True)
class Rows:
    """The rows of a table, and why others are absent."""

    rows: tuple[ModelEntry, ...]
    absent: tuple[Absent, ...]
    citations: Mapping[str, str]
    weights: Mapping[str, str | None]
    inputs: Mapping[str, str] = field(default_factory=dict)


def trivial_rows(config: EvaluationConfig, *, note: Note = quiet) -> Rows:
    """Return the trivial rows that the context allows; the others are absent with the reason."""
    rows, absent, citations = [], [], {}
    weights: dict[str, str | None] = {}
    for name in TRIVIAL[config.protocol.task]:
        entry = card(name)
        citations[name] = entry.citation
        if config.context < entry.min_context:
            kind = "context frames" if config.fusion is None else "reference dates"
            why = f"needs {entry.min_context} {kind}, the table has {config.context}"
            absent.append(Absent(name, why))
            continue
        model = create_model(name, bands=len(config.bands), context=config.context)
        if entry.fitted:
            if "train" not in _splits(config):
                absent.append(Absent(name, "the store has no training split to fit on"))
                continue
            note(f"fitting {name} on the training split")
            weights[name] = fit(model, config)
        rows.append(
            model_entry(name, entry.default_preset, "trivial", model, entry, device=config.device)
        )
    shown = dict.fromkeys(TRIVIAL["fusion"], config.shown) if config.fusion else {}
    return Rows(tuple(rows), tuple(absent), citations, weights, shown)


def fit(model: Model, config: EvaluationConfig) -> str:
    """Fit a closed-form model on the training split; return the digest of its parameters."""
    if not isinstance(model, Fitted):
        raise TypeError(f"{type(model).__name__} has no fit")
    return sha256_json(dict(model.fit(training_pairs(config))))


def training_pairs(config: EvaluationConfig) -> Iterator[tuple[Given, Want, Frames]]:
    """Yield (given, want, truth) of the training split, for closed-form fits."""
    low_high = config.meta.value_range
    for case in cases(config, split="train"):
        truth = Frames(
            values=case.truth[:, None],
            valid=case.valid[:, None],
            times=case.want.times,
            bands=config.bands,
            unit=config.meta.unit,
            predicted=(False,) * case.truth.shape[1],
            value_range=low_high,
        )
        yield case.given, case.want, truth


def control_rows(config: EvaluationConfig) -> tuple[ModelEntry, ...]:
    """Return the oracle of a simulation and the floor, where the store has them."""
    rows: list[ModelEntry] = []
    if config.fusion is not None:
        return ()  # no conditional mean and no halves are known of a single date
    if config.store.meta.simulation is not None and config.protocol.direction == "future":
        rows.append(_oracle(config))
    held = config.store.arrays(config.store.split(config.split)[0], config.sensor)
    if {"odd", "even"} <= set(held):
        rows.append(_floor(config))
    return tuple(rows)


def _oracle(config: EvaluationConfig) -> ModelEntry:
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

    return whole_entry("oracle", "oracle", whole)


def _floor(config: EvaluationConfig) -> ModelEntry:
    store, meta = config.store, config.meta
    index = list(meta.band_index(config.bands))

    @lru_cache(maxsize=8)
    def array(region: str, name: str) -> np.ndarray[Any, Any]:
        return store.read(region, config.sensor, array=name)

    def place(region: str, target: date) -> int:
        return store.region(region).times[config.sensor].index(target)

    def half(name: str) -> Callable[[str, date, date], torch.Tensor]:
        def whole(region: str, start: date, target: date) -> torch.Tensor:
            raw = array(region, name)[place(region, target)][index]
            return torch.from_numpy(store.to_physical(config.sensor, raw))

        return whole

    def both(region: str, start: date, target: date) -> torch.Tensor:
        at = place(region, target)
        there = [(array(region, name)[at] != meta.nodata).all(axis=0) for name in ("odd", "even")]
        return torch.from_numpy(there[0] & there[1])[None]

    return floor_entry(half("odd"), half("even"), both)


def _splits(config: EvaluationConfig) -> set[str]:
    from rsbench.tasks.fusion_samples import splits_of

    if config.fusion is not None:
        return set(splits_of(config.store, config.protocol, config.context))
    return {str(r["split"]) for r in config.store.listed.values()}


def best_trivial(config: EvaluationConfig, rows: Sequence[ModelEntry]) -> str | None:
    """Return the trivial row with the least mean squared error on validation; None without one."""
    if "val" not in _splits(config) or not rows:
        return None
    tally = score(
        rows, cases(config, split="val"), [SELECTION], bands=config.bands,
        value_range=config.meta.value_range,
    )  # fmt: skip
    units = whole(tally.frame({}))
    units = units[(units["band"] == "all") & units["curve"].isin(("starts", "both"))]
    sums = units.groupby("model")[["value_sum", "weight"]].sum()
    means = (sums["value_sum"] / sums["weight"]).dropna()
    return None if means.empty else str(means.idxmin())
