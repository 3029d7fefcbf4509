"""Line charts as inline SVG that follow the page's colours, light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from rsbench.evaluation.table import number

LEFT, RIGHT, TOP, BOTTOM = 52, 14, 34, 40


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: name of its points in the tooltip.
        style: CSS class of its colour, e.g. ``c0`` or ``quiet``.
        points: ``(x, y, lo, hi)``; lo and hi absent where there is no interval.
        dash: SVG dash pattern, or none.
        group: key with which the legend hides and shows it.
        markers: draw points with a tooltip.
    """

    name: str
    style: str
    points: tuple[tuple[float, float, float | None, float | None], ...]
    dash: str = ""
    group: str = ""
    markers: bool = True


Looks = Mapping[str, Mapping[str, Any]]
"""Entry ``model/preset`` → its ``style`` and ``dash``."""
Point = tuple[float, float, float | None, float | None]


def line_of(key: str, look: Mapping[str, Any], points: Iterable[Point]) -> Line:
    """Return the line of an entry ``model/preset``, named by its model."""
    return Line(key.rpartition("/")[0], look["style"], tuple(points), look["dash"], key)


@dataclass(frozen=True)
class Frame:
    """Labels, size and axes of a chart; ``simulated`` is written across it."""

    title: str
    x_label: str
    y_label: str
    simulated: bool
    whole_x: bool = True
    zero: bool = False
    log_y: bool = False
    width: int = 540
    height: int = 340


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers that cover ``low`` to ``high``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if raw <= m * power * (1 + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _inside(low: float, high: float) -> tuple[tuple[float, float], list[float]]:
    """Return a range with a margin around the data, and the round numbers within it."""
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    below = 0.0 if 0 <= low <= margin else low - margin  # an axis from 0 has no margin below
    inner = [t for t in nice_ticks(below, high + margin, 6) if below <= t <= high + margin]
    return (below, high + margin), inner


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if last == first:
        last += 1
    return [10.0**power for power in range(first, last + 1)]


@dataclass(frozen=True)
class _Scale:
    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    width: int
    height: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        span = self.x[1] - self.x[0] or 1.0
        low, high = self.y
        if self.log:
            y, low, high = math.log10(max(y, 1e-300)), math.log10(low), math.log10(high)
        px = LEFT + (x - self.x[0]) / span * (self.width - LEFT - RIGHT)
        tall = self.height - TOP - BOTTOM
        py = self.height - BOTTOM - (y - low) / (high - low or 1.0) * tall
        return round(px, 1), round(py, 1)


def line_chart(lines: Sequence[Line], frame: Frame) -> Markup:
    """Draw lines with interval bands."""
    drawn = [line for line in lines if line.points]
    xs = [p[0] for line in drawn for p in line.points] or [0.0, 1.0]
    ys = [v for line in drawn for p in line.points for v in p[1:] if v is not None] or [0.0, 1.0]
    if frame.zero:
        ys.append(0.0)
    if frame.log_y:
        ticks = _log_ticks(min(ys), max(ys))
        span = (ticks[0], ticks[-1])
    else:
        span, ticks = _inside(min(ys), max(ys))
    x_ticks = sorted(set(xs)) if frame.whole_x else nice_ticks(min(xs), max(xs))
    pad = 0.04 * (max(xs) - min(xs)) if frame.whole_x else 0.0
    low_x, high_x = (min(xs), max(xs)) if frame.whole_x else (x_ticks[0], x_ticks[-1])
    size = (frame.width, frame.height)
    scale = _Scale((low_x - pad, high_x + pad), span, frame.log_y, *size)
    parts = [
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'class="chart{" wide" if frame.width > 450 else ""}" '
        f'aria-label="{escape(frame.title)}"><title>{escape(frame.title)}</title>'
    ]
    if frame.simulated:
        x, y = (LEFT + frame.width - RIGHT) / 2, frame.height / 2
        parts.append(
            f'<text class="watermark" x="{x}" y="{y}" font-size="{frame.width // 8}" '
            f'transform="rotate(-16 {x} {y})">simulated</text>'
        )
    parts += _axes(scale, x_ticks, ticks, frame)
    ordered = sorted(drawn, key=lambda line: line.style != "quiet")
    parts += [_band(line, scale) for line in ordered]
    parts += [_line(line, scale, frame) for line in ordered]
    parts.append("</svg>")
    return Markup("".join(parts))  # safe: every text above went through escape()


def _axes(
    scale: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float], frame: Frame
) -> list[str]:
    parts = []
    for tick in y_ticks:
        _, y = scale.at(scale.x[0], tick)
        kind = "zero" if tick == 0 and frame.zero else "grid"
        parts.append(
            f'<line class="{kind}" x1="{LEFT}" x2="{frame.width - RIGHT}" y1="{y}" y2="{y}"/>'
        )
        text = escape(_tick(tick, y_ticks, log=frame.log_y))
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{text}</text>'
        )
    for tick in x_ticks:
        x, _ = scale.at(tick, y_ticks[0])
        parts.append(
            f'<text class="tick" x="{x}" y="{frame.height - BOTTOM + 18}" '
            f'text-anchor="middle">{tick:g}</text>'
        )
    middle = (LEFT + frame.width - RIGHT) / 2
    parts.append(
        f'<text class="axis" x="{middle}" y="{frame.height - 5}" '
        f'text-anchor="middle">{escape(frame.x_label)}</text>'
        f'<text class="axis" x="2" y="14">{escape(frame.y_label)}</text>'
    )
    return parts


def _tick(value: float, ticks: Sequence[float], *, log: bool) -> str:
    if log or value == 0:
        return f"{value:g}".replace("-", "−")
    step = min(abs(b - a) for a, b in pairwise(ticks)) if len(ticks) > 1 else 1
    if max(abs(ticks[0]), abs(ticks[-1])) < 1e-4:
        return f"{value:.1e}".replace("-", "−")
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, places) != round(step, places + 1):
        places += 1
    return f"{value:.{places}f}".replace("-", "−")


def _band(line: Line, scale: _Scale) -> str:
    ends = [(x, lo, hi) for x, _, lo, hi in line.points if lo is not None and hi is not None]
    if len(ends) < 2:
        return ""
    outline = [scale.at(x, hi) for x, _, hi in ends]
    outline += [scale.at(x, lo) for x, lo, _ in reversed(ends)]
    points = " ".join(f"{x},{y}" for x, y in outline)
    return f'<polygon class="band {line.style}" data-row="{escape(line.group)}" points="{points}"/>'


def _line(line: Line, scale: _Scale, frame: Frame) -> str:
    places = [scale.at(x, y) for x, y, _, _ in line.points]
    path = "M" + "L".join(f"{x},{y}" for x, y in places)
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    text = (
        f'<g class="series {line.style}" data-row="{escape(line.group)}"><path d="{path}"{dash}/>'
    )
    if line.markers:
        for (px, py), (x, y, lo, hi) in zip(places, line.points, strict=True):
            tip = f"{line.name} · {frame.x_label} {x:g}: {minus(number(y))}"
            if lo is not None and hi is not None:
                tip += f" [{minus(number(lo, 3))}, {minus(number(hi, 3))}]"
            text += (
                f'<circle cx="{px}" cy="{py}" r="3.6" tabindex="0" role="img" '
                f'aria-label="{escape(tip)}" data-tip="{escape(tip)}"/>'
            )
    return text + "</g>"


def minus(text: str) -> str:
    """Replace hyphens by minus signs."""
    return text.replace("-", "−")
