"""Published tables beside a run, and which of their columns can be compared with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rsbench.catalog.published import PublishedColumn, PublishedTable
from rsbench.evaluation import strata
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import minus
from rsbench.evaluation.table import number
from rsbench.metrics.suites import PUBLISHED

Standing = Literal["compare", "read", "no"]
WORDS: dict[Standing, str] = {
    "compare": "comparable",
    "read": "same definition but other images, not comparable",
    "no": "not comparable",
}


@dataclass(frozen=True)
class Verdict:
    """Whether one column can be compared with the run, and the reason if not."""

    column: PublishedColumn
    standing: Standing
    reason: str

    @property
    def words(self) -> str:
        """Standing and reason in one line."""
        return f"{WORDS[self.standing]}: {self.reason}" if self.reason else WORDS[self.standing]


def verdicts(table: PublishedTable, board: Board) -> tuple[Verdict, ...]:
    """Return a verdict per column: first by its definition, then by its images."""
    ids = set(board.scores.table()["metric"])
    return tuple(_verdict(table, column, board, ids) for column in table.columns)


def _verdict(
    table: PublishedTable, column: PublishedColumn, board: Board, ids: set[str]
) -> Verdict:
    run = board.run
    if run.task != table.task:
        return Verdict(column, "no", f"its task is {table.task}")
    if column.metric is None:
        like = f"; the nearest here is {column.nearest}" if column.nearest else ""
        return Verdict(column, "no", f"its definition is not public{like}")
    if column.metric not in ids:
        return Verdict(
            column, "no", f"this run does not have {column.metric}; {_how(column.metric)}"
        )
    if table.lead is None:
        return Verdict(column, "no", "its values are means over several leads")
    if table.lead > run.horizon:
        return Verdict(column, "no", f"its values are of lead {table.lead}")
    if run.simulated:
        return Verdict(column, "read", "the images of this run are simulated")
    if table.recipe is None or table.recipe != run.dataset:
        return Verdict(column, "read", f"its images are those of {table.dataset}")
    if not table.one_test_set:
        return Verdict(column, "read", "its own rows use different images")
    return Verdict(column, "compare", "")


def _how(metric: str) -> str:
    for name, ids in PUBLISHED.items():
        if metric in ids:
            return f"score it with --metrics {name}"
    return f"score it with --metrics {metric}"


def beside(board: Board, tables: Sequence[PublishedTable]) -> list[dict[str, Any]]:
    """Return verdicts, published rows and rows of this run for each published table."""
    return [_beside(board, table) for table in tables]


def _beside(board: Board, table: PublishedTable) -> dict[str, Any]:
    judged = verdicts(table, board)
    lines = []
    for row in table.rows:
        cells = []
        for column, value in zip(table.columns, row.values, strict=True):
            metric = table.metric(row, column)
            cells.append({
                "value": "–" if value is None else minus(_printed(value)),
                "other": value is not None and metric != column.metric,
                "tip": _tip(metric, row.scored_by),
            })  # fmt: skip
        lines.append({"name": row.name, "ours": False, "preset": "", "cells": cells})
    return {
        "table": table,
        "verdicts": [{"name": v.column.name, "metric": v.column.metric or "–",
                      "standing": v.standing, "words": v.words, "note": v.column.note}
                     for v in judged],
        "rows": lines + _ours(board, table, judged),
        "unknown": any(row.scored_by is None for row in table.rows),
    }  # fmt: skip


def _printed(value: float) -> str:
    """Return a value with as many digits as papers usually print."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def _tip(metric: str | None, scored_by: str | None) -> str:
    if scored_by is None:
        return "no public script scored this row"
    return f"{metric or 'not defined'}, scored by {scored_by}"


def _ours(board: Board, table: PublishedTable, judged: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return the rows of this run; a number only in columns with the same definition."""
    rows = strata.headline(board.scores.table())
    rows = rows[rows["lead"] == (table.lead or 1)]
    found = []
    for (model, preset), own in rows.groupby(["model", "preset"], sort=True):
        values = dict(zip(own["metric"], own["value"], strict=True))
        cells = []
        for verdict in judged:
            value = values.get(verdict.column.metric, math.nan)
            shown = verdict.standing != "no" and value is not None and math.isfinite(value)
            text = minus(number(float(value))) if shown else "–"
            cells.append({"value": text, "other": False, "tip": verdict.words})
        if any(cell["value"] != "–" for cell in cells):
            found.append({"name": str(model), "preset": str(preset), "ours": True, "cells": cells})
    return found
