"""Measure the coverage of 95 % intervals, and the smallest effects that regions detect.

    python tools/interval_coverage.py [--out results/coverage] [--replications 4000]

Draws region means from known distributions, makes each interval, and counts: how often it holds the
true mean, leaves the range of the metric, and how far it reaches. Writes OUT.json and OUT.md; one
seed, numpy only. Takes about two minutes on one core.
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
from rsbench.evaluation.intervals import ANYWHERE, MOST_DEVIATIONS, REACH, Range
from rsbench.evaluation.student_t import student_t_quantile

Array = NDArray[np.float64]
SEED = 20
REGIONS = (8, 9, 15, 40, 100)
RESAMPLES = 599
CHUNK = 250


@dataclass(frozen=True)
class Law:
    """A distribution of region means with mean ``mean``, inside ``bounds``."""

    name: str
    says: str
    mean: float
    draw: Callable[[np.random.Generator, tuple[int, int]], Array]
    bounds: Range = ANYWHERE


def _lognormal(sigma: float) -> Callable[[np.random.Generator, tuple[int, int]], Array]:
    return lambda rng, shape: rng.lognormal(0.0, sigma, shape)


def _difference(sigma: float) -> Callable[[np.random.Generator, tuple[int, int]], Array]:
    """Errors of two models on the same regions: a common level times two small factors."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        level = rng.lognormal(0.0, sigma, shape)
        pair = (rng.lognormal(0.0, 0.15, shape) for _ in range(2))
        return np.asarray(level * (next(pair) - next(pair)))

    return draw


