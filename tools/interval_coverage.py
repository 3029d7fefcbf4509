"""Measure the coverage of 95 % intervals, and the smallest effects that regions detect.

    python tools/interval_coverage.py [--out results/coverage] [--replications 4000]

Draws region means from known distributions, makes each interval, and counts. Writes OUT.json and
OUT.md; one seed, numpy only. Takes some minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rsbench.evaluation.block_intervals import windows
from rsbench.evaluation.intervals import student_t_quantile

Array = NDArray[np.float64]
SEED = 20
REGIONS = (8, 15, 40, 100)
RESAMPLES = 599
CHUNK = 50


@dataclass(frozen=True)
class Law:
    """A distribution of region means with mean ``mean``; ``says`` describes it."""

    name: str
    says: str
    mean: float
    draw: Callable[[np.random.Generator, tuple[int, int]], Array]


def _lognormal(sigma: float) -> Callable[[np.random.Generator, tuple[int, int]], Array]:
    return lambda rng, shape: rng.lognormal(0.0, sigma, shape)


def _difference(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Errors of two models on the same regions: a common level times two small factors."""
    level = rng.lognormal(0.0, 0.8, shape)
    return np.asarray(level * (rng.lognormal(0.0, 0.15, shape) - rng.lognormal(0.0, 0.15, shape)))


