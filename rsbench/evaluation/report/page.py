"""Gather the values that the template of the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from rsbench.evaluation import decay, strata
from rsbench.evaluation.collapse import collapsed_tokens
from rsbench.evaluation.endpoint import DEFAULT
from rsbench.evaluation.intervals import WAYS
from rsbench.evaluation.report import (
    comparisons,
    groups,
    matrix,
    paper,
    pictures,
    places,
    planes,
    ranks,
    result,
    seeds,
)
from rsbench.evaluation.report import page_training as training
from rsbench.evaluation.report.band_views import views
from rsbench.evaluation.report.board import Board
from rsbench.evaluation.report.charts import Frame, Line, Looks, line_chart, line_of
from rsbench.evaluation.report.classes import classes
from rsbench.evaluation.report.leaderboard import (
    compact,
    described,
    first_view,
    rows_of,
    tiles,
    unit_in,
)
from rsbench.evaluation.run_info import PHASES, REUSED, RunInfo
from rsbench.evaluation.table import Cell, number, supported_best, to_latex
from rsbench.metrics.queries import direction, in_report_order, perfect_values
from rsbench.store.layout import SHARE

LARGEST_PICTURES = 6_000_000
LARGEST_OF_ALL = 9_000_000
"""Most characters of pictures of a board, and of all boards, so that the page opens quickly."""


@dataclass(frozen=True)
class Panel:
    """Charts of one metric: one per matched set."""

    metric: str
    way: str
    charts: tuple[tuple[str, Markup], ...]


def gather(board: Board, index: int, boards: int = 1) -> dict[str, Any]:
    """Return everything the template needs for one of so many boards."""
    scores, run = board.scores, board.run
    best = supported_best(scores)
    models = rows_of(board)
    looks = _looks(models)
    metrics = in_report_order(scores.table()["metric"].unique())
    spectra = planes.spectra(board, looks)
    regions = int(scores.table()["n_regions"].max()) if len(scores.table()) else 0
    words = run.words
    return {
        "words": words, "result": result.sentence(board, models),
        "matrix": matrix.matrix(board, models),
        "explained": result.explained(models), "id": f"b{index}", "run": run, "notes": board.notes,
        "facts": _facts(board, regions), "endpoint": run.endpoint, "tiles": tiles(board, models),
        "models": models, "looks": looks,
        "metrics": [described(name, board) for name in metrics],
        "leads": list(range(1, run.horizon + 1)),
        "data": compact(board, models, metrics, best),
        "first": first_view(board, models, metrics, best),
        # A task with one target date has no curves over leads.
        "panels": _panels(board, _plain(metrics), looks) if words.curves else [],
        "skill": _skill(board, looks) if words.curves else [],
        "half_lives": _half_lives(board, [m["key"] for m in models]),
        "comparisons": comparisons.note(board, best), "seeds": seeds.note(board),
        "strata": groups.groups(board, models), "where": places.where(board, models),
        "classes": classes(board, models), "plane": planes.plane(board, looks),
        "spectra": spectra, "spectra_note": planes.sentence(spectra),
        "interval_note": decay.interval_note(regions, one_scene=run.one_scene),
        "ranks": ranks.histograms(board, looks),
        "strips": _strips(board, models, min(LARGEST_PICTURES, LARGEST_OF_ALL // boards)),
        **_sources(board, best),
    }  # fmt: skip


def _sources(board: Board, best: frozenset[Cell]) -> dict[str, Any]:
    """Return training, absent values, matched sets, provenance and texts for a paper."""
    scores, run = board.scores, board.run
    return {
        "training": training.curves(run.history, simulated=run.simulated),
        "collapsed": training.collapsed(run.history),
        "collapsed_tokens": list(collapsed_tokens(run.history)),
        "absent": _absent(board), "sets": _sets(board), "matching": _matching(board),
        "counts": [row for row in board.counts if not ranks.RANK.fullmatch(row["what"])],
        "provenance": _provenance(board),
        "paper": [
            ("Methods", paper.methods(board)),
            ("LaTeX table", to_latex(scores.table(), best=best, scores=[scores])),
            ("BibTeX", paper.bibtex(board)),
        ],
    }  # fmt: skip


def _plain(metrics: Sequence[str]) -> list[str]:
    return [name for name in metrics if not name.startswith("skill.")]


# ------------------------------------------------------------------------- names and facts


def _looks(models: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return colour class and dash per entry; only models and controls are coloured."""
    looks: dict[str, dict[str, Any]] = {}
    coloured = grey = 0
    dashes = ("7 4", "11 3 2 3", "4 3", "6 2 1 2 1 2")
    for row in models:
        if row["role"] in ("model", "control"):
            looks[row["key"]] = {"style": f"c{coloured % 8}", "dash": ""}
            coloured += 1
        elif row["role"] == "trivial":
            looks[row["key"]] = {"style": "quiet", "dash": dashes[grey % len(dashes)]}
            grey += 1
        else:
            dash = "1 4" if row["role"] == "oracle" else "1 2"
            looks[row["key"]] = {"style": "bound", "dash": dash}
    return looks


