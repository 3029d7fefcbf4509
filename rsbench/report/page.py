"""What the page shows, gathered as plain values for its template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rsbench import decay, inference, strata
from rsbench.inference import direction, unit_of
from rsbench.report import pictures
from rsbench.report.board import Board
from rsbench.report.charts import Frame, Line, line_chart, minus
from rsbench.scores import PERFECT
from rsbench.table import Cell, number, supported_best

WAYS = {"lower": "lower is better", "higher": "higher is better", "zero": "0 is best"}
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0"}
ROLE_RANK = {"model": 0, "control": 1, "trivial": 2, "oracle": 3, "floor": 4}
PRIMARY = "skill.mse@1"
PRIMARY_LEADS = (1, 3)


@dataclass(frozen=True)
class Panel:
    """Charts of one metric: one per matched set."""

    metric: str
    way: str
    charts: tuple[tuple[str, Markup], ...]


def gather(board: Board, index: int) -> dict[str, Any]:
    """Return everything the template needs for one board."""
    scores, run = board.scores, board.run
    best = supported_best(scores)
    models = _models(board)
    looks = _looks(models)
    metrics = _metrics(list(scores.table()["metric"].unique()))
    regions = int(scores.table()["n_regions"].max()) if len(scores.table()) else 0
    return {
        "id": f"b{index}",
        "run": run,
        "notes": board.notes,
        "facts": _facts(board, regions),
        "tiles": _tiles(board, models),
        "models": models,
        "looks": looks,
        "metrics": [_metric(name) for name in metrics],
        "leads": list(range(1, run.horizon + 1)),
        "data": _data(board, models, metrics, best),
        "first": _first_view(board, models, metrics, best),
        "panels": _panels(board, [m for m in metrics if not m.startswith("skill.")], looks),
        "skill": _skill(board, looks),
        "half_lives": _half_lives(board),
        "interval_note": decay.interval_note(regions),
        "matching": _matching(board),
        "strips": _strips(board),
        "training": _training(board),
        "absent": _absent(board),
        "counts": run.extra.get("counts") or [],
        "provenance": _provenance(board),
    }


# ------------------------------------------------------------------------- names and facts


def _models(board: Board) -> list[dict[str, Any]]:
    """Return the rows: models first, then trivial rows, then bounds."""
    units, run = board.scores.units, board.run
    rows = units[["model", "preset", "role"]].drop_duplicates()
    found = [
        {
            "model": str(model),
            "preset": str(preset),
            "role": str(role),
            "inputs": run.inputs.get(model, f"{run.sensor} k={run.context}"),
            "weights": run.weights.get(model),
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
    return sorted(found, key=lambda r: (ROLE_RANK.get(r["role"], 9), r["model"], r["preset"]))


def _looks(models: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return colour class and dash per row; only models are loud."""
    looks: dict[str, dict[str, Any]] = {}
    loud = quiet = 0
    dashes = ("7 4", "2 3", "9 3 2 3", "4 2 1 2")
    for row in models:
        if row["role"] in ("model", "control"):
            looks[row["key"]] = {"style": f"c{loud % 8}", "dash": ""}
            loud += 1
        elif row["role"] == "trivial":
            looks[row["key"]] = {"style": "quiet", "dash": dashes[quiet % len(dashes)]}
            quiet += 1
        else:
            dash = "1 4" if row["role"] == "oracle" else "1 2"
            looks[row["key"]] = {"style": "bound", "dash": dash}
    return looks


def _metrics(names: Sequence[str]) -> list[str]:
    order = [f"skill.{m}" for m in PERFECT] + ["mse@1", "rmse@1", "mae@1", "psnr@1", "ssim@1"]
    ranks = {name: i for i, name in enumerate(order)}
    return sorted((str(name) for name in names), key=lambda n: (ranks.get(n, len(order)), n))


