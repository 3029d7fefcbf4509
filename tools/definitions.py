"""Draw and tabulate one set of predictions under each published definition.

    python tools/definitions.py docs/why-tables-do-not-compare.md

Writes the picture docs/images/definitions.png and the table between the page's marks. Everything
comes from one seed: simulated fields, seven predictions of them, float64.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import rsbench as rb
from rsbench.metrics import info

Array = NDArray[np.float64]
SEED, SCENES, SIDE, MARGIN = 7, 12, 96, 8
BEGIN, END = "<!-- table: tools/definitions.py -->", "<!-- end of table -->"

# Blue, green, red and near infrared of what grows and what does not.
SPECTRA = np.array([
    [0.03, 0.06, 0.04, 0.38], [0.04, 0.08, 0.06, 0.28], [0.06, 0.10, 0.13, 0.21],
    [0.10, 0.14, 0.18, 0.24], [0.03, 0.05, 0.04, 0.20], [0.13, 0.16, 0.19, 0.23],
])  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """One kind of error: name, colour, and the function of last year's and this year's field."""

    name: str
    colour: str
    make: Callable[[Array, Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Column:
    """One definition: its id, the name that papers print, and its source."""

    metric: str
    name: str
    whose: str


def smooth(x: Array, sigma: float) -> Array:
    """Gaussian blur by FFT; the wrapped border falls into the margin."""
    fy, fx = np.fft.fftfreq(x.shape[-2]), np.fft.fftfreq(x.shape[-1])
    response = np.exp(-2 * (math.pi * sigma) ** 2 * (fy[:, None] ** 2 + fx[None, :] ** 2))
    return np.asarray(np.fft.ifft2(np.fft.fft2(x) * response).real)


def flatter(x: Array, share: float) -> Array:
    """Scale the contrast around the mean of each band by this factor."""
    mean = x.mean((-1, -2), keepdims=True)
    return np.asarray(mean + share * (x - mean))


FORECASTS = (
    Forecast("copy of last year", "#4b5a67", lambda last, _now, _rng: last),
    Forecast("blurred, σ 1.2 px", "#2f7fd0", lambda _last, now, _rng: smooth(now, 1.2)),
    Forecast("sharp and noisy", "#ea7317",
             lambda _last, now, rng: now + 0.012 * rng.standard_normal(now.shape)),
    Forecast("one pixel off", "#14764a", lambda _last, now, _rng: np.roll(now, (1, 1), (-2, -1))),
    Forecast("a quarter too bright", "#7a35b0", lambda _last, now, _rng: 1.25 * now),
    Forecast("half the contrast", "#b58900", lambda _last, now, _rng: flatter(now, 0.5)),
    Forecast("infrared too dark", "#c2185b",
             lambda _last, now, _rng: now * np.array([1.0, 1.0, 1.0, 0.7])[:, None, None]),
)  # fmt: skip

COLUMNS = (
    Column("ssim@1", "SSIM", "rsbench"),
    Column("ssim.zero@1", "SSIM", "Sat-JEPA-\nDiff"),
    Column("ssim.openstl@1", "SSIM", "OpenSTL"),
    Column("gssim.sobel3@1", "GSSIM", "rsbench"),
    Column("gssim.sobel3-zero@1", "GSSIM", "Sat-JEPA-\nDiff tables"),
    Column("ssim.blur2@1", "GSSIM", "Sat-JEPA-\nDiff logs"),
    Column("ergas.gpstfdiff@1", "ERGAS", "GPSTFDiff"),
    Column("ergas.stfdiff@1", "ERGAS", "STFDiff"),
    Column("ergas.swinstfm@1", "ERGAS", "SwinSTFM"),
    Column("ergas.edcstfn@1", "ERGAS", "EDCSTFN"),
    Column("ergas.libstf@1", "ERGAS", "LibSTF"),
    Column("sam.gpstfdiff@1", "SAM", "GPSTFDiff"),
    Column("sam.swinstfm@1", "SAM", "SwinSTFM"),
    Column("sam.edcstfn@1", "SAM", "EDCSTFN"),
)


def scenes(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return fields of last year and this year, (n, 4, H, W) reflectance, with a margin."""
    size = SIDE + 2 * MARGIN
    y, x = np.mgrid[0:size, 0:size]
    years: tuple[list[Array], list[Array]] = ([], [])
    for _ in range(SCENES):
        centres = rng.random((45, 2)) * size
        distance = (y[..., None] - centres[:, 0]) ** 2 + (x[..., None] - centres[:, 1]) ** 2
        field = distance.argmin(-1)
        kind = rng.integers(0, len(SPECTRA), 45)
        changed = np.where(rng.random(45) < 0.15, rng.integers(0, len(SPECTRA), 45), kind)
        relief = smooth(rng.standard_normal((size, size)), 1.0)
        for found, kinds in zip(years, (kind, changed), strict=True):
            season = 1.0 + 0.05 * rng.standard_normal((45, 1))
            texture = smooth(rng.standard_normal((size, size)), 0.7)
            shade = 1.0 + 0.5 * relief + 0.12 * texture
            found.append(np.moveaxis((SPECTRA[kinds] * season)[field], -1, 0) * shade)
    last, now = (np.stack(part).clip(0.005, 0.6) for part in years)
    return last, now