def _facts(board: Board, regions: int) -> list[tuple[str, str, str]]:
    """Return (label, value, longer text) of the header."""
    run = board.run
    versions = run.versions.get("rsbench", "")
    facts = [
        ("Dataset", run.dataset, ""),
        ("Digest", run.dataset_digest[:12], run.dataset_digest),
        ("Split", run.split, ""),
        ("Protocol", run.protocol, ""),
        ("Primary endpoint", run.endpoint.label, run.endpoint.title),
        *run.words.described(run),
        ("Regions", str(regions), ""),
        ("Precision", run.precision, ""),
        ("Device", run.device, ""),
        ("Seed", ", ".join(str(s) for s in sorted({r.seed for r in board.runs})), ""),
    ]
    if run.members > 1:
        facts.append(("Members", str(run.members), ""))
    return facts + ([("rsbench", versions, "")] if versions else [])


# ----------------------------------------------------------------------------------- charts


def _lines(drawn: Sequence[decay.Curve], looks: Looks) -> list[Line]:
    lines = []
    for curve in drawn:
        key = f"{curve.model}/{curve.preset}"
        values = zip(curve.leads, curve.values, curve.lo, curve.hi, strict=True)
        points = [(float(lead), v, lo, hi) for lead, v, lo, hi in values if v is not None]
        lines.append(line_of(key, looks.get(key, {"style": "quiet", "dash": ""}), points))
    return lines


def _chart(board: Board, metric: str, stratum: str, looks: Looks) -> tuple[str, Markup] | None:
    table = board.scores.table()
    where = (table["metric"] == metric) & (table["stratum"] == stratum) & (table["band"] == "all")
    if not (where & table["value"].notna()).any():
        return None
    drawn = decay.curves(board.scores, metric, stratum=stratum)
    unit = unit_in(metric, board.run)
    label = metric + (f" ({unit})" if unit else "")
    same = "same target dates" if stratum == strata.SAME_TARGET else "same starts"
    widest = max(drawn, key=lambda curve: curve.n_regions)
    caption = f"{same[0].upper()}{same[1:]} for all leads: {decay.describe(widest)}"
    skill = metric.startswith("skill.")
    frame = Frame(
        f"{metric} by lead, {same}", "lead", label, board.run.simulated,
        width=380 if skill else 540, height=280 if skill else 340,
        zero=skill or direction(metric) == "zero",
    )  # fmt: skip
    return caption, line_chart(_lines(drawn, looks), frame)


def _panels(board: Board, metrics: Sequence[str], looks: Looks) -> list[Panel]:
    panels = []
    for metric in metrics:
        found = (_chart(board, metric, s, looks) for s in (strata.HEADLINE, strata.SAME_TARGET))
        charts = tuple(chart for chart in found if chart is not None)
        if charts:
            panels.append(Panel(metric, WAYS[direction(metric)], charts))
    return panels


def _skill(board: Board, looks: Looks) -> list[tuple[str, str, Markup]]:
    """Return (metric, caption, chart) of each skill on the same starts."""
    found = []
    for metric in (f"skill.{name}" for name in perfect_values()):
        if chart := _chart(board, metric, strata.HEADLINE, looks):
            found.append((metric, *chart))
    return found


def _half_lives(board: Board, order: Sequence[str]) -> list[dict[str, str]]:
    """Return the half-life of MSE skill of every model, or the reason why there is none."""
    table = board.scores.table()
    if not ((table["metric"] == DEFAULT.metric) & table["value"].notna()).any():
        return []
    return [
        {
            "model": curve.model,
            "preset": curve.preset,
            "value": "" if life.value is None else f"{life.value:.1f}",
            "reason": life.reason or "",
        }
        for curve in sorted(
            decay.curves(board.scores, DEFAULT.metric),
            key=lambda c: order.index(f"{c.model}/{c.preset}"),
        )
        if (life := curve.half_life) is not None and curve.role in ("model", "control")
    ]


