"""Which entries are better than which, over all metrics and lead times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.versus import cells_of, compare_values, region_values, values_of
from rsbench.evaluation.unit_table import RANKED_ROLES

MOST = 8
"""Entries that are compared in pairs, in the order of the table."""


def matrix(board: Board, models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return a row per entry: in how many metrics and leads it is better than each other entry.

    A cell counts where p is below 0.05 after Holm's correction within the pair. None where fewer
    than two entries are ranked, or too few regions allow no test.
    """
    shown = [m for m in models if m["role"] in RANKED_ROLES]
    cells, means = cells_of(board), region_values(board)
    values = {m["key"]: values_of(means, {0: (m["model"], m["preset"])}) for m in shown}
    shown = [m for m in shown if values[m["key"]]][:MOST]
    wins: dict[tuple[str, str], tuple[int, int]] = {}
    for i, first in enumerate(shown):
        for second in shown[i + 1 :]:
            a, b = first["key"], second["key"]
            rows = compare_values(values[a], values[b], cells)
            tested = sum(row.p is not None for row in rows)
            better = [row.better for row in rows]
            wins[a, b] = better.count("a"), tested
            wins[b, a] = better.count("b"), tested
    if not any(tested for _, tested in wins.values()):
        return None
    return {
        "names": [(m["model"], m["preset"]) for m in shown],
        "rows": [[_cell(wins.get((a["key"], b["key"]))) for b in shown] for a in shown],
    }


def _cell(found: tuple[int, int] | None) -> dict[str, Any]:
    """Return what a cell shows; nothing on the diagonal."""
    if found is None:
        return {"text": "", "depth": 0, "title": ""}
    won, tested = found
    return {
        "text": f"{won} of {tested}", "depth": round(won / max(tested, 1), 3),
        "title": f"better in {won} of {tested} metrics and leads",
    }  # fmt: skip
