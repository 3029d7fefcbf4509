"""Curves over lead time on matched sets, and the half-life of skill."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from rsbench.core.errors import InputError
from rsbench.core.io import atomic_file, disk_errors
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import strata
from rsbench.evaluation.intervals import WAYS, unit_of
from rsbench.evaluation.scores import Scores
from rsbench.metrics.queries import direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart under the common forms of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6FAC", "#A0522D")
GREY = "#7f7f7f"
MANY = 8
"""Number of entries above which the legend is placed beside the axes."""
FAR_APART = 20
"""Ratio of the largest to the smallest error above which a figure's axis is logarithmic."""


@dataclass(frozen=True)
class HalfLife:
    """Lead, in steps, where skill falls to half its lead-1 value; else the reason for none."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True)
class Curve:
    """One model's values by lead on one matched set.

    Args:
        stratum: ``all``: the same starts for all leads; ``same-target``: the same target dates.
        origins: ISO dates of those starts, or targets.
        values: one per lead; ``None`` where absent.
        lo: lower ends of the intervals, as ``values``.
        hi: upper ends.
        dropped: pairs (region, origin) left out because a lead of an entry is undefined.
        half_life: only for ``skill.mse@1``, ``skill.mae@1`` and ``skill.ssim@1``.
    """

    model: str
    preset: str
    role: str
    metric: str
    band: str
    stratum: str
    context: int
    origins: tuple[str, ...]
    leads: tuple[int, ...]
    values: tuple[float | None, ...]
    lo: tuple[float | None, ...]
    hi: tuple[float | None, ...]
    n_regions: int
    dropped: int
    half_life: HalfLife | None = None

    @property
    def confounded(self) -> bool:
        """True with a single start or target: the lead then determines the other date."""
        return len(self.origins) == 1


def half_life(leads: Sequence[int], skill: Sequence[float | None], origins: int) -> HalfLife:
    """Return the lead where skill falls to half its lead-1 value, linear between leads."""
    if origins <= 1:
        return HalfLife(None, "only one start, so each lead always has the same target date")
    known = [(lead, s) for lead, s in zip(leads, skill, strict=True) if s is not None]
    if not known or known[0][0] != 1:
        return HalfLife(None, "there is no skill at lead 1")
    first = known[0][1]
    if first <= 0:
        return HalfLife(None, "skill at lead 1 is not above 0")
    half = 0.5 * first
    for (a, before), (b, after) in pairwise(known):
        if after <= half:
            return HalfLife(a + (b - a) * (before - half) / (before - after))
    return HalfLife(None, f"skill stays above half its lead-1 value up to lead {known[-1][0]}")


def curves(
    scores: Scores, metric: str, *, stratum: str = strata.HEADLINE, band: str = "all"
) -> tuple[Curve, ...]:
    """Return one curve per model on a matched set, in name order."""
    table = scores.table()
    rows = table[
        (table["metric"] == metric) & (table["stratum"] == stratum) & (table["band"] == band)
    ]
    if rows.empty:
        known = sorted(set(table["metric"]))
        raise InputError(
            f"a curve of {metric}, band {band}, {stratum}",
            "the run has no such values",
            f"Metrics: {', '.join(known)}",
        )
    match = _matching(scores, metric.removeprefix("skill.").removeprefix("share."), band, stratum)
    parts = [part[["model", "role"]] for part in (scores.units, scores.sets) if len(part)]
    named = pd.concat(parts).drop_duplicates()
    roles = dict(zip(named["model"], named["role"], strict=True))
    return tuple(
        _curve(scores, str(model), str(preset), roles.get(str(model), "model"), group, match)
        for (model, preset), group in rows.groupby(["model", "preset"], sort=True)
        if group["value"].notna().any()
    )


def _matching(scores: Scores, metric: str, band: str, stratum: str) -> strata.Matching:
    for item in scores.matchings(stratum):
        if (item.metric, item.band) == (metric, band):
            return item
    own = scores.sets[scores.sets["metric"] == metric]
    if len(own) and stratum == strata.HEADLINE:
        origins = tuple(sorted({day for days in own["origins"] for day in str(days).split()}))
        return strata.Matching(stratum, metric, band, origins, len(origins), 0)
    return strata.Matching(stratum, metric, band, (), 0, 0)


def _curve(
    scores: Scores, model: str, preset: str, role: str, rows: pd.DataFrame, match: strata.Matching
) -> Curve:
    rows = rows.sort_values("lead")
    leads = tuple(int(lead) for lead in rows["lead"])
    values, lo, hi = (_optional(rows[name]) for name in ("value", "lo", "hi"))
    metric = str(rows["metric"].iloc[0])
    life = None
    if metric.startswith("skill.") and role != "floor" and model != scores.run.best_trivial:
        life = half_life(leads, values, len(match.origins))
    return Curve(
        model, preset, role, metric, match.band, match.stratum, scores.run.context, match.origins,
        leads, values, lo, hi, int(rows["n_regions"].max()), match.dropped, life,
    )  # fmt: skip


def _optional(column: pd.Series) -> tuple[float | None, ...]:
    return tuple(float(v) if math.isfinite(v) else None for v in column.astype(float))


def describe(curve: Curve) -> str:
    """Return the samples of a curve as text: k, starts or targets, regions, dropped pairs."""
    years = [origin[:4] for origin in curve.origins]
    what = "targets" if curve.stratum == strata.SAME_TARGET else "starts"
    named = f"{what[:-1]} {years[0]}" if len(years) == 1 else f"{what} {_span(years)}"
    if not years:
        named = f"no common {what}"
    text = f"k = {curve.context}, {named}, {curve.n_regions} regions"
    if curve.dropped:
        text += f", {curve.dropped} region–{what[:-1]} pairs dropped"
    if curve.confounded:
        same = "start" if curve.stratum == strata.SAME_TARGET else "target date"
        text += f"; only one {what[:-1]}, so each lead always has the same {same}"
    return text


def _span(years: Sequence[str]) -> str:
    whole = [int(year) for year in years if year.isdigit()]
    if len(whole) == len(years) > 2 and whole == list(range(whole[0], whole[-1] + 1)):
        return f"{years[0]}–{years[-1]}"
    return ", ".join(years)


def styles(drawn: Sequence[Curve]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return colour and dash per model: models coloured, reference models grey, bounds dotted."""
    return styles_of((curve.model, curve.preset, curve.role) for curve in drawn)