def _metric(name: str) -> dict[str, str]:
    way = direction(name)
    return {"id": name, "unit": unit_of(name), "way": WAYS[way], "arrow": ARROWS[way], "dir": way}


def _facts(board: Board, regions: int) -> list[tuple[str, str, str]]:
    """Return (label, value, longer text) of the header."""
    run = board.run
    years = [start[:4] for start in run.starts]
    starts = f"{years[0]}–{years[-1]} ({len(years)})" if len(years) > 2 else ", ".join(years)
    versions = run.versions.get("rsbench", "")
    facts = [
        ("Dataset", run.dataset, ""),
        ("Digest", run.dataset_digest[:12], run.dataset_digest),
        ("Split", run.split, ""),
        ("Protocol", run.protocol, ""),
        ("Context", f"k = {run.context}", "frames every model sees"),
        ("Starts", starts or "–", ", ".join(run.starts)),
        ("Horizon", f"{run.horizon} × {run.step}", "leads × step"),
        ("Regions", str(regions), ""),
        ("Precision", run.precision, ""),
        ("Device", run.device, ""),
        ("Seed", ", ".join(str(s) for s in sorted({r.seed for r in board.runs})), ""),
    ]
    if run.members > 1:
        facts.append(("Members", str(run.members), ""))
    return facts + ([("rsbench", versions, "")] if versions else [])


