"""What metrics clipped in a run, and the images that have no value for it, in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from rsbench.evaluation.run_info import Absent
from rsbench.metrics.metric import OUTSIDE

Counts = Iterable[Mapping[str, Any]]
"""Rows with ``model``, ``metric``, ``what`` and ``count``, as in ``run.json``."""


def clipped_note(metric: str, counts: Counts, sets: pd.DataFrame) -> str:
    """Return which share of the values a metric clipped, by entry; empty where it clipped none.

    Args:
        metric: id.
        counts: of all runs, for metrics of images.
        sets: rows of set metrics, whose notes hold the shares; the largest over leads counts.
    """
    found: dict[str, dict[str, float]] = {}
    for row in counts:
        if row["metric"] == metric:
            found.setdefault(str(row["model"]), {})[row["what"]] = float(row["count"])
    for model, notes in sets.loc[sets["metric"] == metric, ["model", "notes"]].itertuples(
        index=False
    ):
        of = found.setdefault(str(model), {"elements": 1.0})
        of |= {
            what: max(share, of.get(what, 0.0)) for what, share in json.loads(notes or "{}").items()
        }
    truths = [share for of in found.values() if (share := _share(of, "clipped_truth"))]
    own = {name: share for name, of in found.items() if (share := _share(of, "clipped_prediction"))}
    parts = [f"truth {_percent(max(truths))}"] if truths else []
    parts += [f"{name} {_percent(share)}" for name, share in sorted(own.items())]
    return f"values clipped: {', '.join(parts)}" if parts else ""


def outside(counts: Counts) -> tuple[Absent, ...]:
    """Return how many images have no value because they lie mostly outside the metric's range."""
    return tuple(
        Absent(
            str(row["model"]),
            f"{row['count']} images have no value: prediction or truth lies mostly outside the "
            "range to which it clips",
            str(row["metric"]),
        )
        for row in counts
        if row["what"] == OUTSIDE and row["count"]
    )


def _share(counts: Mapping[str, float], what: str) -> float:
    return counts.get(what, 0) / counts["elements"] if counts.get("elements") else 0.0


def _percent(share: float) -> str:
    """Return a share in percent with two digits; below 0.01 % only that."""
    return f"{100 * share:.2g} %" if share >= 1e-4 else "below 0.01 %"
