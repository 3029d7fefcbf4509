"""The leaderboard: its rows, its first view, and its data for the script of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.clipped import clipped_note
from rsbench.evaluation.costs import ROLES
from rsbench.evaluation.intervals import WAYS, is_published, unit_of
from rsbench.evaluation.report.board import Board, of_row
from rsbench.evaluation.report.charts import minus
from rsbench.evaluation.run_info import RunInfo
from rsbench.evaluation.table import Cell, number
from rsbench.evaluation.unit_table import RANKED_ROLES
from rsbench.metrics.queries import derived, direction, in_report_order

ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0"}
ROLE_RANK = {"model": 0, "control": 1, "trivial": 2, "oracle": 3, "floor": 4}


def rows_of(board: Board) -> list[dict[str, Any]]:
    """Return the rows in order of the primary endpoint; those without a value come last."""
    run = board.run
    parts = [p for p in (board.scores.units, board.scores.sets) if len(p)]
    columns = ["model", "preset", "role"]
    rows = pd.concat([part[columns] for part in parts]).drop_duplicates()
    found = [
        {
            "model": str(model),
            "preset": str(preset),
            "role": str(role),
            "inputs": run.inputs.get(model, f"{run.sensor} k={run.context}"),
            "weights": of_row(run.weights, str(model), str(preset)),
            "reference": model == run.best_trivial,
            "key": f"{model}/{preset}",
        }
        for model, preset, role in rows.itertuples(index=False, name=None)
    ]
    there = {row["model"] for row in found}
    gone = {a.model for a in board.scores.absences()} - there - {"*"}
    found += [
        {"model": name, "preset": "", "role": "trivial", "inputs": "", "weights": None,
         "reference": False, "key": f"{name}/"}
        for name in sorted(gone)
    ]  # fmt: skip
    shown = replace(run.endpoint, metric=first_metric(board, []))
    losses = shown.losses(board.scores.table())

    def rank(row: Mapping[str, Any]) -> tuple[float, int, str]:
        own = losses.get((row["model"], row["preset"]), math.inf)
        return own, ROLE_RANK.get(row["role"], 9), row["key"]

    return sorted(found, key=rank)


def unit_in(metric: str, run: RunInfo) -> str:
    """Return a metric's unit, with the unit of the data in place of ``data``."""
    return unit_of(metric).replace("data", run.unit or "data units")


def described(name: str, board: Board) -> dict[str, str]:
    """Return id, unit, direction and clipping of a metric as the page shows them."""
    way = direction(name)
    note = clipped_note(name, board.counts, board.scores.sets)
    return {
        "id": name,
        "unit": unit_in(name, board.run),
        "way": WAYS[way]
        + ("; a published convention" if is_published(name) else "")
        + (f"; {note}" if note else ""),
        "arrow": ARROWS[way],
        "dir": way,
    }


