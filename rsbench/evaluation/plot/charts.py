"""Charts of scores: values over lead times, entries in order, two metrics against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from rsbench.core.errors import InputError
from rsbench.evaluation import decay as curves_of
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.decay import GREY, mark_simulated, styles_of
from rsbench.evaluation.intervals import WAYS, loss, unit_of
from rsbench.evaluation.report.choice import (
    Entry,
    entries_of,
    leads_of,
    metrics_of,
    one_source,
    roles_of,
)
from rsbench.evaluation.report.leaderboard import first_metric
from rsbench.metrics.queries import direction, on_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from rsbench.evaluation.report.board import Board
    from rsbench.evaluation.report.choice import Source


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the axes given, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def decay(
    source: Source | Board, metric: str | None = None, *, entries: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw a metric over lead times, with intervals, on the starts that all leads share.

    Args:
        source: scores, or one or several run folders.
        metric: id with or without version; that of the primary endpoint where None.
        entries: ``MODEL`` or ``MODEL/PRESET``; all where empty.
        ax: matplotlib axes to draw on; those of a new figure where None.

    Returns:
        The axes.

    Raises:
        UnknownName: if the metric or an entry is not there.
    """
    board = one_source(source)
    name = _metric(board, metric)
    kept = _entries(board, entries)
    drawn = [c for c in curves_of.curves(board.scores, name) if (c.model, c.preset) in kept]
    drawn.sort(key=lambda c: kept.index((c.model, c.preset)))
    ax = axes_or_new(ax, (6.4, 4.0))
    curves_of.draw(ax, drawn, simulated=board.run.simulated, unit=board.run.unit)
    return ax


