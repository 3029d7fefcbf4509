"""Multiple comparisons: cells marked by chance, and p values after Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.table import Cell, number
from rsbench.evaluation.unit_table import RANKED_ROLES

ALPHA = 1.0 - inference.LEVEL


@dataclass(frozen=True)
class Endpoint:
    """One comparison of the primary endpoint, with its corrected p value."""

    model: str
    preset: str
    lead: int
    better: bool
    p: float
    adjusted: float

    @property
    def kept(self) -> bool:
        """Whether the difference is significant after the correction."""
        return self.adjusted < ALPHA

    def described(self, lead: str) -> str:
        """Return the comparison in words, given the name of the lead time."""
        way = "above 0" if self.better else "below 0"
        state = way if self.kept else f"{way}, not significant"
        row = f"{self.model} {self.preset}, {lead}"
        return f"{row}: {state} (p = {number(self.adjusted, 2)})"


def endpoints(board: Board) -> tuple[Endpoint, ...]:
    """Compare every model's skill with 0 at the primary lead times, after Holm's correction.

    A primary endpoint that is no skill has no value to compare with: there are none.
    """
    means, endpoint = board.scores.region_means(), board.run.endpoint
    if not endpoint.is_skill:
        return ()
    rows = strata.headline(means, endpoint.metric)
    rows = rows[
        (rows["role"] == "model") & rows["lead"].isin(endpoint.leads) & rows["value"].notna()
    ]
    raw = []
    groups: list[Any] = list(rows.groupby(["model", "preset", "lead"], sort=True))
    for (model, preset, lead), own in groups:
        values = [float(v) for v in own["value"]]
        p = inference.two_sided(values)
        if p is not None:
            raw.append((str(model), str(preset), int(lead), sum(values) > 0, p))
    adjusted = inference.holm([item[-1] for item in raw])
    return tuple(Endpoint(*item, a) for item, a in zip(raw, adjusted, strict=True))


def note(board: Board, best: frozenset[Cell]) -> dict[str, Any]:
    """Return the numbers of compared and marked cells, and the corrected endpoints."""
    means = board.scores.region_means()
    rows = means[means["role"].isin(RANKED_ROLES) & means["value"].notna()]
    ranked = [name for name in rows["metric"].unique() if inference.is_ranked(str(name))]
    rows = rows[rows["metric"].isin(ranked)]
    keys = ["metric", "band", "lead", "stratum"]
    rivals = rows.drop_duplicates([*keys, "model", "preset"]).groupby(keys).size()
    cells = int((rivals >= 2).sum()) if len(rivals) else 0
    return {
        "cells": cells,
        "marked": len(best),
        "chance": _chance(cells),
        "endpoints": [
            found.described(board.run.words.lead(found.lead))
            for found in _ordered(endpoints(board))
        ],
        "tests": len(endpoints(board)),
    }


def _ordered(found: Sequence[Endpoint]) -> list[Endpoint]:
    return sorted(found, key=lambda one: (one.model, one.preset, one.lead))


def _chance(cells: int) -> str:
    return number(ALPHA * cells, 2) if cells else "0"
