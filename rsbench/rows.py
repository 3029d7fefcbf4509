"""The rows that always stand in a table: trivial forecasts, the oracle, the floor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsbench.digest import sha256_json
from rsbench.evaluation import Row, floor_row, model_row, score, whole_row
from rsbench.model import Fitted, Frames, Model
from rsbench.registry import card, create_model
from rsbench.scores import Absent
from rsbench.setting import Note, Setting, cases, quiet
from rsbench.strata import whole

if TYPE_CHECKING:
    from rsbench.model import Given, Want

TRIVIAL: Mapping[str, tuple[str, ...]] = {
    "forecast": ("persistence", "climatology", "linear_trend", "damped_persistence"),
    "fusion": ("copy_f0", "copy_f2", "mean_refs", "add_change", "copy_c1"),
}
"""The rows that always stand in a table, by task."""


@dataclass(frozen=True)
class Rows:
    """The rows of a table, and why others are absent."""

    rows: tuple[Row, ...]
    absent: tuple[Absent, ...]
    citations: Mapping[str, str]
    weights: Mapping[str, str | None]
    inputs: Mapping[str, str] = field(default_factory=dict)


def trivial_rows(setting: Setting, *, note: Note = quiet) -> Rows:
    """Return the trivial rows that the context allows; the others are absent with the reason."""
    rows, absent, citations = [], [], {}
    weights: dict[str, str | None] = {}
    for name in TRIVIAL[setting.protocol.task]:
        entry = card(name)
        citations[name] = entry.citation
        if setting.context < entry.min_context:
            kind = "context frames" if setting.fusion is None else "reference dates"
            why = f"needs {entry.min_context} {kind}, the table has {setting.context}"
            absent.append(Absent(name, why))
            continue
        model = create_model(name, bands=len(setting.bands), context=setting.context)
        if entry.fitted:
            if "train" not in _splits(setting):
                absent.append(Absent(name, "the store has no training split to fit on"))
                continue
            note(f"fitting {name} on the training split")
            weights[name] = fit(model, setting)
        rows.append(
            model_row(name, entry.default_preset, "trivial", model, entry, device=setting.device)
        )
    shown = dict.fromkeys(TRIVIAL["fusion"], setting.shown) if setting.fusion else {}
    return Rows(tuple(rows), tuple(absent), citations, weights, shown)


def fit(model: Model, setting: Setting) -> str:
    """Fit a closed-form model on the training split; return the digest of its parameters."""
    if not isinstance(model, Fitted):
        raise TypeError(f"{type(model).__name__} has no fit")
    return sha256_json(dict(model.fit(training_pairs(setting))))


def training_pairs(setting: Setting) -> Iterator[tuple[Given, Want, Frames]]:
    """Yield (given, want, truth) of the training split, for closed-form fits."""
    low_high = setting.meta.value_range
    for case in cases(setting, split="train"):
        truth = Frames(
            values=case.truth[:, None],
            valid=case.valid[:, None],
            times=case.want.times,
            bands=setting.bands,
            unit=setting.meta.unit,
            predicted=(False,) * case.truth.shape[1],
            value_range=low_high,
        )
        yield case.given, case.want, truth


def control_rows(setting: Setting) -> tuple[Row, ...]:
    """Return the oracle of a simulation and the floor, where the store has them."""
    rows: list[Row] = []
    if setting.fusion is not None:
        return ()  # no conditional mean and no halves are known of a single date
    if setting.store.meta.simulation is not None and setting.protocol.direction == "future":
        rows.append(_oracle(setting))
    held = setting.store.arrays(setting.store.split(setting.split)[0], setting.sensor)
    if {"odd", "even"} <= set(held):
        rows.append(_floor(setting))
    return tuple(rows)


def _oracle(setting: Setting) -> Row:
    from rsbench.build.simulate import conditional_mean
    from rsbench.catalog import SimulatedSpec

    spec = SimulatedSpec.model_validate(dict(setting.store.meta.simulation or {}))

    @lru_cache(maxsize=256)
    def whole(region: str, start: date, target: date) -> torch.Tensor:
        values = conditional_mean(
            spec, region, setting.sensor,
            context_end=start.year, targets=(target.year,), bands=setting.bands,
        )  # fmt: skip
        return torch.from_numpy(values[0])

    return whole_row("oracle", "oracle", whole)


def _floor(setting: Setting) -> Row:
    store, meta = setting.store, setting.meta
    index = list(meta.band_index(setting.bands))

    @lru_cache(maxsize=8)
    def array(region: str, name: str) -> np.ndarray[Any, Any]:
        return store.read(region, setting.sensor, array=name)

    def place(region: str, target: date) -> int:
        return store.region(region).times[setting.sensor].index(target)

    def half(name: str) -> Callable[[str, date, date], torch.Tensor]:
        def whole(region: str, start: date, target: date) -> torch.Tensor:
            raw = array(region, name)[place(region, target)][index]
            return torch.from_numpy(store.to_physical(setting.sensor, raw))

        return whole

    def both(region: str, start: date, target: date) -> torch.Tensor:
        at = place(region, target)
        there = [(array(region, name)[at] != meta.nodata).all(axis=0) for name in ("odd", "even")]
        return torch.from_numpy(there[0] & there[1])[None]

    return floor_row(half("odd"), half("even"), both)


def _splits(setting: Setting) -> set[str]:
    from rsbench.samples_fusion import splits_of

    if setting.fusion is not None:
        return set(splits_of(setting.store, setting.protocol, setting.context))
    return {str(r["split"]) for r in setting.store.listed.values()}


def best_trivial(setting: Setting, rows: Sequence[Row]) -> str | None:
    """Return the trivial row with the least mean squared error on validation; None without one."""
    if "val" not in _splits(setting) or not rows:
        return None
    tally = score(
        rows, cases(setting, split="val"), ["mse@1"], bands=setting.bands,
        value_range=setting.meta.value_range,
    )  # fmt: skip
    units = whole(tally.frame({}))
    units = units[(units["band"] == "all") & units["curve"].isin(("starts", "both"))]
    sums = units.groupby("model")[["value_sum", "weight"]].sum()
    means = (sums["value_sum"] / sums["weight"]).dropna()
    return None if means.empty else str(means.idxmin())