def ranking(
    source: Source | Board, metric: str | None = None, *, lead: int | None = None,
    entries: Sequence[str] = (), ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw the entries in order of a metric at one lead time, best on top, with intervals.

    Args:
        source: scores, or one or several run folders.
        metric: id with or without version; that of the primary endpoint where None.
        lead: from 1; the first lead of the primary endpoint where None.
        entries: ``MODEL`` or ``MODEL/PRESET``; all where empty.
        ax: matplotlib axes to draw on; those of a new figure where None.

    Returns:
        The axes.

    Raises:
        InputError: if the metric, lead or an entry is not there, or has no value.
    """
    board = one_source(source)
    name, table = _metric(board, metric), board.scores.table()
    chosen = leads_of(table, [lead if lead is not None else board.run.endpoint.leads[0]])[0]
    kept = _entries(board, entries)
    rows = strata.headline(table, name)
    rows = rows[(rows["lead"] == chosen) & rows["value"].notna()]
    own = [r for r in rows.to_dict("records") if (r["model"], r["preset"]) in kept]
    if not own:
        raise InputError(f"a ranking by {name} at lead {chosen}", "no entry has a value",
                         "Choose another metric, or other entries")  # fmt: skip
    own.sort(key=lambda row: loss(name, float(row["value"])), reverse=True)
    ax = axes_or_new(ax, (5.0, 0.7 + 0.32 * len(own)))
    look = _looks(board, kept)
    for place, row in enumerate(own):
        _dot(ax, place, row, look[row["model"], row["preset"]]["colour"])
    ax.set_yticks(range(len(own)), [_label(row, kept) for row in own])
    ax.set_xlabel(_axis(name, board))
    title = f"{WAYS[direction(name)]} · {board.run.words.lead(chosen)}"
    _finish(ax, board, title, grid="x")
    return ax


def perception_distortion(
    source: Source | Board, metrics: Sequence[str] = (), *, lead: int | None = None,
    entries: Sequence[str] = (), ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw perception against distortion (Blau and Michaeli 2018, arXiv 1711.06077).

    A point is one lead time of an entry; points of an entry are joined in the order of leads. A
    signed metric of perception is drawn as its distance from 0.

    Args:
        source: scores, or one or several run folders.
        metrics: two ids, distortion and perception; the first scored ones of each kind where empty.
        lead: one lead only.
        entries: ``MODEL`` or ``MODEL/PRESET``; all where empty.
        ax: matplotlib axes to draw on; those of a new figure where None.

    Returns:
        The axes.

    Raises:
        InputError: if no metric of perception or of distortion was scored.
    """
    board = one_source(source)
    table = strata.headline(board.scores.table())
    x, y = _axes_of_plane(table[table["value"].notna()], metrics)
    leads = leads_of(table, [] if lead is None else [lead])
    kept = _entries(board, entries)
    look, ax = _looks(board, kept), axes_or_new(ax, (4.6, 4.0))
    paths = {entry: _points(table, entry, (x, y), leads) for entry in kept}
    drawn = {entry: points for entry, points in paths.items() if points}
    for entry, points in drawn.items():
        _path(ax, points, look[entry], entry)
    if not drawn:
        raise InputError(f"{y} against {x}", "no entry has a value of both", "Choose other entries")
    ax.set_xlabel(f"distortion: {_axis(x, board)}")
    ax.set_ylabel(f"perception: |{y}|" if direction(y) == "zero" else f"perception: {y}")
    ax.legend(frameon=False, fontsize=8)
    _finish(ax, board, "", grid="both")
    return ax


def _axes_of_plane(table: pd.DataFrame, metrics: Sequence[str]) -> tuple[str, str]:
    """Return the metrics of distortion and perception."""
    if metrics:
        if len(metrics) != 2:
            raise InputError(
                f"the metrics {', '.join(metrics)}", "two are needed, distortion and perception",
                "Give two, such as rmse,ssim",
            )  # fmt: skip
        x, y = metrics_of(table, metrics)
        return x, y
    there, found = set(table["metric"]), []
    for axis in ("distortion", "perception"):
        known = on_axis(axis)
        name = next((name for name in known if name in there), None)
        if name is None:
            raise InputError(
                "a plane of perception and distortion", f"no metric of {axis} was scored",
                f"Name two metrics, or score one of {', '.join(known)}",
            )  # fmt: skip
        found.append(name)
    return found[0], found[1]


def _points(
    table: pd.DataFrame, entry: Entry, metrics: tuple[str, str], leads: Sequence[int]
) -> list[tuple[float, float, int]]:
    """Return (distortion, perception, lead) of each lead that has both."""
    own = table[(table["model"] == entry[0]) & (table["preset"] == entry[1])]
    columns = own[["metric", "lead", "value"]].itertuples(index=False, name=None)
    values = {(metric, lead): float(value) for metric, lead, value in columns}
    points = []
    for lead in leads:
        x, y = (values.get((metric, lead), math.nan) for metric in metrics)
        if math.isfinite(x) and math.isfinite(y):
            points.append((x, abs(y) if direction(metrics[1]) == "zero" else y, lead))
    return points


def _path(
    ax: Axes, points: Sequence[tuple[float, float, int]], style: Mapping[str, Any], entry: Entry
) -> None:
    """Draw the points of an entry, joined; the first and the last have the number of their lead."""
    colour = style["colour"]
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    label = " · ".join(filter(None, entry))
    line = ax.plot(xs, ys, marker="o", ms=4, lw=1.2, color=colour, label=label)[0]
    if style["dash"] is not None:
        line.set_dashes(style["dash"])
    for place in {0, len(points) - 1} if len(points) > 1 else ():
        ax.annotate(
            f"{points[place][2]}", (xs[place], ys[place]), xytext=(4, 4), fontsize=7,
            textcoords="offset points", color=colour,
        )  # fmt: skip


def _dot(ax: Axes, place: int, row: Mapping[Any, Any], colour: str) -> None:
    """Draw one value and its interval."""
    if row["interval"] != inference.NONE and math.isfinite(row["lo"]):
        ax.plot([row["lo"], row["hi"]], [place, place], color=colour, lw=2, alpha=0.55)
    ax.plot([row["value"]], [place], "o", color=colour, ms=6)


def _label(row: Mapping[Any, Any], kept: Sequence[Entry]) -> str:
    """Return the name of an entry, with its preset where the model has several."""
    several = sum(model == row["model"] for model, _ in kept) > 1
    return f"{row['model']} · {row['preset']}" if several and row["preset"] else str(row["model"])


def _metric(board: Board, name: str | None) -> str:
    table = board.scores.table()
    return first_metric(board, []) if name is None else metrics_of(table, [name])[0]


def _entries(board: Board, names: Sequence[str]) -> list[Entry]:
    return entries_of(list(roles_of([board.scores])), names)


def _looks(board: Board, kept: Sequence[Entry]) -> dict[Entry, dict[str, Any]]:
    """Return the styles that all figures of these entries share; grey for reference models."""
    roles = roles_of([board.scores])
    look = styles_of((*entry, roles[entry]) for entry in roles)
    return {entry: look.get(entry, {"colour": GREY, "dash": None}) for entry in kept}


def _axis(metric: str, board: Board) -> str:
    unit = unit_of(metric).replace("data", board.run.unit or "data")
    return metric + (f" ({unit})" if unit else "")


def _finish(ax: Axes, board: Board, title: str, *, grid: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, color="#d9d9d9", lw=0.6)
    ax.set_title(title, fontsize=8, color="#555555")
    if board.run.simulated:
        mark_simulated(ax)