def score(last: Array, now: Array) -> dict[str, Array]:
    """Return the mean over scenes of every definition and forecast: {metric: (forecasts,)}."""
    ids = [column.metric for column in COLUMNS]
    truth = _tensor(now)
    found: dict[str, list[float]] = {metric: [] for metric in ids}
    for place, forecast in enumerate(FORECASTS):
        made = forecast.make(last, now, np.random.default_rng(SEED + place))
        values = rb.metrics.compute(ids, _tensor(made), truth, data_range=1.0)
        for metric in ids:
            found[metric].append(float(values[metric].mean()))
    return {metric: np.array(values) for metric, values in found.items()}


def _tensor(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x[..., MARGIN:-MARGIN, MARGIN:-MARGIN]))


def turned(metric: str, values: Array) -> Array:
    """Return values with the best one lowest; values that differ only by rounding are equal."""
    return np.round(-values if info(metric).direction == "higher" else values, 6)


def ranks(metric: str, values: Array) -> NDArray[np.int64]:
    """Return ranks, 1 for the best forecast; equal values in the order of the list."""
    return np.argsort(np.argsort(turned(metric, values), kind="stable"), kind="stable") + 1


def shared(metric: str, values: Array) -> list[int]:
    """Return ranks, 1 for the best forecast; equal values share the better rank."""
    own = turned(metric, values)
    return [1 + int((own < one).sum()) for one in own]


# --------------------------------------------------------------------------------- the table


def text(value: float) -> str:
    """Return a value with three digits."""
    places = max(0, 2 - math.floor(math.log10(abs(value)))) if abs(value) >= 0.0005 else 3
    return f"{value:.{min(places, 3)}f}"