def _neighbours(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Blocks in four lines, whose correlation halves with every step between them."""
    place = np.stack(np.divmod(np.arange(shape[1]), 4), axis=1).astype(float)
    apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
    root = np.linalg.cholesky(0.5**apart)
    return np.asarray(rng.normal(size=shape) @ root.T)


LAWS = (
    Law("normal", "region means without skew", 0.0, lambda rng, shape: rng.normal(size=shape)),
    Law("difference", "paired differences of two models", 0.0, _difference),
    Law("skill", "skill, 1 − ratio of errors", 1.0 - math.exp(0.5 * 0.4**2),
        lambda rng, shape: 1.0 - rng.lognormal(0.0, 0.4, shape)),
    Law("lognormal 0.5", "errors of unlike regions", math.exp(0.125), _lognormal(0.5)),
    Law("lognormal 1", "errors with a few very hard regions", math.exp(0.5), _lognormal(1.0)),
    Law("rare", "nine regions of ten near zero, one at 1: rare events", 0.1,
        lambda rng, shape: (rng.random(shape) < 0.1) + 0.02 * rng.normal(size=shape)),
    Law("one scene", "neighbouring blocks of one scene, for the mean of scenes like it", 0.0,
        _neighbours),
)  # fmt: skip

Ends = tuple[Array, Array]
Method = Callable[[Array, np.random.Generator], Ends]


def _summary(x: Array) -> tuple[Array, Array]:
    return x.mean(1), x.std(1, ddof=1)


def t(x: Array, _rng: np.random.Generator) -> Ends:
    """Student's t: mean ± t · s / √n."""
    mean, s = _summary(x)
    half = student_t_quantile(0.975, x.shape[1] - 1) * s / math.sqrt(x.shape[1])
    return mean - half, mean + half


def skewed(x: Array, _rng: np.random.Generator) -> Ends:
    """Student's t with Hall's cubic correction for skewness, as in `evaluation.intervals`."""
    n = x.shape[1]
    mean, s = _summary(x)
    centred = x - mean[:, None]
    second = (centred**2).mean(1)
    skew = (centred**3).mean(1) / np.where(second > 0, second, 1.0) ** 1.5
    skew = np.where(np.abs(skew) < 1e-8, 1e-8, skew)

    def turned(q: float) -> Array:
        inner = 1.0 + skew * (q / math.sqrt(n) - skew / (6.0 * n))
        return np.asarray(3.0 * math.sqrt(n) / skew * (np.cbrt(inner) - 1.0))

    q = student_t_quantile(0.975, n - 1)
    return mean - s / math.sqrt(n) * turned(q), mean - s / math.sqrt(n) * turned(-q)


def _resampled(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Means and deviations of resamples, (replications, resamples) each."""
    count, n = x.shape
    means, deviations = (np.empty((count, RESAMPLES)) for _ in range(2))
    for first in range(0, count, CHUNK):
        part = x[first : first + CHUNK]
        pick = rng.integers(0, n, (len(part), RESAMPLES, n))
        drawn = np.take_along_axis(part[:, None, :], pick, axis=2)
        means[first : first + CHUNK] = drawn.mean(2)
        deviations[first : first + CHUNK] = drawn.std(2, ddof=1)
    return means, deviations


def studentised(x: Array, rng: np.random.Generator) -> Ends:
    """Bootstrap of (mean* − mean) / s*; a resample without spread counts as infinite."""
    n = x.shape[1]
    mean, s = _summary(x)
    means, deviations = _resampled(x, rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        pivot = (means - mean[:, None]) / deviations
    pivot = np.where(np.isnan(pivot), 0.0, pivot) * math.sqrt(n)
    low, high = np.quantile(pivot, [0.025, 0.975], axis=1, method="inverted_cdf")
    return mean - high * s / math.sqrt(n), mean - low * s / math.sqrt(n)


def percentile(x: Array, rng: np.random.Generator) -> Ends:
    """Quantiles of resampled means."""
    means, _ = _resampled(x, rng)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def bca(x: Array, rng: np.random.Generator) -> Ends:
    """Bias-corrected and accelerated quantiles (Efron 1987, doi 10.1080/01621459.1987.10478410)."""
    normal = NormalDist()
    mean = x.mean(1)
    means, _ = _resampled(x, rng)
    below = ((means < mean[:, None]).mean(1) + 0.5 * (means == mean[:, None]).mean(1)).clip(
        0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES
    )
    bias = np.array([normal.inv_cdf(float(p)) for p in below])
    centred = mean[:, None] - x
    spread = (centred**2).sum(1)
    speed = (centred**3).sum(1) / (6.0 * np.where(spread > 0, spread, 1.0) ** 1.5)
    means.sort(1)
    found = []
    for z in (normal.inv_cdf(0.025), normal.inv_cdf(0.975)):
        moved = bias + (bias + z) / (1.0 - speed * (bias + z))
        share = np.array([normal.cdf(float(v)) for v in moved])
        place = (share * (RESAMPLES - 1)).round().astype(int)
        found.append(means[np.arange(len(x)), place])
    return found[0], found[1]


def blocked(x: Array, _rng: np.random.Generator) -> Ends:
    """The moving-block interval of `rsbench.evaluation.intervals.blocks`, regions in four lines."""
    n = x.shape[1]
    spots = tuple((i // 4, i % 4) for i in range(n))
    parts = windows(spots)
    means = np.stack([x[:, part].mean(1) for part in parts], axis=1)
    mean, fitting = x.mean(1), n / len(parts[0])
    error = np.sqrt(((means - mean[:, None]) ** 2).mean(1) / (fitting - 1.0))
    half = student_t_quantile(0.975, max(1, math.floor(fitting - 1.0))) * error
    return mean - half, mean + half


METHODS: Mapping[str, Method] = {
    "t": t, "skew-t": skewed, "block-t": blocked, "studentised": studentised, "bca": bca,
    "percentile": percentile,
}  # fmt: skip


SHIPPED = {
    "t": "t, shipped for differences and skill",
    "skew-t": "skew-t, shipped for means",
    "block-t": "block-t, shipped for blocks of one scene",
}


@dataclass(frozen=True)
class Cell:
    """Counts of one study: how often an interval missed on either side, and its mean width.

    ``width`` is the median width over that of the interval that knew the deviation.
    """

    law: str
    n: int
    method: str
    coverage: float
    below: float
    above: float
    width: float


def measure(
    law: Law, n: int, methods: Sequence[str], replications: int, seed: int = SEED
) -> list[Cell]:
    """Draw, make intervals, count. ``below``: the whole interval lies below the truth."""
    place = [known.name for known in LAWS].index(law.name)
    x = law.draw(np.random.default_rng((seed, place, n)), (replications, n))
    deviation = law.draw(np.random.default_rng((seed, place, 0)), (200, 2000)).std()
    known = 2 * NormalDist().inv_cdf(0.975) * deviation / math.sqrt(n)
    cells = []
    for name in methods:
        low, high = METHODS[name](x, np.random.default_rng((seed, place, n, 1)))
        below, above = float((high < law.mean).mean()), float((low > law.mean).mean())
        width = float(np.median(high - low) / known)
        cells.append(Cell(law.name, n, name, 1.0 - below - above, below, above, width))
    return cells


def power(n: int, effect: float, replications: int, seed: int = SEED) -> float:
    """Share of samples of n whose t interval excludes 0 where the mean is ``effect`` deviations."""
    x = np.random.default_rng((seed, n)).normal(effect, 1.0, (replications, n))
    low, high = t(x, np.random.default_rng(0))
    return float(((low > 0) | (high < 0)).mean())


def detectable(n: int, wanted: float = 0.8, replications: int = 20_000) -> float:
    """Return the effect, in standard deviations, that n regions detect with this probability."""
    low, high = 0.0, 4.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if power(n, middle, replications) < wanted else (low, middle)
    return round(high, 2)


def tables(cells: Sequence[Cell], effects: Mapping[int, float], replications: int) -> str:
    """Return the results as a page."""
    found = {(c.law, c.n, c.method): c for c in cells}
    names = list(dict.fromkeys(c.method for c in cells))
    error = 100 * 1.96 * math.sqrt(0.05 * 0.95 / replications)
    heads = [SHIPPED.get(name, name) for name in names]
    lines = [
        "# Coverage of 95 % intervals", "",
        f"Made by `python tools/interval_coverage.py`: {replications} samples per cell, so a "
        f"number below has an error of ±{error:.1f} points. See "
        "[docs/intervals.md](../docs/intervals.md).", "",
    ]  # fmt: skip
    for law in LAWS:
        rows = [n for n in REGIONS if (law.name, n, names[0]) in found]
        if not rows:
            continue
        lines += [f"## {law.name}: {law.says}", ""]
        lines += ["| regions | " + " | ".join(heads) + " |", "|---:|" + "---|" * len(names)]
        for n in rows:
            texts = []
            for name in names:
                c = found[(law.name, n, name)]
                sides = f"{100 * c.below:.1f} / {100 * c.above:.1f}"
                texts.append(f"**{100 * c.coverage:.1f}** ({sides}) × {c.width:.2f}")
            lines.append(f"| {n} | " + " | ".join(texts) + " |")
        lines.append("")
    lines += [
        "Coverage in %; in brackets how often the whole interval lay below and above the truth; × "
        "the median width over that of an interval that knows the deviation.", "",
        "## What regions can tell apart", "",
        "| regions | smallest effect found in 8 of 10 studies, in deviations of the differences |",
        "|---:|---:|",
        *[f"| {n} | {effect:.2f} |" for n, effect in effects.items()], "",
    ]  # fmt: skip
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/coverage"))
    parser.add_argument("--replications", type=int, default=4000)
    options = parser.parse_args(arguments)
    cells = []
    for law in LAWS:
        for n in REGIONS:
            cells += measure(law, n, tuple(METHODS), options.replications)
            sys.stderr.write(f"{law.name}, {n} regions\n")
    effects = {n: detectable(n) for n in REGIONS}
    value = {
        "seed": SEED, "replications": options.replications, "resamples": RESAMPLES,
        "cells": [asdict(cell) for cell in cells],
        "detectable": {str(n): effect for n, effect in effects.items()},
    }  # fmt: skip
    text = json.dumps(value, indent=1) + "\n"
    options.out.with_suffix(".json").write_text(text, encoding="utf-8")
    page = tables(cells, effects, options.replications)
    options.out.with_suffix(".md").write_text(page, encoding="utf-8")
    sys.stdout.write(f"{options.out}.json, {options.out}.md\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