def tiles(board: Board, models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the primary endpoint of every model, one cell per lead time."""
    endpoint = board.run.endpoint
    rows = strata.headline(board.scores.table(), endpoint.metric)
    shown = []
    for row in [m for m in models if m["role"] == "model"][:6]:
        cells = []
        own = rows[(rows["model"] == row["model"]) & (rows["preset"] == row["preset"])]
        for lead in endpoint.leads:
            found = own[own["lead"] == lead]
            if len(found) and found["value"].notna().all():
                name = f", {board.run.words.lead(lead)}" if board.run.words.curves else ""
                cells.append({"lead": name, **cell_text(found.iloc[0].to_dict())})
        if cells:
            shown.append({"model": row["model"], "preset": row["preset"], "cells": cells})
    return shown


def cell_text(row: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return value and interval of a row of the table as text; a dash without a row."""
    if row is None:
        return {"value": "–", "span": ""}
    known = row["interval"] != inference.NONE
    span = span_text(row["lo"], row["hi"]) if known else ""
    return {"value": minus(number(row["value"])), "span": span}


def span_text(lo: float, hi: float) -> str:
    """Return both ends with as many decimals as the larger needs for three digits."""
    largest = max(abs(lo), abs(hi))
    places = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    if places > 7:
        return f"{minus(number(lo, 3))} to {minus(number(hi, 3))}"
    return minus(f"{lo:.{max(places, 0)}f} to {hi:.{max(places, 0)}f}")


def compact(
    board: Board,
    models: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    best: frozenset[Cell],
) -> dict[str, Any]:
    """Return the tidy table in a compact form for the page's script.

    Strata other than the two matched sets have pooled bands only, to keep the page small.
    """
    table = board.scores.table()
    sets = [strata.HEADLINE, strata.SAME_TARGET]
    groups = [s for s in table["stratum"].unique() if s not in sets]
    table = table[table["stratum"].isin(sets) | (table["band"] == "all")]
    bands = ["all", *sorted(b for b in table["band"].unique() if b != "all")]
    order = [*[s for s in sets if s in set(table["stratum"])], *sorted(groups)]
    keys = {(m["model"], m["preset"]): i for i, m in enumerate(models)}
    names = {name: i for i, name in enumerate(metrics)}
    band_at, set_at = ({v: i for i, v in enumerate(part)} for part in (bands, order))
    columns = ["model", "preset", "metric", "band", "stratum", "lead", "value", "lo", "hi"]
    columns += ["n_regions", "n_samples", "n_missing"]
    rows = []
    for values in table[columns].itertuples(index=False, name=None):
        model, preset, metric, band, stratum, lead, value, lo, hi, *counts = values
        marked = (model, preset, metric, band, lead, stratum) in best
        rows.append([
            keys[(model, preset)], names[metric], band_at[band], set_at[stratum], int(lead),
            _short(value), _short(lo), _short(hi), *map(int, counts), int(marked),
        ])  # fmt: skip
    shown = [{k: m[k] for k in ("model", "preset", "role", "reference", "key")} for m in models]
    words, leads = board.run.words, sorted(int(lead) for lead in table["lead"].unique())
    named = {"leads": [words.lead(lead) for lead in leads], "by": words.by, "sets": words.sets}
    return {
        "words": named, "models": shown, "bands": bands, "strata": order, "leads": leads,
        "metrics": [described(name, board) for name in metrics], "rows": rows,
        "ranked": [inference.is_ranked(name) for name in metrics],
        "costs": [_cost(board, m) for m in models],
    }  # fmt: skip


COST_FIELDS = ("parameters", "training_seconds", "prediction_seconds", "peak_bytes", "device")


def _cost(board: Board, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost of an entry, with the reason for each value that is not known."""
    cost = board.costs.get((row["model"], row["preset"]))
    if cost is None:
        reason = "the run did not record it" if row["role"] in ROLES else "no model predicts it"
        return {"why": dict.fromkeys(COST_FIELDS, reason)}
    values = {name: getattr(cost, name) for name in COST_FIELDS}
    return {**{n: v for n, v in values.items() if v is not None}, "why": dict(cost.why)}


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def first_view(
    board: Board,
    models: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    best: frozenset[Cell],
) -> dict[str, Any]:
    """Return the leaderboard before any script runs: one metric, all leads."""
    metric = first_metric(board, metrics)
    rows = strata.headline(board.scores.table(), metric)
    leads = sorted(int(lead) for lead in rows["lead"].unique())
    shown = []
    for model in models:
        own = rows[(rows["model"] == model["model"]) & (rows["preset"] == model["preset"])]
        by_lead = {int(row["lead"]): row for row in own.to_dict("records")}
        cells = [
            {
                **cell_text(by_lead.get(n)),
                "number": _short(by_lead.get(n, {}).get("value")),
                "best": (model["model"], model["preset"], metric, "all", n, strata.HEADLINE)
                in best,
            }
            for n in leads
        ]
        shown.append({**model, "cells": cells})
    for i in range(len(leads)):
        values = [row["cells"][i]["number"] for row in shown]
        for row, place in zip(shown, places(shown, values, metric), strict=True):
            row["cells"][i]["place"] = place
    heads = [board.run.words.lead(lead) for lead in leads]
    return {"metric": metric, "leads": heads, "rows": shown}


def places(
    models: Sequence[Mapping[str, Any]], values: Sequence[float | None], metric: str
) -> list[str]:
    """Return ``first``, ``second`` or nothing per entry: its place by a metric.

    Oracle, floor and controls have no place, and nothing has one by a metric that does not rank.
    """
    if not inference.is_ranked(metric):
        return [""] * len(models)
    losses = [
        inference.loss(metric, value) if value is not None and row["role"] in RANKED_ROLES else None
        for row, value in zip(models, values, strict=True)
    ]
    order = sorted({loss for loss in losses if loss is not None})[:2]
    if sum(loss is not None for loss in losses) < 2:
        return [""] * len(models)
    names = dict(zip(order, ("first", "second"), strict=False))
    return [names.get(loss, "") if loss is not None else "" for loss in losses]


def first_metric(board: Board, metrics: Sequence[str]) -> str:
    """Return the metric the page opens with: of the primary endpoint, or the first there is."""
    table, primary = board.scores.table(), board.run.endpoint.metric
    there = set(table.loc[table["value"].notna(), "metric"])
    plain = [name for name in in_report_order(there) if not derived(name)]
    return next(iter([primary, *plain] if primary in there else [*plain, *metrics, primary]))