def table(values: dict[str, Array]) -> str:
    """Return the page's table: value and rank of every forecast under every definition."""
    head = "| printed as | definition | " + " | ".join(f.name for f in FORECASTS) + " |"
    lines = [BEGIN, head, "|---|---|" + "---:|" * len(FORECASTS)]
    for column in COLUMNS:
        cells = [
            f"{text(value)} ({rank})"
            for value, rank in zip(
                values[column.metric], shared(column.metric, values[column.metric]), strict=True
            )
        ]
        lines.append(f"| {column.name} | `{column.metric}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, END])


def renew(page: str, values: dict[str, Array]) -> str:
    """Return the page with an updated table."""
    before, rest = page.split(BEGIN, 1)
    return before + table(values) + rest.split(END, 1)[1]


# --------------------------------------------- the picture: coordinates are its own pixels

WIDTH, HEIGHT, DPI = 1600, 850, 100
TOP, ROW, LEFT, STEP, GAP = 250, 80, 276, 76, 26
INK, SOFT, PAPER = "#1d2733", "#66717e", "#ffffff"


def places() -> list[float]:
    """Return the centres of the columns; groups of one printed name are separated."""
    found, x = [], float(LEFT)
    for i, column in enumerate(COLUMNS):
        if i:
            x += STEP + (GAP if column.name != COLUMNS[i - 1].name else 0)
        found.append(x)
    return found


def draw(values: dict[str, Array], out: Path) -> None:
    """Write the picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["font.family"] = "DejaVu Sans"
    figure = plt.figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")
    axes.text(40, 48, "One set of predictions, four printed names, fourteen definitions",
              fontsize=23, fontweight="bold", color=INK, va="center")  # fmt: skip
    axes.text(40, 90, "Seven ways to be wrong, ranked by what public code computes under the name "
              "that papers print; the best stands on top.",
              fontsize=13, color=SOFT, va="center")  # fmt: skip
    _headers(axes)
    order = np.stack([ranks(c.metric, values[c.metric]) for c in COLUMNS], axis=1)
    for i, forecast in enumerate(FORECASTS):
        _line(axes, forecast, order[i], [float(values[c.metric][i]) for c in COLUMNS])
    axes.text(
        40, HEIGHT - 28,
        f"Simulated fields: means over {SCENES} scenes of {SIDE} × {SIDE} px, four bands, "
        "reflectance, data range 1. What differs is the definition alone.",
        fontsize=10.5, color=SOFT, va="center",
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    plt.close(figure)


def _headers(axes: Any) -> None:
    groups: dict[str, list[float]] = {}
    for x, column in zip(places(), COLUMNS, strict=True):
        groups.setdefault(column.name, []).append(x)
        axes.text(x, 186, column.whose, fontsize=9, color=SOFT, ha="center", va="center",
                  linespacing=1.2)  # fmt: skip
    for name, own in groups.items():
        left, right = min(own) - STEP / 2, max(own) + STEP / 2
        axes.text((left + right) / 2, 138, name, fontsize=15, fontweight="bold", color=INK,
                  ha="center", va="center")  # fmt: skip
        axes.plot([left, right], [158, 158], color=INK, lw=1.6, solid_capstyle="butt")
        axes.fill_between([left, right], 166, HEIGHT - 62, color="#f4f6f8", lw=0, zorder=0)


def _y(rank: float) -> float:
    return TOP + (rank - 1) * ROW


def _line(axes: Any, forecast: Forecast, own: NDArray[np.int64], values: Sequence[float]) -> None:
    centres, t = places(), np.linspace(0, 1, 60)
    ease = t * t * (3 - 2 * t)
    for i in range(len(COLUMNS) - 1):
        x = centres[i] + (centres[i + 1] - centres[i]) * t
        y = _y(float(own[i])) + (own[i + 1] - own[i]) * ROW * ease
        axes.plot(x, y, color=PAPER, lw=7.5, solid_capstyle="butt", zorder=2)
        axes.plot(x, y, color=forecast.colour, lw=4.5, solid_capstyle="butt", zorder=2)
    for x, rank, value in zip(centres, own, values, strict=True):
        axes.text(
            x, _y(float(rank)), text(value), fontsize=10, fontweight="bold", ha="center",
            va="center", color=PAPER, zorder=6,
            bbox={"boxstyle": "round,pad=0.38,rounding_size=0.8", "fc": forecast.colour,
                  "ec": PAPER, "lw": 1.8},
        )  # fmt: skip
    y = _y(float(own[0]))
    axes.plot([LEFT - 78, LEFT], [y, y], color=forecast.colour, lw=4.5, zorder=1)
    axes.text(LEFT - 84, y, forecast.name, fontsize=12, va="center", ha="right", color=INK)
    end = centres[-1]
    axes.text(end + 48, _y(float(own[-1])), forecast.name, fontsize=12, va="center", color=INK)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, draw and tabulate; return exit code 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", type=Path, help="the page that holds the table")
    options = parser.parse_args(arguments)
    values = score(*scenes(np.random.default_rng(SEED)))
    out = options.page.parent / "images" / "definitions.png"
    draw(values, out)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(renew(page, values), encoding="utf-8")
    sys.stdout.write(f"{out}, and the table of {options.page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