def _neighbours(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Blocks in four lines, whose correlation halves with every step between them."""
    place = np.stack(np.divmod(np.arange(shape[1]), 4), axis=1).astype(float)
    apart = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1))
    root = np.linalg.cholesky(0.5**apart)
    return np.asarray(rng.normal(size=shape) @ root.T)


def _beta(a: float, b: float, name: str, says: str, bounds: Range, low: float = 0.0,
          high: float = 1.0) -> Law:  # fmt: skip
    """A beta distribution on [low, high] of a metric whose range is ``bounds``."""
    mean = low + (high - low) * a / (a + b)
    return Law(name, says, mean, lambda rng, n: low + (high - low) * rng.beta(a, b, n), bounds)


POSITIVE, SCORE, SKILL = (0.0, math.inf), (-1.0, 1.0), (-math.inf, 1.0)
LAWS = (
    Law("normal", "region means without skew", 0.0, lambda rng, shape: rng.normal(size=shape)),
    Law("difference", "paired differences of two models, errors of the regions very unlike", 0.0,
        _difference(0.8)),
    Law("skill", "skill, 1 − ratio of errors", 1.0 - math.exp(0.5 * 0.4**2),
        lambda rng, shape: 1.0 - rng.lognormal(0.0, 0.4, shape), SKILL),
    Law("lognormal 0.5", "errors of unlike regions", math.exp(0.125), _lognormal(0.5), POSITIVE),
    Law("lognormal 1", "errors with a few very hard regions", math.exp(0.5), _lognormal(1.0),
        POSITIVE),
    Law("rare", "nine regions of ten near zero, one at 1: rare events", 0.1,
        lambda rng, shape: (rng.random(shape) < 0.1) + 0.02 * rng.normal(size=shape)),
    Law("one scene", "neighbouring blocks of one scene, for the mean of scenes like it", 0.0,
        _neighbours),
    Law("high skill", "skill near 0.6 with a few hard regions", 1.0 - 0.3 * math.exp(0.5 * 0.8**2),
        lambda rng, shape: 1.0 - 0.3 * rng.lognormal(0.0, 0.8, shape), SKILL),
    Law("ERGAS", "a positive ratio with a long upper tail, gamma of shape 2", 20.0,
        lambda rng, shape: rng.gamma(2.0, 10.0, shape), POSITIVE),
    _beta(5.0, 1.2, "ERGAS, easy regions", "a positive ratio with a few low regions", POSITIVE,
          high=25.0),
    Law("LPIPS", "a positive distance, gamma of shape 4", 0.4,
        lambda rng, shape: rng.gamma(4.0, 0.1, shape), POSITIVE),
    _beta(10.0, 1.75, "correlation", "correlation near 0.7", SCORE, low=-1.0),
    _beta(6.0, 0.3, "high correlation", "correlation near 0.9, most regions above 0.95", SCORE,
          low=-1.0),
    _beta(8.0, 2.0, "SSIM", "similarity near 0.8", SCORE),
    _beta(0.5, 2.0, "share", "a share of pixels, in many regions near 0", (0.0, 1.0)),
    Law("difference 0.5", "paired differences of two models, errors of the regions unlike", 0.0,
        _difference(0.5)),
)  # fmt: skip

Ends = tuple[Array, Array]
Method = Callable[[Array, Range, np.random.Generator], Ends]


def _summary(x: Array) -> tuple[Array, Array, Array]:
    """Return mean, deviation and half width of Student's t."""
    n = x.shape[1]
    s = x.std(1, ddof=1)
    return x.mean(1), s, student_t_quantile(0.975, n - 1) * s / math.sqrt(n)


def t(x: Array, _bounds: Range, _rng: np.random.Generator) -> Ends:
    """Student's t: mean ± t · s / √n."""
    mean, _, half = _summary(x)
    return mean - half, mean + half


def _hall(x: Array, bend: Array | float = 0.0) -> Ends:
    """Return how far below and above the ends lie, in standard errors; Hall's cubic correction.

    ``bend`` is −s · g″/g′ of a transform g of the mean, which is a part of the skewness of the
    pivot of g.
    """
    n = x.shape[1]
    centred = x - x.mean(1, keepdims=True)
    second = (centred**2).mean(1)
    skew = (centred**3).mean(1) / np.where(second > 0, second, 1.0) ** 1.5
    skew *= math.sqrt(n * (n - 1)) / (n - 2)
    rate = skew - 1.5 * bend
    rate = np.where(np.abs(rate) < 1e-8, 1e-8, rate)

    def turned(q: float) -> Array:
        inner = 1.0 + rate * (q / math.sqrt(n) - skew / (6.0 * n))
        return np.asarray(3.0 * math.sqrt(n) / rate * (np.cbrt(inner) - 1.0))

    q = student_t_quantile(0.975, n - 1)
    return turned(q), -turned(-q)


def skewed(x: Array, _bounds: Range, _rng: np.random.Generator) -> Ends:
    """Student's t with Hall's cubic correction for skewness, without limits."""
    mean, s, _ = _summary(x)
    below, above = _hall(x)
    return mean - s / math.sqrt(x.shape[1]) * below, mean + s / math.sqrt(x.shape[1]) * above


def bounded(x: Array, bounds: Range, rng: np.random.Generator) -> Ends:
    """The interval of means of `rsbench.evaluation.intervals`: limited reach, cut at the bounds."""
    mean, _, half = _summary(x)
    low, high = skewed(x, bounds, rng)
    low = np.maximum(np.maximum(low, mean - REACH * half), bounds[0])
    return low, np.minimum(np.minimum(high, mean + REACH * half), bounds[1])


Transform = tuple[Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array],
                  Callable[[Array], Array]]  # fmt: skip


def _transform(bounds: Range) -> Transform:
    """Return g, its inverse, g′ and −g″/g′: log, logit (Fisher's z of a correlation) or none."""
    low, high = bounds
    if math.isfinite(low) and math.isfinite(high):
        return (
            lambda m: np.log((m - low) / (high - m)),
            lambda y: low + (high - low) / (1.0 + np.exp(-y)),
            lambda m: (high - low) / ((m - low) * (high - m)),
            lambda m: 1.0 / (m - low) - 1.0 / (high - m),
        )
    if math.isfinite(low) or math.isfinite(high):
        end, sign = (low, 1.0) if math.isfinite(low) else (high, -1.0)
        return (
            lambda m: sign * np.log(sign * (m - end)), lambda y: end + sign * np.exp(sign * y),
            lambda m: sign / (m - end), lambda m: 1.0 / (m - end),
        )  # fmt: skip
    return lambda m: m, lambda y: y, np.ones_like, np.zeros_like


