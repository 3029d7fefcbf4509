"""Tests of a difference between two entries, paired over regions and crossed with seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rsbench.evaluation.block_intervals import spread
from rsbench.evaluation.intervals import (
    ANYWHERE,
    MIN_REGIONS,
    MIN_SEEDS,
    Interval,
    Range,
    crossed,
    paired,
    two_sided_t,
)

Values = Mapping[int, Mapping[str, float]]
"""Seed → region → value."""


@dataclass(frozen=True)
class PairedTest:
    """Mean of ``a − b``, and a test of a mean of 0.

    Args:
        mean: over seeds and regions.
        interval: absent below ``MIN_REGIONS`` regions.
        p: two-sided p value; absent where the interval is.
        effect: mean over the standard deviation of the differences of regions (Cohen's d for paired
            samples, Cohen 1988); absent without spread.
        n_regions: regions that both have.
        n_seeds: seeds of which the differences are the mean; with ``MIN_SEEDS`` or more the test is
            of seeds crossed with regions.
    """

    mean: float
    interval: Interval | None
    p: float | None
    effect: float | None
    n_regions: int
    n_seeds: int


def paired_test(a: Values, b: Values, *, bounds: Range = ANYWHERE) -> PairedTest | None:
    """Compare two entries on the regions that both have; ``None`` if there is none.

    Seeds that both have are compared with each other. An entry with one seed, or without, is
    compared with every seed of the other. Two entries without a common seed are compared by their
    means over seeds.

    Args:
        a: values of the first entry.
        b: those of the second.
        bounds: smallest and largest possible difference.
    """
    differences = _differences(a, b)
    if not differences:
        return None
    names = sorted(set.intersection(*(set(own) for own in differences.values())))
    if not names:
        return None
    n = len(differences)
    means = {name: math.fsum(own[name] for own in differences.values()) / n for name in names}
    mean = math.fsum(means.values()) / len(names)
    if n >= MIN_SEEDS and (found := crossed(differences, bounds=bounds)) is not None:
        return PairedTest(mean, found.interval, found.p, _effect(means), len(names), n)
    simple = paired(means, dict.fromkeys(means, 0.0), bounds=bounds)
    assert simple is not None
    return PairedTest(mean, simple.interval, _p(means), _effect(means), len(names), n)


def _differences(a: Values, b: Values) -> dict[int, dict[str, float]]:
    """Return seed → region → a − b."""
    if len(a) > 1 and len(b) > 1 and not set(a) & set(b):
        a, b = ({0: _mean(values)} for values in (a, b))
    alone = len(a) < 2 or len(b) < 2
    seeds = sorted(a if len(a) >= len(b) else b) if alone else sorted(set(a) & set(b))
    found = {}
    for seed in seeds:
        ours, theirs = (values[seed] if len(values) > 1 else _only(values) for values in (a, b))
        both = set(ours) & set(theirs)
        found[seed] = {name: ours[name] - theirs[name] for name in both}
    return found


def _only(values: Values) -> Mapping[str, float]:
    return next(iter(values.values()), {})


def _mean(values: Values) -> dict[str, float]:
    names = set.intersection(*(set(own) for own in values.values()))
    return {name: math.fsum(own[name] for own in values.values()) / len(values) for name in names}


def _deviation(values: Mapping[str, float]) -> float:
    n, mean = len(values), math.fsum(values.values()) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values.values()) / max(n - 1, 1))


def _effect(values: Mapping[str, float]) -> float | None:
    deviation = _deviation(values)
    if deviation == 0.0 or len(values) < 2:
        return None
    return math.fsum(values.values()) / len(values) / deviation


def _p(values: Mapping[str, float]) -> float | None:
    """Return the p value of a mean over regions, or over blocks of one scene."""
    n = len(values)
    if n < MIN_REGIONS:
        return None
    names = sorted(values)
    mean = math.fsum(values.values()) / n
    blocks = spread(names, [values[name] for name in names])
    error, df = blocks if blocks is not None else (_deviation(values) / math.sqrt(n), n - 1)
    return two_sided_t(mean, error, df)