def styles_of(entries: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return colour and dash per (model, preset), from (model, preset, role) in drawing order."""
    result: dict[tuple[str, str], dict[str, Any]] = {}
    coloured = grey = 0
    dashes = ((6, 3), (2, 2), (8, 3, 2, 3), (4, 2, 1, 2, 1, 2))
    for model, preset, role in entries:
        key = (model, preset)
        if key in result:
            continue
        if role in ("model", "control"):
            colour = PALETTE[coloured % len(PALETTE)]
            result[key] = {"colour": colour, "dash": None, "grey": False}
            coloured += 1
        else:
            dash = (1, 3) if role in ("oracle", "floor") else dashes[grey % len(dashes)]
            grey += role == "trivial"
            result[key] = {"colour": GREY, "dash": dash, "grey": True}
    return result


def figure(
    drawn: Sequence[Curve], *, simulated: bool, unit: str = "", width: float = 6.4
) -> Figure:
    """Draw curves of one metric on one set, with interval bands; ``simulated`` is written on it.

    ``unit`` is that of the data, e.g. ``reflectance``.
    """
    from matplotlib.figure import Figure

    chart = Figure(figsize=(width, width * 0.62), layout="constrained")
    draw(chart.subplots(), drawn, simulated=simulated, unit=unit)
    return chart


def draw(axes: Axes, drawn: Sequence[Curve], *, simulated: bool, unit: str = "") -> None:
    """Draw curves on axes, as :func:`figure` does.

    Raises:
        InputError: if there is no curve.
    """
    if not drawn:
        raise InputError("a decay figure", "there are no curves", "Choose a metric that was scored")
    look = styles(drawn)
    for curve in drawn:
        _plot(axes, curve, look[(curve.model, curve.preset)])
    first = drawn[0]
    if _far_apart(drawn):
        axes.set_yscale("log")
    axes.set_xticks(sorted({lead for curve in drawn for lead in curve.leads}))
    axes.set_xlabel("lead")
    measured = unit_of(first.metric).replace("data", unit or "data")
    axes.set_ylabel(first.metric + (f" ({measured})" if measured else ""))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#d9d9d9", lw=0.6)
    outside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(frameon=False, fontsize=8, **(outside if len(look) > MANY else {}))
    way = WAYS[direction(first.metric)]
    axes.set_title(f"{way} · {describe(first)}", fontsize=8, color="#555555")
    if simulated:
        mark_simulated(axes)


def _plot(axes: Axes, curve: Curve, style: Mapping[str, Any]) -> None:
    """Draw one curve with its interval band."""
    label = curve.model if curve.role != "model" else f"{curve.model} · {curve.preset}"
    line: dict[str, Any] = {"color": style["colour"], "label": label, "marker": "o", "ms": 4}
    line |= {"lw": 1.2, "zorder": 2} if style["grey"] else {"lw": 2.2, "zorder": 3}
    if style["dash"] is not None:
        line["dashes"] = style["dash"]
    values, lo, hi = (
        [math.nan if v is None else v for v in part] for part in (curve.values, curve.lo, curve.hi)
    )
    axes.plot(curve.leads, values, **line)
    alpha = 0.10 if style["grey"] else 0.18
    axes.fill_between(curve.leads, lo, hi, color=style["colour"], alpha=alpha, lw=0)


def mark_simulated(axes: Axes) -> None:
    """Write the word simulated across a figure."""
    axes.text(
        0.5, 0.5, "simulated", transform=axes.transAxes, ha="center", va="center",
        fontsize=42, color="#808080", alpha=0.18, rotation=18, zorder=0,
    )  # fmt: skip


def _far_apart(drawn: Sequence[Curve]) -> bool:
    """Return whether errors differ so much that a linear axis would hide the small ones."""
    values = [value for curve in drawn for value in curve.values if value is not None]
    lower = direction(drawn[0].metric) == "lower" and bool(values) and min(values) > 0
    return lower and max(values) > FAR_APART * min(values)


def save_figure(
    drawn: Sequence[Curve], path: Path, *, simulated: bool, unit: str = "", dpi: int = 160,
    width: float = 6.4,
) -> None:  # fmt: skip
    """Write the figure as PNG, SVG or PDF, by the suffix of ``path``."""
    chart = figure(drawn, simulated=simulated, unit=unit, width=width)
    kind = path.suffix.removeprefix(".") or "png"
    with disk_errors(f"writing {path}", "name another file"), atomic_file(path) as temporary:
        chart.savefig(temporary, format=kind, dpi=dpi)


def interval_note(n_regions: int, *, one_scene: bool = False) -> str:
    """Return what the bands are, or why there are none."""
    if n_regions < inference.MIN_REGIONS:
        return f"No intervals: {n_regions} regions, at least {inference.MIN_REGIONS} are needed."
    level = f"{inference.LEVEL * 100:.10g} %"
    if one_scene:
        return (
            f"Bands: {level} intervals of the mean over {n_regions} blocks of one scene, from "
            "windows of neighbouring blocks."
        )
    return (
        f"Bands: {level} t intervals of the mean over {n_regions} regions, corrected for skewness "
        "and held inside the metric's range."
    )