def _through(x: Array, bounds: Range, *, corrected: bool) -> Ends:
    """Ends of the transformed mean (delta method), transformed back."""
    forward, back, slope, bend = _transform(bounds)
    mean, s, _ = _summary(x)
    error = slope(mean) * s / math.sqrt(x.shape[1])
    q = student_t_quantile(0.975, x.shape[1] - 1)
    below, above = _hall(x, s * bend(mean)) if corrected else (q, q)
    return back(forward(mean) - error * below), back(forward(mean) + error * above)


def transformed(x: Array, bounds: Range, _rng: np.random.Generator) -> Ends:
    """Student's t of the log or logit of the mean."""
    return _through(x, bounds, corrected=False)


def transformed_skewed(x: Array, bounds: Range, _rng: np.random.Generator) -> Ends:
    """The same with Hall's correction for the skewness that the transform leaves."""
    return _through(x, bounds, corrected=True)


def _resampled(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Means and deviations of resamples, (replications, resamples) each.

    Samples of one chunk share their resampling weights.
    """
    count, n = x.shape
    centre = x.mean(1, keepdims=True)
    parts = []
    for first in range(0, count, CHUNK):
        part = x[first : first + CHUNK] - centre[first : first + CHUNK]
        weights = rng.multinomial(n, np.full(n, 1.0 / n), RESAMPLES).T / n
        mean = part @ weights
        parts.append((mean, np.sqrt(((part**2) @ weights - mean**2).clip(0.0) * n / (n - 1))))
    means, deviations = (np.concatenate(side) for side in zip(*parts, strict=True))
    return means + centre, deviations


def studentised(x: Array, _bounds: Range, rng: np.random.Generator) -> Ends:
    """Bootstrap of (mean* − mean) / s*; a resample without spread counts as infinite."""
    n = x.shape[1]
    mean, s, _ = _summary(x)
    means, deviations = _resampled(x, rng)
    deviations[deviations < 1e-7 * s[:, None]] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        pivot = (means - mean[:, None]) / deviations
    pivot = np.where(np.isnan(pivot), 0.0, pivot) * math.sqrt(n)
    low, high = np.quantile(pivot, [0.025, 0.975], axis=1, method="inverted_cdf")
    return mean - high * s / math.sqrt(n), mean - low * s / math.sqrt(n)


def percentile(x: Array, _bounds: Range, rng: np.random.Generator) -> Ends:
    """Quantiles of resampled means."""
    low, high = np.quantile(_resampled(x, rng)[0], [0.025, 0.975], axis=1)
    return low, high


def bca(x: Array, _bounds: Range, rng: np.random.Generator) -> Ends:
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


def blocked(x: Array, bounds: Range, _rng: np.random.Generator) -> Ends:
    """The moving-block interval of `rsbench.evaluation.intervals.blocks`, regions in four lines."""
    n = x.shape[1]
    spots = tuple((i // 4, i % 4) for i in range(n))
    parts = windows(spots)
    means = np.stack([x[:, part].mean(1) for part in parts], axis=1)
    (mean, s, _), fitting = _summary(x), n / len(parts[0])
    error = np.sqrt(((means - mean[:, None]) ** 2).mean(1) / (fitting - 1.0))
    half = student_t_quantile(0.975, max(1, math.floor(fitting - 1.0))) * error
    half = np.minimum(half, MOST_DEVIATIONS * s)
    return np.maximum(mean - half, bounds[0]), np.minimum(mean + half, bounds[1])


METHODS: Mapping[str, Method] = {
    "t": t, "bounded-skew-t": bounded, "skew-t": skewed, "transformed t": transformed,
    "transformed skew-t": transformed_skewed, "block-t": blocked, "studentised": studentised,
    "bca": bca, "percentile": percentile,
}  # fmt: skip


SHIPPED = {
    "t": "t, shipped for differences",
    "bounded-skew-t": "bounded-skew-t, shipped for means and skill",
    "block-t": "block-t, shipped for blocks of one scene",
}


@dataclass(frozen=True)
class Cell:
    """Counts of one study: how often an interval missed on either side, and its width.

    Args:
        width: median width over that of the interval that knows the deviation.
        outside: share of the intervals with an end out of range.
        reach: largest distance of an end from the mean, in deviations of the sample.
    """

    law: str
    n: int
    method: str
    coverage: float
    below: float
    above: float
    width: float
    outside: float
    reach: float


def measure(
    law: Law, n: int, methods: Sequence[str], replications: int, seed: int = SEED
) -> list[Cell]:
    """Draw, make intervals, count. ``below``: the whole interval lies below the truth."""
    place = [known.name for known in LAWS].index(law.name)
    x = law.draw(np.random.default_rng((seed, place, n)), (replications, n))
    deviation = law.draw(np.random.default_rng((seed, place, 0)), (200, 2000)).std()
    known = 2 * NormalDist().inv_cdf(0.975) * deviation / math.sqrt(n)
    low_end, high_end = (
        edge + slack for edge, slack in zip(law.bounds, (-1e-12, 1e-12), strict=True)
    )
    mean, s, _ = _summary(x)
    cells = []
    for name in methods:
        low, high = METHODS[name](x, law.bounds, np.random.default_rng((seed, place, n, 1)))
        below, above = float((high < law.mean).mean()), float((low > law.mean).mean())
        cells.append(Cell(
            law.name, n, name, 1.0 - below - above, below, above,
            width=float(np.median(high - low) / known),
            outside=float(((low < low_end) | (high > high_end)).mean()),
            reach=float((np.maximum(mean - low, high - mean) / s).max()),
        ))  # fmt: skip
    return cells


def power(n: int, effect: float, replications: int, seed: int = SEED) -> float:
    """Share of samples of n whose t interval excludes 0 where the mean is ``effect`` deviations."""
    x = np.random.default_rng((seed, n)).normal(effect, 1.0, (replications, n))
    low, high = t(x, ANYWHERE, np.random.default_rng(0))
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
                out = f", {100 * c.outside:.1f} out" if c.outside >= 0.0005 else ""
                texts.append(f"**{100 * c.coverage:.1f}** ({sides}{out}) × {c.width:.2f}")
            lines.append(f"| {n} | " + " | ".join(texts) + " |")
        lines.append("")
    lines += [
        "Coverage in %; in brackets how often the whole interval lay below and above the truth, "
        "and how often an end lay out of the metric's range; × the median width over that of an "
        "interval that knows the deviation.", "",
        *_reach_table(cells, names),
        "## What regions can tell apart", "",
        "| regions | smallest effect found in 8 of 10 studies, in deviations of the differences |",
        "|---:|---:|",
        *[f"| {n} | {effect:.2f} |" for n, effect in effects.items()], "",
    ]  # fmt: skip
    return "\n".join(lines)


def _reach_table(cells: Sequence[Cell], names: Sequence[str]) -> list[str]:
    """Return how far any end of all distributions reaches."""
    heads = [SHIPPED.get(name, name) for name in names]
    lines = [
        "## Largest distance of an end from the mean, in standard deviations of the sample",
        "",
    ]
    lines += ["| regions | " + " | ".join(heads) + " |", "|---:|" + "---:|" * len(names)]
    for n in dict.fromkeys(cell.n for cell in cells):
        most = [max(c.reach for c in cells if (c.n, c.method) == (n, name)) for name in names]
        shown = [f"{reach:.1f}" if math.isfinite(reach) else "no bound" for reach in most]
        lines.append(f"| {n} | " + " | ".join(shown) + " |")
    return [*lines, ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("results/coverage"))
    parser.add_argument("--replications", type=int, default=10_000)
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