def _tiles(board: Board, models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the primary endpoint — MSE skill at leads 1 and 3 — of every model."""
    table = board.scores.table()
    rows = table[
        (table["metric"] == PRIMARY)
        & (table["band"] == "all")
        & (table["stratum"] == strata.HEADLINE)
    ]
    tiles = []
    for row in [m for m in models if m["role"] == "model"][:6]:
        cells = []
        own = rows[(rows["model"] == row["model"]) & (rows["preset"] == row["preset"])]
        for lead in PRIMARY_LEADS:
            found = own[own["lead"] == lead]
            if len(found):
                cells.append({"lead": lead, **_cell_text(found.iloc[0].to_dict())})
        if cells:
            tiles.append({"model": row["model"], "preset": row["preset"], "cells": cells})
    return tiles


def _cell_text(row: Mapping[Any, Any]) -> dict[str, str]:
    value = minus(number(row["value"]))
    if row["interval"] == inference.NONE:
        return {"value": value, "span": ""}
    return {"value": value, "span": _span(row["lo"], row["hi"])}


def _span(lo: float, hi: float) -> str:
    return f"{minus(number(lo, 3))} to {minus(number(hi, 3))}"


# ----------------------------------------------------------------------------- leaderboard


def _data(
    board: Board,
    models: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    best: frozenset[Cell],
) -> dict[str, Any]:
    """Return the tidy table in a compact form for the page's script.

    Groups other than the two matched sets come with all bands pooled, to keep the page small.
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
        model, preset, metric, band, stratum, lead, *numbers = values
        value, lo, hi, n_regions, n_samples, n_missing = numbers
        marked = (model, preset, metric, band, lead, stratum) in best
        rows.append([
            keys[(model, preset)], names[metric], band_at[band], set_at[stratum], int(lead),
            _short(value), _short(lo), _short(hi), int(n_regions), int(n_samples),
            int(n_missing), int(marked),
        ])  # fmt: skip
    shown = [{k: m[k] for k in ("model", "preset", "role", "reference", "key")} for m in models]
    return {
        "models": shown,
        "metrics": [_metric(name) for name in metrics],
        "bands": bands,
        "strata": order,
        "leads": sorted(int(lead) for lead in table["lead"].unique()),
        "rows": rows,
    }


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _first_view(
    board: Board,
    models: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    best: frozenset[Cell],
) -> dict[str, Any]:
    """Return the leaderboard as it stands before any script runs: one metric, every lead."""
    metric = _first_metric(board, metrics)
    table = board.scores.table()
    rows = table[
        (table["metric"] == metric)
        & (table["band"] == "all")
        & (table["stratum"] == strata.HEADLINE)
    ]
    leads = sorted(int(lead) for lead in rows["lead"].unique())
    shown = []
    for model in models:
        own = rows[(rows["model"] == model["model"]) & (rows["preset"] == model["preset"])]
        by_lead = {int(row["lead"]): row for row in own.to_dict("records")}
        cells = [
            {
                **(_cell_text(by_lead[n]) if n in by_lead else {"value": "–", "span": ""}),
                "best": (model["model"], model["preset"], metric, "all", n, strata.HEADLINE)
                in best,
            }
            for n in leads
        ]
        shown.append({**model, "cells": cells})
    return {"metric": metric, "leads": leads, "rows": shown}


def _first_metric(board: Board, metrics: Sequence[str]) -> str:
    table = board.scores.table()
    there = set(table.loc[table["value"].notna(), "metric"])
    for name in (PRIMARY, "mse@1", "rmse@1", "psnr@1"):
        if name in there:
            return name
    return next((m for m in metrics if m in there), metrics[0] if metrics else PRIMARY)


# ----------------------------------------------------------------------------------- charts


def _lines(drawn: Sequence[decay.Curve], looks: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    lines = []
    for curve in drawn:
        key = f"{curve.model}/{curve.preset}"
        points = tuple(
            (float(lead), value, lo, hi)
            for lead, value, lo, hi in zip(
                curve.leads, curve.values, curve.lo, curve.hi, strict=True
            )
            if value is not None
        )
        look = looks.get(key, {"style": "quiet", "dash": ""})
        lines.append(Line(curve.model, look["style"], points, look["dash"], key))
    return lines


def _chart(
    board: Board, metric: str, stratum: str, looks: Mapping[str, Mapping[str, Any]]
) -> tuple[str, Markup] | None:
    table = board.scores.table()
    where = (table["metric"] == metric) & (table["stratum"] == stratum) & (table["band"] == "all")
    if not (where & table["value"].notna()).any():
        return None
    drawn = decay.curves(board.scores, metric, stratum=stratum)
    unit = unit_of(metric)
    label = metric + (f" ({unit})" if unit else "")
    same = "same target dates" if stratum == strata.SAME_TARGET else "same starts"
    widest = max(drawn, key=lambda curve: curve.n_regions)
    caption = f"{same[0].upper()}{same[1:]} for all leads: {decay.describe(widest)}"
    frame = Frame(
        f"{metric} by lead, {same}", "lead", label, board.run.simulated,
        zero=metric.startswith("skill.") or direction(metric) == "zero",
    )  # fmt: skip
    return caption, line_chart(_lines(drawn, looks), frame)


def _panels(
    board: Board, metrics: Sequence[str], looks: Mapping[str, Mapping[str, Any]]
) -> list[Panel]:
    panels = []
    for metric in metrics:
        found = (_chart(board, metric, s, looks) for s in (strata.HEADLINE, strata.SAME_TARGET))
        charts = tuple(chart for chart in found if chart is not None)
        if charts:
            panels.append(Panel(metric, WAYS[direction(metric)], charts))
    return panels


def _skill(board: Board, looks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, Markup]]:
    """Return (metric, caption, chart) of each skill on the same starts."""
    found = []
    for name in PERFECT:
        metric = f"skill.{name}"
        chart = _chart(board, metric, strata.HEADLINE, looks)
        if chart is not None:
            found.append((metric, chart[0], chart[1]))
    return found


def _half_lives(board: Board) -> list[dict[str, str]]:
    """Return half-lives of MSE skill; one shared reason is said once."""
    table = board.scores.table()
    if not ((table["metric"] == PRIMARY) & table["value"].notna()).any():
        return []
    return [
        {
            "model": curve.model,
            "preset": curve.preset,
            "value": "" if life.value is None else f"{life.value:.1f}",
            "reason": life.reason or "",
        }
        for curve in decay.curves(board.scores, PRIMARY)
        if (life := curve.half_life) is not None and curve.role in ("model", "control")
    ]


def _matching(board: Board) -> list[dict[str, Any]]:
    """Return what the two matched sets kept and dropped, one line per distinct outcome."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for stratum in (strata.HEADLINE, strata.SAME_TARGET):
        for item in strata.matchings(board.scores.units, board.run.horizon, stratum):
            if item.band == "all":
                key = (stratum, item.kept, item.dropped, item.origins)
                found.setdefault(key, []).append(item.metric)
    return [
        {
            "set": "same starts" if stratum == strata.HEADLINE else "same targets",
            "kept": kept,
            "dropped": dropped,
            "origins": ", ".join(origins) or "none",
            "metrics": ", ".join(metrics),
        }
        for (stratum, kept, dropped, origins), metrics in found.items()
    ]


# ---------------------------------------------------------------------- pictures, training


def _strips(board: Board) -> list[dict[str, Any]]:
    found = []
    for folder, run, names in zip(board.folders, board.runs, board.names, strict=True):
        for strip in pictures.strips(folder, simulated=run.simulated, names=names):
            scale = f"0 to {number(strip.error_max, 3)}"
            found.append({"strip": strip, "scale": scale, "run": folder.name})
    return found


def _training(board: Board) -> list[tuple[str, Markup, list[tuple[str, str, str]]]]:
    """Return a learning curve per trained model, with the key to its lines."""
    found = []
    for model, points in board.run.history.items():
        lines = _history_lines(points)
        if lines:
            ys = [y for line in lines for _, y, _, _ in line.points]
            log = min(ys) > 0 and max(ys) / min(ys) > 20
            frame = Frame(
                f"learning curve of {model}", "step", "loss", board.run.simulated,
                whole_x=False, log_y=log,
            )  # fmt: skip
            key = [(line.name, line.style, line.dash) for line in lines]
            found.append((model, line_chart(lines, frame), key))
    return found


def _history_lines(points: Sequence[Mapping[str, Any]]) -> list[Line]:
    series: dict[str, list[tuple[float, float, None, None]]] = {}
    for number_, point in enumerate(points):
        x = float(point.get("step", point.get("epoch", number_)))
        for name, value in point.items():
            if name in ("step", "epoch", "lr", "learning_rate", "seconds") or value is None:
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name, []).append((x, float(value), None, None))
    styles = ("c0", "c1", "c2", "c3")
    return [
        Line(name, styles[i % 4], tuple(values), "" if i == 0 else "6 3", name, markers=False)
        for i, (name, values) in enumerate(series.items())
        if len(values) > 1
    ]


# -------------------------------------------------------------------- absent and provenance


def _absent(board: Board) -> list[dict[str, str]]:
    """Return absent rows with their reason; leads with one reason stand on one line."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for item in board.scores.absences():
        name = "every row" if item.model == "*" else item.model
        key = (name, item.metric or "every metric", item.reason)
        found.setdefault(key, []).extend([] if item.lead is None else [item.lead])
    return [
        {
            "model": model,
            "metric": metric,
            "leads": ", ".join(str(n) for n in sorted(set(leads))) or "all",
            "reason": reason,
        }
        for (model, metric, reason), leads in found.items()
    ]


def _provenance(board: Board) -> list[dict[str, Any]]:
    return [
        {"folder": folder.name, "run": run, "versions": sorted(run.versions.items()),
         "missing": [dict(item) for item in run.missing[:20]], "n_missing": len(run.missing)}
        for folder, run in zip(board.folders, board.runs, strict=True)
    ]  # fmt: skip


def legend(gathered: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return legend entries of a board: rows that have a number."""
    drawn = {values[0] for values in gathered["data"]["rows"] if values[5] is not None}
    return [
        {**row, **gathered["looks"][row["key"]]}
        for i, row in enumerate(gathered["models"])
        if i in drawn
    ]
