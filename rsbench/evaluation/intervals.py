"""Intervals and tests of means over regions. The unit of inference is a region, not a pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

from rsbench.core.errors import InputError
from rsbench.evaluation.block_intervals import spread
from rsbench.evaluation.student_t import student_t_cdf, student_t_quantile
from rsbench.metrics import queries
from rsbench.metrics.queries import direction
from rsbench.metrics.registry import definition

LEVEL = 0.95
MIN_REGIONS = 8
"""Fewer regions give no interval: the t quantile then depends on normality alone."""

REACH = 2.5
"""No end is further from the mean than this many half widths of Student's t interval.

It is the largest number in steps of one half with which a single hard region of eight moves no end
beyond its own value. docs/intervals.md says what the limit costs in coverage.
"""

MOST_DEVIATIONS = 3.0
"""No end over blocks of one image is further from the mean than this many deviations of the blocks.

No end over seeds and regions is further than so many deviations of the means of regions, or of
seeds if these differ more. Few of them leave one degree of freedom, whose quantile is 12.7.
"""

Range = tuple[float, float]
ANYWHERE: Range = (-math.inf, math.inf)
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


def half_width(deviation: float, n: int, *, level: float = LEVEL) -> float:
    """Return the half width of the t interval of a mean of ``n`` values with this deviation."""
    return student_t_quantile(0.5 + 0.5 * level, n - 1) * deviation / math.sqrt(n)


def skewed_ends(
    deviation: float, skewness: float, n: int, *, level: float = LEVEL
) -> tuple[float, float]:
    """Return how far below and above a mean its interval reaches, corrected for skewness.

    The t quantiles go through the inverse of Hall's monotone cubic transformation of Student's
    pivot (Hall 1992, Journal of the Royal Statistical Society B 54, 221): the longer tail gets the
    longer end, of at most ``REACH`` half widths of Student's t.

    Args:
        deviation: with n − 1 below, as for Student's t.
        skewness: that of ``skewness_of``.
    """
    quantile = student_t_quantile(0.5 + 0.5 * level, n - 1)
    half = half_width(deviation, n, level=level)
    if deviation == 0.0 or abs(skewness) < 1e-6:
        return half, half
    root = math.sqrt(n)

    def turned(q: float) -> float:
        inner = 1.0 + skewness * (q / root - skewness / (6.0 * n))
        return 3.0 * root / skewness * (math.copysign(math.pow(abs(inner), 1 / 3), inner) - 1.0)

    scale, limit = deviation / root, REACH * half
    return min(scale * turned(quantile), limit), min(-scale * turned(-quantile), limit)


def _moments(values: Sequence[float]) -> tuple[float, float, float]:
    """Return mean, standard deviation with n − 1 below, and skewness."""
    n, mean = len(values), math.fsum(values) / len(values)
    square = math.fsum((v - mean) ** 2 for v in values)
    return mean, math.sqrt(square / (n - 1)), skewness_of(values)


def skewness_of(values: Sequence[float]) -> float:
    """Return the adjusted skewness G1 of at least three values; 0 without spread.

    Joanes and Gill 1998, doi 10.1111/1467-9884.00122.
    """
    n, mean = len(values), math.fsum(values) / len(values)
    second = math.fsum((v - mean) ** 2 for v in values) / n
    if second == 0.0:
        return 0.0
    third = math.fsum((v - mean) ** 3 for v in values) / n
    return math.sqrt(n * (n - 1)) / (n - 2) * third / math.pow(second, 1.5)


def method(level: float = LEVEL, *, paired: bool = False) -> str:
    """Name the interval: ``bounded-skew-t95`` of means, ``paired-t95`` of differences."""
    return f"{'paired' if paired else 'bounded-skew'}-t{level * 100:.10g}"


def held(mean: float, below: float, above: float, bounds: Range, name: str) -> Interval:
    """Return the interval that reaches so far below and above a mean, cut at the bounds.

    The mean is inside; one that rounding puts beyond a bound counts as the bound.
    """
    nearest = min(max(mean, bounds[0]), bounds[1])
    if math.isclose(nearest, mean, rel_tol=1e-12, abs_tol=1e-12):
        mean = nearest
    low, high = min(bounds[0], mean), max(bounds[1], mean)
    return Interval(max(mean - below, low), min(mean + above, high), name)


def interval(
    region_means: Sequence[float],
    *,
    level: float = LEVEL,
    paired: bool = False,
    bounds: Range = ANYWHERE,
) -> Interval | None:
    """Return the interval of the mean over regions; ``None`` below ``MIN_REGIONS``.

    Means of errors are skewed by a few hard regions: their t interval is corrected for it.
    Differences within regions are not, and get Student's t; see docs/intervals.md.

    Args:
        region_means: one finite number per region.
        level: nominal coverage.
        paired: whether the numbers are differences within regions.
        bounds: smallest and largest value that is possible, as by ``bounds_of``.
    """
    n = len(region_means)
    if any(not math.isfinite(v) for v in region_means):
        raise InputError("an interval", "a region mean is not finite", "Leave absent regions out")
    if n < MIN_REGIONS:
        return None
    mean, deviation, skewness = _moments(region_means)
    ends = skewed_ends(deviation, 0.0 if paired else skewness, n, level=level)
    return held(mean, *ends, bounds, method(level, paired=paired))


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


def two_sided(values: Sequence[float]) -> float | None:
    """Return the p value of a mean of 0; ``None`` below ``MIN_REGIONS``.

    It is below 1 − level where, and only where, the interval of means leaves 0 out.
    """
    n = len(values)
    if n < MIN_REGIONS:
        return None
    mean, deviation, skewness = _moments(values)
    if deviation == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    root = math.sqrt(n)
    pivot = mean / deviation * root
    shift = skewness / root
    turned = pivot
    if abs(skewness) >= 1e-6:
        turned = ((1.0 + shift * pivot / 3.0) ** 3 - 1.0) / shift + shift / 6.0
    return min(2.0 * student_t_cdf(-abs(t), n - 1) for t in (turned, pivot / REACH))


def two_sided_t(mean: float, error: float, df: int) -> float:
    """Return the p value of a mean of 0 by Student's t, from its standard error.

    It is below 1 − level where the interval of these numbers leaves 0 out. An interval that is
    limited in ``MOST_DEVIATIONS`` may leave 0 out with a larger p.
    """
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return 2.0 * student_t_cdf(-abs(mean / error), df)


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
        p: two-sided p value of a mean of 0; absent where the interval is.
    """

    mean: float
    interval: Interval | None
    between_seeds: float
    between_regions: float
    n_seeds: int
    n_regions: int
    p: float | None = None


