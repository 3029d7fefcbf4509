"""Class maps: confusion of classes, values per class, and the colours of the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.core.class_colours import class_colours
from rsbench.evaluation import strata
from rsbench.evaluation.class_map_files import MAPS
from rsbench.evaluation.pooled_metrics import whole_table
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.leaderboard import cell_text
from rsbench.evaluation.run_info import CLASS_PIXELS
from rsbench.metrics.queries import CONFUSION
from rsbench.store.layout import SPLITS

SHOWN = 4
"""Entries whose confusion is drawn, in the order of the table."""
PER_CLASS = ("iou@1", "f1@1")


def classes(board: Board, models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return what the section of classes shows; None where nothing is counted by class."""
    counts = board.scores.counts
    counts = counts[counts["statistic"] == CONFUSION]
    if counts.empty:
        return None
    names = board.run.bands
    return {
        "names": [
            {"name": name, "colour": f"#{colour.tobytes().hex()}"}
            for name, colour in zip(names, class_colours(len(names)), strict=True)
        ],
        "confusions": [
            {"model": model["model"], "preset": model["preset"], "rows": _rows(counts, model)}
            for model in models[:SHOWN]
        ],
        "per_class": _values(board, models, names),
        "shares": _shares(board.run.extra.get(CLASS_PIXELS) or {}, names),
        "labelled": board.run.labelled, "maps": _has_maps(board.folders),
    }  # fmt: skip


def _shares(pixels: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return per split the number of labelled pixels, and the share of every class in them."""
    found = []
    for split in (name for name in SPLITS if name in pixels):
        counts = pixels[split]
        total = sum(counts.values())
        cells = [f"{100 * counts.get(name, 0) / max(total, 1):.1f}" for name in names]
        found.append({"split": split, "pixels": f"{total:,}", "cells": cells})
    return found


def _has_maps(folders: Sequence[Path]) -> bool:
    """Return whether predicted maps lie in all run folders."""
    return all((folder / MAPS).is_dir() for folder in folders)


def _rows(counts: Any, model: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the confusion of an entry: rows of the truth, as shares of their pixels."""
    own = counts[(counts["model"] == model["model"]) & (counts["preset"] == model["preset"])]
    table = whole_table(own)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return [
        [
            {"text": f"{100 * part:.0f}", "depth": round(float(part), 3),
             "title": f"{int(n):,} pixels"}
            for part, n in zip(shares, numbers, strict=True)
        ]
        for shares, numbers in zip(share, table, strict=True)
    ]  # fmt: skip


def _values(
    board: Board, models: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return IoU and F1 of every class, by metric and entry."""
    table = board.scores.table()
    table = table[(table["stratum"] == strata.HEADLINE) & table["metric"].isin(PER_CLASS)]
    found = []
    for metric in PER_CLASS:
        rows = []
        for model in models:
            own = table[
                (table["metric"] == metric) & (table["model"] == model["model"])
                & (table["preset"] == model["preset"])
            ]  # fmt: skip
            by_class = {str(row["band"]): row for row in own.to_dict("records")}
            if by_class:
                cells = [cell_text(by_class.get(name)) for name in names]
                rows.append({"model": model["model"], "preset": model["preset"], "cells": cells})
        if rows:
            found.append({"metric": metric, "rows": rows})
    return found
