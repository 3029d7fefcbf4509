"""One side of a check: rows by identity, with their provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsbench.core.errors import InputError
from rsbench.evaluation.gate.waivers import ROW, Key, Waiver, key_of
from rsbench.evaluation.intervals import is_set
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import read_table

HEAD = ("schema", "dataset_digest", "split", "protocol")
PROVENANCE = ("seed", "precision", "device", "versions")


@dataclass(frozen=True)
class Tolerance:
    """Allowed loss of a value: the larger of ``abs`` and ``rel`` × |value|."""

    rel: float = 0.0
    abs: float = 0.0

    def allows(self, value: float) -> float:
        """Return the allowed loss for a value."""
        return max(self.abs, self.rel * abs(value))


TIGHT = Tolerance(rel=1e-5, abs=1e-7)
"""Same weights, seed, precision, device and versions: only the order of float32 sums may differ."""

PRACTICAL = Tolerance(rel=0.02)
SKILL = Tolerance(abs=0.02)
"""Skill is near 0, where a relative threshold is meaningless."""
SHARE = Tolerance(abs=0.25)
"""A share changes in steps of one region; with enough regions the interval decides."""


def by_kind(metric: str) -> Tolerance:
    """Return the default practical threshold of a metric."""
    if metric.startswith("share."):
        return SHARE
    return SKILL if metric.startswith("skill.") else PRACTICAL


@dataclass(frozen=True)
class Row:
    """One value of a result with its provenance; ``n`` only for set metrics."""

    value: float | None
    weights: str | None = None
    regions: Mapping[str, float] = field(default_factory=dict)
    tolerance: Tolerance | None = None
    n: int | None = None


@dataclass(frozen=True)
class Side:
    """One side of a check: identity, provenance and rows by key."""

    name: str
    head: Mapping[str, Any]
    rows: Mapping[Key, Row]
    provenance: Mapping[str, Any] | None = None
    practical: Tolerance | None = None
    tight: Tolerance = TIGHT
    scores: Scores | None = None
    waivers: tuple[Waiver, ...] = ()

    @cached_property
    def keys(self) -> NDArray[np.object_]:
        """The keys of all rows as an array, ``(n, 7)``."""
        return np.array(list(self.rows), dtype=object)


def read_side(path: Path) -> Side:
    """Read a run folder or a table."""
    if path.is_dir():
        return of_scores(Scores.load(path), str(path))
    return of_table(read_table(path), str(path))


def of_table(table: pd.DataFrame, name: str) -> Side:
    """Return a tidy table as one side of a check, without values per region and device."""
    head = {}
    for column in HEAD:
        values = table[column].unique()
        if len(values) != 1:
            found = "no rows" if not len(values) else f"{len(values)} values of {column}"
            raise InputError(f"checking {name}", found, "Give one table of one run")
        head[column] = int(values[0]) if column == "schema" else str(values[0])
    return Side(name, head, _rows(table, {}))


def of_scores(scores: Scores, name: str) -> Side:
    """Return the scores of a run as one side of a check."""
    run, means = scores.run, scores.region_means()
    regions: dict[tuple[Any, ...], dict[str, float]] = {}
    columns = ["model", "preset", "metric", "band", "lead", "stratum", "region", "value"]
    for *key, region, value in means.loc[means["value"].notna(), columns].itertuples(
        index=False, name=None
    ):
        regions.setdefault(tuple(key), {})[str(region)] = float(value)
    head = {column: getattr(run, column) for column in HEAD}
    return Side(
        name, head, _rows(scores.table(), regions), provenance=provenance(run), scores=scores
    )


def provenance(run: RunInfo) -> dict[str, Any]:
    """Return the provenance that must be equal, besides the weights, for the tight tolerance."""
    return {**{n: getattr(run, n) for n in PROVENANCE[:-1]}, "versions": dict(run.versions)}


def _rows(
    table: pd.DataFrame, regions: Mapping[tuple[Any, ...], Mapping[str, float]]
) -> dict[Key, Row]:
    rows: dict[Key, Row] = {}
    for values in table[[*ROW, "value", "weights", "n_samples"]].itertuples(index=False, name=None):
        key, (value, weights, n) = key_of(dict(zip(ROW, values, strict=False))), values[len(ROW) :]
        there = value is not None and math.isfinite(float(value))
        rows[key] = Row(
            float(value) if there else None,
            weights=str(weights) if isinstance(weights, str) else None,
            regions=regions.get((*key[:2], *key[3:]), {}),
            n=int(n) if there and is_set(key[3]) else None,
        )
    return rows
