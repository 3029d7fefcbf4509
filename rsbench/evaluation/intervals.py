"""Intervals and tests of means over regions. The unit of inference is a region, not a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from rsbench.core.errors import InputError
from rsbench.evaluation.block_intervals import spread
from rsbench.metrics import queries
from rsbench.metrics.queries import direction
from rsbench.metrics.registry import definition

LEVEL = 0.95
MIN_REGIONS = 8
"""Fewer regions give no interval: the t quantile then depends on normality alone."""

NONE = "none"
WAYS = {"lower": "lower is better", "higher": "higher is better", "zero": "0 is best"}
"""Direction of a metric, as tables and figures print it."""
ONE_SCENE = "-one-scene"
"""Suffix of the name of an interval over blocks of one scene: it holds for that scene only."""


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


def skewed_ends(
    deviation: float, skewness: float, n: int, *, level: float = LEVEL
) -> tuple[float, float]:
    """Return how far below and above a mean its interval reaches, corrected for skewness.

    The t quantiles go through the inverse of Hall's monotone cubic transformation of Student's
    pivot (Hall 1992, Journal of the Royal Statistical Society B 54, 221): the longer tail gets the
    longer end. Measured beside a studentised bootstrap it covers the same, and is not random.

    Args:
        deviation: with n − 1 below, as for Student's t.
        skewness: third central moment over the 3/2 power of the second, both with n below.
    """
    quantile = student_t_quantile(0.5 + 0.5 * level, n - 1)
    if deviation == 0.0 or abs(skewness) < 1e-6:
        half = half_width(deviation, n, level=level)
        return half, half
    root = math.sqrt(n)

    def turned(q: float) -> float:
        inner = 1.0 + skewness * (q / root - skewness / (6.0 * n))
        return 3.0 * root / skewness * (math.copysign(math.pow(abs(inner), 1 / 3), inner) - 1.0)

    scale = deviation / root
    return scale * turned(quantile), -scale * turned(-quantile)


def skewness_of(values: Sequence[float]) -> float:
    """Return the third central moment over the 3/2 power of the second; 0 without spread."""
    mean = math.fsum(values) / len(values)
    second = math.fsum((v - mean) ** 2 for v in values) / len(values)
    if second == 0.0:
        return 0.0
    return math.fsum((v - mean) ** 3 for v in values) / len(values) / math.pow(second, 1.5)


def method(level: float = LEVEL, *, paired: bool = False) -> str:
    """Name the interval, e.g. ``skew-t95`` of means or ``paired-t95`` of differences."""
    return f"{'paired' if paired else 'skew'}-t{level * 100:.10g}"


def interval(
    region_means: Sequence[float], *, level: float = LEVEL, paired: bool = False
) -> Interval | None:
    """Return the interval of the mean over regions; ``None`` below ``MIN_REGIONS``.

    Means of errors are skewed by a few hard regions: their t interval is corrected for it.
    Differences and ratios within regions are not, and get Student's t; see docs/intervals.md.

    Args:
        region_means: one finite number per region.
        level: nominal coverage.
        paired: whether the numbers are differences or ratios within regions.
    """
    n = len(region_means)
    if any(not math.isfinite(v) for v in region_means):
        raise InputError("an interval", "a region mean is not finite", "Leave absent regions out")
    if n < MIN_REGIONS:
        return None
    mean = math.fsum(region_means) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in region_means) / (n - 1))
    skewness = 0.0 if paired else skewness_of(region_means)
    below, above = skewed_ends(deviation, skewness, n, level=level)
    return Interval(mean - below, mean + above, method(level, paired=paired))


def wilson(successes: int, n: int, *, level: float = LEVEL) -> Interval | None:
    """Return the interval of a share of regions; ``None`` below ``MIN_REGIONS``.

    Wilson 1927, doi 10.1080/01621459.1927.10502953; it stays inside 0 … 1.
    """
    if n < MIN_REGIONS:
        return None
    z = NormalDist().inv_cdf(0.5 + 0.5 * level)
    share, square = successes / n, z * z / n
    middle = (share + 0.5 * square) / (1.0 + square)
    half = z / (1.0 + square) * math.sqrt(share * (1.0 - share) / n + 0.25 * square / n)
    lo, hi = max(0.0, middle - half), min(1.0, middle + half)
    return Interval(
        0.0 if successes == 0 else lo, 1.0 if successes == n else hi, f"wilson{level * 100:.10g}"
    )


def two_sided(differences: Sequence[float]) -> float | None:
    """Return the p value of Student's t for a mean of 0; ``None`` below ``MIN_REGIONS``."""
    n = len(differences)
    if n < MIN_REGIONS:
        return None
    mean = math.fsum(differences) / n
    variance = math.fsum((v - mean) ** 2 for v in differences) / (n - 1)
    if variance == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return 2.0 * student_t_cdf(-abs(mean) / math.sqrt(variance / n), n - 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p values adjusted for being many (Holm 1979, Scandinavian Journal of Statistics 6).

    Of all studies that call p values below 0.05 significant, at most 5 % make any false claim.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


@dataclass(frozen=True)
class Crossed:
    """Mean over seeds and regions, with an interval for other seeds and other regions.

    Args:
        mean: mean of all values.
        interval: absent below ``MIN_REGIONS`` regions or ``MIN_SEEDS`` seeds.
        between_seeds: standard deviation of the seeds' own effects; 0 where none is seen.
        between_regions: the same of the regions.
        n_seeds: seeds.
        n_regions: regions that every seed has.
    """

    mean: float
    interval: Interval | None
    between_seeds: float
    between_regions: float
    n_seeds: int
    n_regions: int


MIN_SEEDS = 3
"""Two seeds leave one degree of freedom, and the interval is too wide to be of use."""


def crossed(values: Mapping[int, Mapping[str, float]], *, level: float = LEVEL) -> Crossed | None:
    """Return the mean over seeds crossed with regions, both random effects, and its interval.

    Two-way random effects without replication: the variance of the mean is
    (MS_regions + MS_seeds − MS_rest) / (R · S), its degrees of freedom Satterthwaite's (1946, doi
    10.2307/3002019). More seeds shrink only the seeds' part of it.

    Args:
        values: seed → region → value. Regions that some seed lacks are left out.
    """
    if len(values) < 2:
        return None
    names = sorted(set.intersection(*(set(own) for own in values.values())))
    seeds = sorted(values)
    r, s = len(names), len(seeds)
    if r < 2:
        return None
    mean = math.fsum(values[a][b] for a in seeds for b in names) / (r * s)
    by_seed = [math.fsum(values[a][b] for b in names) / r for a in seeds]
    by_region = [math.fsum(values[a][b] for a in seeds) / s for b in names]
    ms_seeds = r * math.fsum((v - mean) ** 2 for v in by_seed) / (s - 1)
    ms_regions = s * math.fsum((v - mean) ** 2 for v in by_region) / (r - 1)
    rest = math.fsum(
        (values[a][b] - by_seed[i] - by_region[j] + mean) ** 2
        for i, a in enumerate(seeds)
        for j, b in enumerate(names)
    ) / ((r - 1) * (s - 1))
    found = None
    if r >= MIN_REGIONS and s >= MIN_SEEDS:
        # Never below what one of the two alone would say.
        square = max(ms_regions + ms_seeds - rest, ms_regions, ms_seeds)
        parts = ms_regions**2 / (r - 1) + ms_seeds**2 / (s - 1) + rest**2 / ((r - 1) * (s - 1))
        df = max(1, math.floor(square**2 / parts)) if parts > 0 else r - 1
        half = student_t_quantile(0.5 + 0.5 * level, df) * math.sqrt(square / (r * s))
        found = Interval(mean - half, mean + half, f"crossed-t{level * 100:.10g}")
    return Crossed(
        mean, found, math.sqrt(max(0.0, (ms_seeds - rest) / r)),
        math.sqrt(max(0.0, (ms_regions - rest) / s)), s, r,
    )  # fmt: skip


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
    found = blocks(differences, level=level) or interval(values, level=level, paired=True)
    return Paired(mean, found, differences)


def blocks(values: Mapping[str, float], *, level: float = LEVEL) -> Interval | None:
    """Return the interval of a mean over blocks of one image; ``None`` where they are none.

    Neighbouring blocks are correlated: an interval for independent regions would be half as long
    as it must be; see docs/intervals.md.
    """
    if len(values) < MIN_REGIONS:
        return None
    names = sorted(values)
    found = spread(names, [values[name] for name in names])
    if found is None:
        return None
    error, df = found
    mean = math.fsum(values.values()) / len(values)
    half = student_t_quantile(0.5 + 0.5 * level, df) * error
    return Interval(mean - half, mean + half, f"block-t{level * 100:.10g}")


def jackknife(value: float, leaves: Sequence[float], *, level: float = LEVEL) -> Interval | None:
    """Return the interval of a value from the values without each region in turn.

    The variance is (R − 1)/R · Σ (leaf − mean)² (Miller 1974, doi 10.1093/biomet/61.1.1), the
    quantile Student's t with R − 1 degrees of freedom; ``None`` below ``MIN_REGIONS`` regions.
    It covers the choice of regions, not a bias that depends on the number of images.
    """
    n = len(leaves)
    if n < MIN_REGIONS:
        return None
    mean = math.fsum(leaves) / n
    variance = (n - 1) / n * math.fsum((leaf - mean) ** 2 for leaf in leaves)
    half = student_t_quantile(0.5 + 0.5 * level, n - 1) * math.sqrt(variance)
    return Interval(value - half, value + half, f"jackknife-t{level * 100:.10g}")


# ---------------------------------------------------------------------------- which way is better


def unit_of(metric: str) -> str:
    """Return the unit of a metric's values, empty where it has none."""
    unit = "" if queries.derived(metric) else definition(metric).unit
    return "" if unit in ("-", "1") else unit


def is_set(metric: str) -> bool:
    """Return whether a metric compares sets of images; its value depends on n."""
    return queries.base(metric).kind == "set"


def is_ranked(metric: str) -> bool:
    """Return whether entries may be ordered by a metric, which is not conditioned on the truth."""
    return queries.base(metric).ranked


def is_published(metric: str) -> bool:
    """Return whether a metric is a published convention, kept to read older tables."""
    return queries.base(metric).published


def loss(metric: str, value: float) -> float:
    """Return a value of which lower is better."""
    way = direction(metric)
    return abs(value) if way == "zero" else -value if way == "higher" else value