MIN_SEEDS = 3
"""Two seeds leave one degree of freedom, and the interval is too wide to be of use."""


def crossed(
    values: Mapping[int, Mapping[str, float]], *, level: float = LEVEL, bounds: Range = ANYWHERE
) -> Crossed | None:
    """Return the mean over seeds crossed with regions, both random effects, and its interval.

    Two-way random effects without replication: the variance of the mean is
    (MS_regions + MS_seeds − MS_rest) / (R · S), its degrees of freedom Satterthwaite's (1946, doi
    10.2307/3002019). More seeds shrink only the seeds' part of it.

    Args:
        values: seed → region → value. Regions that some seed lacks are left out.
        bounds: smallest and largest value that is possible.
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
    found = p = None
    if r >= MIN_REGIONS and s >= MIN_SEEDS:
        # Never below what one of the two alone would say.
        square = max(ms_regions + ms_seeds - rest, ms_regions, ms_seeds)
        parts = ms_regions**2 / (r - 1) + ms_seeds**2 / (s - 1) + rest**2 / ((r - 1) * (s - 1))
        df = max(1, math.floor(square**2 / parts)) if parts > 0 else r - 1
        error = math.sqrt(square / (r * s))
        half, p = student_t_quantile(0.5 + 0.5 * level, df) * error, two_sided_t(mean, error, df)
        half = min(half, MOST_DEVIATIONS * math.sqrt(max(ms_regions / s, ms_seeds / r)))
        found = held(mean, half, half, bounds, f"crossed-t{level * 100:.10g}")
    return Crossed(
        mean, found, math.sqrt(max(0.0, (ms_seeds - rest) / r)),
        math.sqrt(max(0.0, (ms_regions - rest) / s)), s, r, p,
    )  # fmt: skip


def paired(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    level: float = LEVEL,
    bounds: Range = ANYWHERE,
) -> Paired | None:
    """Compare two sets of region means on the regions both have; ``None`` if there is none.

    ``bounds`` are those of the differences.
    """
    both = sorted(set(a) & set(b))
    if not both:
        return None
    differences = {name: a[name] - b[name] for name in both}
    values = list(differences.values())
    mean = math.fsum(values) / len(values)
    found = blocks(differences, level=level, bounds=bounds) or interval(
        values, level=level, paired=True, bounds=bounds
    )
    return Paired(mean, found, differences)


def blocks(
    values: Mapping[str, float], *, level: float = LEVEL, bounds: Range = ANYWHERE
) -> Interval | None:
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
    mean, deviation, _ = _moments(list(values.values()))
    half = min(student_t_quantile(0.5 + 0.5 * level, df) * error, MOST_DEVIATIONS * deviation)
    return held(mean, half, half, bounds, f"block-t{level * 100:.10g}")


def jackknife(
    value: float, leaves: Sequence[float], *, level: float = LEVEL, bounds: Range = ANYWHERE
) -> Interval | None:
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
    return held(value, half, half, bounds, f"jackknife-t{level * 100:.10g}")


# ------------------------------------------------------------------ what a metric's values can be


def bounds_of(metric: str) -> Range:
    """Return the smallest and largest value of an id or a derived id, from its definition.

    Skill is at most 1 where the perfect value is an end of the metric's range: score and
    reference then lie on one side of it.
    """
    known = queries.base(metric)
    ends = [
        edge if at is None else float(at) for at, edge in zip(known.range, ANYWHERE, strict=True)
    ]
    if metric.startswith(queries.SHARE):
        return 0.0, 1.0
    if metric.startswith(queries.SKILL):
        return -math.inf, 1.0 if known.perfect in ends else math.inf
    return ends[0], ends[1]


def difference_bounds(metric: str) -> Range:
    """Return the smallest and largest difference of two values of a metric."""
    low, high = bounds_of(metric)
    return low - high, high - low


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
