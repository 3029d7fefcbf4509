"""Runs of one model with several seeds: variance between seeds and between regions."""

from __future__ import annotations

from typing import Any

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.intervals import Crossed
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import minus
from rsbench.evaluation.table import number


def several(board: Board) -> dict[tuple[str, str], dict[int, str]]:
    """Return (model, preset) → seed → name on the board, for models with at least two seeds.

    Runs of one model and preset whose inputs differ are told apart by their inputs.
    """
    presets: dict[str, set[str]] = {}
    units = board.scores.units
    rows = units.loc[units["role"] == "model", ["model", "preset"]].drop_duplicates()
    for model, preset in rows.itertuples(index=False, name=None):
        presets.setdefault(str(model), set()).add(str(preset))
    found: dict[tuple[str, str], dict[str, dict[int, str]]] = {}
    for run, called in zip(board.runs, board.names, strict=True):
        for model, digest in run.weights.items():
            row = called.get(model)
            if digest is None or row is None:
                continue
            for preset in presets.get(row, set()):
                alike = found.setdefault((model, preset), {})
                alike.setdefault(run.inputs.get(model, ""), {})[run.seed] = row
    return {
        (model if len(groups) == 1 else f"{model} ({inputs})", preset): seeds
        for (model, preset), groups in found.items()
        for inputs, seeds in groups.items()
        if len(seeds) > 1
    }


def crossed(board: Board, rows: dict[int, str], preset: str, lead: int) -> Crossed | None:
    """Return the primary endpoint at one lead, crossed over seeds and regions."""
    own = strata.headline(board.scores.region_means(), board.run.endpoint.metric)
    own = own[(own["lead"] == lead) & (own["preset"] == preset) & own["value"].notna()]
    values: dict[int, dict[str, float]] = {}
    for seed, row in rows.items():
        part = own[own["model"] == row]
        pairs = zip(part["region"], part["value"], strict=True)
        values[seed] = {str(region): float(value) for region, value in pairs}
    return inference.crossed(
        {seed: part for seed, part in values.items() if part},
        bounds=inference.bounds_of(board.run.endpoint.metric),
    )


def note(board: Board) -> list[dict[str, Any]]:
    """Return the table of models with several seeds."""
    said = []
    for (model, preset), rows in sorted(several(board).items()):
        for lead in board.run.endpoint.leads:
            found = crossed(board, rows, preset, lead)
            if found is not None:
                said.append(
                    {
                        "model": model,
                        "preset": preset,
                        "lead": board.run.words.lead(lead),
                        **_words(found),
                    }
                )
    return said


def _words(found: Crossed) -> dict[str, str]:
    span = f"needs {inference.MIN_SEEDS} seeds and {inference.MIN_REGIONS} regions"
    if found.interval is not None:
        ends = (number(found.interval.lo, 3), number(found.interval.hi, 3))
        span = minus(f"{ends[0]} to {ends[1]}")
    return {
        "value": minus(number(found.mean)),
        "span": span,
        "seeds": str(found.n_seeds),
        "regions": str(found.n_regions),
        "between_seeds": number(found.between_seeds, 2),
        "between_regions": number(found.between_regions, 2),
    }
