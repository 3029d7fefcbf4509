"""Learning curves of trained models, and the variance of predicted embeddings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rsbench.evaluation.collapse import TOKENS
from rsbench.evaluation.report.charts import Frame, Line, line_chart

SPREAD = "variance.ratio"
COLLAPSED = 0.1
STYLES = 4

Points = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Curve:
    """One chart: its title, the drawing, and ``(name, style, dash)`` of its lines."""

    title: str
    chart: Markup
    key: tuple[tuple[str, str, str], ...]


def curves(history: Mapping[str, Points], *, simulated: bool) -> list[Curve]:
    """Return a learning curve per trained model, and one chart per measure of a collapse."""
    found: list[Curve] = []
    for model, points in history.items():
        name = f"learning curve of {model}"
        found += _curve(model, name, "loss", _losses(points), simulated=simulated)
    ratios = _lines((model, spread(points)) for model, points in history.items())
    title = "spread of predicted over target embeddings"
    found += _curve("embeddings", title, "variance ratio", ratios, simulated=simulated)
    for measure in TOKENS:
        lines = _lines((model, measure.values(points)) for model, points in history.items())
        found += _curve("tokens", measure.title, measure.term, lines, simulated=simulated)
    return found


def collapsed(history: Mapping[str, Points]) -> list[tuple[str, float]]:
    """Return the models whose embeddings collapsed, with the ratio of variances at the end.

    A predictor of the mean embedding can have a small loss. The ratio of the variance of its
    tokens to that of their targets detects this; below ``COLLAPSED`` counts as collapsed.
    """
    ends = [(model, spread(points)) for model, points in history.items()]
    return [(model, found[-1][1]) for model, found in ends if found and found[-1][1] < COLLAPSED]


def _curve(
    title: str, name: str, label: str, lines: Sequence[Line], *, simulated: bool
) -> Iterator[Curve]:
    ys = [y for line in lines for _, y, _, _ in line.points]
    if ys:
        log = min(ys) > 0 and max(ys) / min(ys) > 20
        frame = Frame(name, "step", label, simulated, whole_x=False, log_y=log)
        key = tuple((line.name, line.style, line.dash) for line in lines)
        yield Curve(title, line_chart(lines, frame), key)


def _losses(points: Points) -> list[Line]:
    """Return the losses of each stage and the validation score that selects the weights."""
    stages = list(dict.fromkeys(str(point.get("stage", "")) for point in points))
    series: dict[str, list[tuple[float, float]]] = {}
    for index, point in enumerate(points):
        x = float(point.get("step", point.get("epoch", index)))
        for name, value in point.items():
            if name in ("step", "epoch", "lr", "rate", "learning_rate", "seconds"):
                continue
            if isinstance(value, int | float) and math.isfinite(value):
                called = f"{name}, {point['stage']}" if name == "loss" and len(stages) > 1 else name
                series.setdefault(called, []).append((x, float(value)))
    return _lines(series.items())


def spread(points: Points) -> list[tuple[float, float]]:
    """Return ``(step, variance of predicted over target embeddings)`` of a learning curve."""
    return [
        (float(point["step"]), float(point["terms"][SPREAD]))
        for point in points
        if SPREAD in point.get("terms", {})
    ]


def _lines(series: Iterable[tuple[str, Sequence[tuple[float, float]]]]) -> list[Line]:
    drawn = [(name, values) for name, values in series if len(values) > 1]
    return [
        Line(
            name,
            f"c{i % STYLES}",
            tuple((x, y, None, None) for x, y in values),
            "6 3" if (i // STYLES + bool(i % STYLES)) % 2 else "",
            name,
            markers=False,
        )
        for i, (name, values) in enumerate(drawn)
    ]