def _matching(board: Board) -> list[dict[str, Any]]:
    """Return the pairs kept and dropped in both matched sets, one line per distinct outcome."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for stratum in (strata.HEADLINE, strata.SAME_TARGET):
        for item in board.scores.matchings(stratum):
            if item.band == "all":
                key = (stratum, item.kept, item.dropped, item.origins)
                found.setdefault(key, []).append(item.metric)
    return [
        {
            "set": board.run.words.sets.get(stratum, stratum),
            "kept": kept,
            "dropped": dropped,
            "origins": ", ".join(origins) or "none",
            "metrics": ", ".join(metrics),
        }
        for (stratum, kept, dropped, origins), metrics in found.items()
    ]


# ---------------------------------------------------------------------- pictures, training


def _strips(board: Board, models: Sequence[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """Return strips of models, reference and oracle, up to so many characters.

    Where a task has one target date, strips are of all reference models.
    """
    names = [m["model"] for m in models if m["role"] == "model"]
    names += [m["model"] for m in models if m["reference"]]
    names += [m["model"] for m in models if m["model"] == "persistence" and len(names) < 2]
    names += [m["model"] for m in models if m["role"] == "trivial" and not board.run.words.curves]
    names += [m["model"] for m in models if m["role"] == "oracle"]
    shown = list(dict.fromkeys(names)) or [n for called in board.names for n in called.values()]
    folders = list(zip(board.folders, board.names, strict=True))
    found: list[dict[str, Any]] = []
    weight = 0
    for strip in pictures.strips(folders, simulated=board.run.simulated, shown=shown):
        weight += strip.weight
        if weight > most and found:
            return found
        found.append(_shown(strip, board.run))
    return found


def _shown(strip: pictures.Strip, run: RunInfo) -> dict[str, Any]:
    """Return a strip with its views and its crop in the form of the page's script."""
    drawn = () if run.unit == SHARE else strip.drawn or run.display or ()
    shown = views(drawn, strip.others, reflectance=run.unit == "reflectance")
    first = next((row.model for row in strip.rows if row.kind == "error"), "")
    return {
        "strip": strip, "top": number(strip.error_max, 3), "word": strip.word, "first": first,
        "views": {"drawn": len(drawn) or 3, "views": [[v.label, v.kind, v.bands] for v in shown]},
        "crop": asdict(strip.crop) if strip.crop else None,
    }  # fmt: skip


# -------------------------------------------------------------------- absent and provenance


def _absent(board: Board) -> list[dict[str, str]]:
    """Return absent values with reasons; leads with the same reason share a line."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for item in board.scores.absences():
        name = "every entry" if item.model == "*" else item.model
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


def _sets(board: Board) -> list[dict[str, Any]]:
    """Return n, d and the distance between two halves of the truth, for each set metric."""
    rows = board.scores.sets
    own = rows[rows["role"] != "floor"]
    found = []
    for metric, part in own.groupby("metric", sort=True):
        leads = part.drop_duplicates("lead").sort_values("lead")
        found.append({
            "metric": str(metric),
            "n": ", ".join(str(n) for n in sorted({int(n) for n in part["n"]})),
            "d": int(part["d"].iloc[0]),
            "halves": [
                {"lead": int(lead), "value": number(float(value), 3)}
                for lead, value in zip(leads["lead"], leads["halves"], strict=True)
            ],
        })  # fmt: skip
    return found


def _provenance(board: Board) -> list[dict[str, Any]]:
    return [
        {"folder": folder.name, "run": run, "versions": sorted(run.versions.items()),
         "missing": [_missing(item) for item in run.missing[:20]], "n_missing": len(run.missing),
         "reused": run.extra.get(REUSED), "phases": _phases(run.extra.get(PHASES) or {})}
        for folder, run in zip(board.folders, board.runs, strict=True)
    ]  # fmt: skip


def _phases(seconds: Mapping[str, float]) -> list[tuple[str, float, float]]:
    """Return (phase, seconds, share of all), the longest first."""
    total = sum(seconds.values()) or 1.0
    rows = sorted(seconds.items(), key=lambda row: -row[1])
    return [(name, value, value / total) for name, value in rows]


def _missing(item: Mapping[str, Any]) -> str:
    first = [name for name in ("region", "sensor", "time") if name in item]
    rest = sorted(set(item) - set(first))
    return " ".join(str(item[name]) for name in [*first, *rest])


def legend(gathered: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the legend of a board: entries with at least one value."""
    drawn = {values[0] for values in gathered["data"]["rows"] if values[5] is not None}
    return [
        {**row, **gathered["looks"][row["key"]]}
        for i, row in enumerate(gathered["models"])
        if i in drawn
    ]
