"""Strata: one metric at one lead, by group of regions, dates or pixels, for all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from rsbench.evaluation import strata
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.leaderboard import cell_text, first_metric

TITLES = {
    "biome": "Biome",
    "stratum": "Type of land",
    "land cover": "Land cover of the region",
    "year": "Target year",
    "season": "Season of the target date",
    "valid fraction": "Valid fraction of the inputs",
    "condition": "Stress condition",
    "zone": "Zone of the image",
    "pixel land cover": "Pixels by land cover",
    "pixel observations": "Pixels by observations",
}
"""Titles of strata in the order of the page; other strata follow by name."""

ORDERS = {
    "season": strata.SEASONS,
    "valid fraction": (*(name for _, name in strata.VALID_CLASSES), strata.VALID_MOST),
    "pixel observations": strata.OBSERVATION_NAMES,
}


def groups(board: Board, models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the strata of the page's first metric at the first lead; None where there are none.

    The reference of skill is left out of a table of skill, where it is 0 throughout.
    """
    table, metric = board.scores.table(), first_metric(board, [])
    skill = metric.startswith("skill.")
    rows = table[
        (table["metric"] == metric) & (table["band"] == "all") & (table["lead"] == 1)
        & table["stratum"].str.contains("=", regex=False) & table["value"].notna()
    ]  # fmt: skip
    shown = [m for m in models if not (skill and m["reference"])]
    there = set(zip(rows["model"], rows["preset"], strict=True))
    shown = [m for m in shown if (m["model"], m["preset"]) in there]
    if rows.empty or not shown:
        return None
    names = rows["stratum"].str.partition("=")[0]
    order = [*TITLES, *sorted(set(names) - set(TITLES))]
    notes = board.run.extra.get("strata") or {}
    sources = notes.get("sources", {})
    return {
        "metric": metric,
        "lead": board.run.words.lead(1),
        "columns": [{"model": m["model"], "preset": m["preset"], "role": m["role"]} for m in shown],
        "groups": [
            {
                "title": TITLES.get(name, name),
                "source": sources.get(name, ""),
                "rows": _rows(rows[names == name], name, shown),
            }
            for name in order
            if (names == name).any()
        ],
        "absent": [
            (TITLES.get(name, name), reason) for name, reason in notes.get("absent", {}).items()
        ],
    }


def _rows(
    rows: pd.DataFrame, name: str, models: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return one line per class, in the order of ``ORDERS`` where the stratum has one."""
    classes = rows["stratum"].str.partition("=")[2]
    known = ORDERS.get(name, ())
    order = sorted(set(classes), key=lambda c: (known.index(c) if c in known else len(known), c))
    found = []
    for label in order:
        own = rows[classes == label]
        cells = {(row["model"], row["preset"]): row for row in own.to_dict("records")}
        found.append({
            "label": label,
            "regions": int(own["n_regions"].max()),
            "cells": [cell_text(cells.get((m["model"], m["preset"]))) for m in models],
        })  # fmt: skip
    return found
