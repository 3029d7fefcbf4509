"""Which value is better, and by how much. The unit of inference is a region, never a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from rsbench.errors import InputError
from rsbench.metrics.base import Direction, MetricInfo, metric_info

LEVEL = 0.95
MIN_REGIONS = 8
"""Fewer regions than this give no interval: the t quantile then leans on normality alone."""

NONE = "none"
ONE_SCENE = "-one-scene"
"""Ends the name of an interval over blocks of one scene: it is conditional on that scene."""


class Interval(NamedTuple):
    """A two-sided interval and the name of the method that made it."""

    lo: float
    hi: float
    name: str


@dataclass(frozen=True)
class Paired:
    """Mean difference ``a − b`` over the regions that both have.

    Args:
        mean: mean of the differences.
        interval: absent below ``MIN_REGIONS`` regions.
        differences: per region, in name order.
    """

    mean: float
    interval: Interval | None
    differences: Mapping[str, float]

    @property
    def n_regions(self) -> int:
        """How many regions both sides have."""
        return len(self.differences)


def student_t_cdf(t: float, df: int) -> float:
    """Return P(T ≤ t) for a whole number of degrees of freedom.

    The finite series of Abramowitz & Stegun (1964), 26.7.3 and 26.7.4, is exact for whole ``df``.
    """
    if df < 1:
        raise InputError("Student t", f"{df} degrees of freedom", "At least 1 is needed")
    theta = math.atan2(t, math.sqrt(df))
    cos2 = math.cos(theta) ** 2
    odd = df % 2 == 1
    term = math.cos(theta) if odd else 1.0
    total = term if df > 1 or not odd else 0.0
    for k in range(3 if odd else 2, df - 1, 2):
        term *= cos2 * (k - 1) / k
        total += term
    inside = math.sin(theta) * total
    both = 2.0 / math.pi * (theta + inside) if odd else inside
    return 0.5 * (1.0 + both)


@lru_cache(maxsize=4096)
def student_t_quantile(p: float, df: int) -> float:
    """Return ``t`` with P(T ≤ t) = p, for whole ``df``, to 1e-12 relative."""
    if not 0.0 < p < 1.0:
        raise InputError("Student t", f"probability {p}", "It must lie between 0 and 1")
    if p < 0.5:
        return -student_t_quantile(1.0 - p, df)
    if df > 20_000:  # the two agree to 1e-4 relative here, and the series would be long
        return NormalDist().inv_cdf(p)
    low, high = 0.0, 2.0
    while student_t_cdf(high, df) < p:
        low, high = high, 2.0 * high
    while high - low > 1e-13 * max(high, 1.0):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (middle, high) if student_t_cdf(middle, df) < p else (low, middle)
    return 0.5 * (low + high)


def half_width(deviation: float, n: int, *, level: float = LEVEL) -> float:
    """Return the half width of the t interval of a mean of ``n`` values with this deviation."""
    return student_t_quantile(0.5 + 0.5 * level, n - 1) * deviation / math.sqrt(n)


def method(level: float = LEVEL, *, paired: bool = False) -> str:
    """Name the interval, e.g. ``t95`` or ``paired-t95``."""
    return f"{'paired-' if paired else ''}t{level * 100:.10g}"


def interval(
    region_means: Sequence[float], *, level: float = LEVEL, paired: bool = False
) -> Interval | None:
    """Return the t interval of the mean over regions; ``None`` below ``MIN_REGIONS``.

    Args:
        region_means: one finite number per region.
        level: nominal coverage.
        paired: only names the interval: the numbers are differences or ratios within regions.
    """
    n = len(region_means)
    if any(not math.isfinite(v) for v in region_means):
        raise InputError("an interval", "a region mean is not finite", "Leave absent regions out")
    if n < MIN_REGIONS:
        return None
    mean = math.fsum(region_means) / n
    variance = math.fsum((v - mean) ** 2 for v in region_means) / (n - 1)
    half = half_width(math.sqrt(variance), n, level=level)
    return Interval(mean - half, mean + half, method(level, paired=paired))


def paired(
    a: Mapping[str, float], b: Mapping[str, float], *, level: float = LEVEL
) -> Paired | None:
    """Compare two sets of region means on the regions both have; ``None`` if there is none."""
    both = sorted(set(a) & set(b))
    if not both:
        return None
    differences = {name: a[name] - b[name] for name in both}
    values = list(differences.values())
    mean = math.fsum(values) / len(values)
    return Paired(mean, interval(values, level=level, paired=True), differences)


def jackknife(value: float, leaves: Sequence[float], *, level: float = LEVEL) -> Interval | None:
    """Return the interval of a value from the values without each region in turn.

    The variance is (R − 1)/R · Σ (leaf − mean)² (Miller 1974, doi 10.1093/biomet/61.1.1), the
    quantile Student's t with R − 1 degrees of freedom; ``None`` below ``MIN_REGIONS`` regions.
    It says how far other regions would move the value; a bias that all n share stays in it.
    """
    n = len(leaves)
    if n < MIN_REGIONS:
        return None
    mean = math.fsum(leaves) / n
    variance = (n - 1) / n * math.fsum((leaf - mean) ** 2 for leaf in leaves)
    half = student_t_quantile(0.5 + 0.5 * level, n - 1) * math.sqrt(variance)
    return Interval(value - half, value + half, f"jackknife-{method(level)}")


# ---------------------------------------------------------------------------- which way is better

_HIGHER = ("skill.", "psnr", "ssim", "gssim", "cc@", "uiqi", "csi", "hit")


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, MetricInfo]:
    return {info.id: info for info in metric_info(probe=False)}


def unit_of(metric: str) -> str:
    """Return the unit of a metric's values, empty where it has none."""
    info = _catalogue().get(metric)
    return info.unit if info is not None and info.unit not in ("-", "1") else ""


def is_set(metric: str) -> bool:
    """Say whether a metric compares whole sets of images, whose value depends on n."""
    info = _catalogue().get(metric)
    return info is not None and info.kind == "set"


def is_ranked(metric: str) -> bool:
    """Say whether rows may be ordered by a metric; not by what is conditioned on the truth."""
    info = _catalogue().get(metric)
    return info is None or info.ranked


def direction(metric: str) -> Direction:
    """Say which way is better: ``lower``, ``higher``, or nearer to ``zero``."""
    if metric.startswith("skill."):
        return "higher"
    info = _catalogue().get(metric)
    if info is not None:
        return info.direction
    if metric.startswith("spectrum.ratio"):
        return "zero"
    return "higher" if metric.startswith(_HIGHER) else "lower"


def loss(metric: str, value: float) -> float:
    """Return the value turned so that lower is better."""
    way = direction(metric)
    return abs(value) if way == "zero" else -value if way == "higher" else value
