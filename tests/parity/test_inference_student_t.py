"""Student's t against SciPy, and the coverage the interval claims."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rsbench.core.errors import InputError
from rsbench.evaluation import intervals as inference
from rsbench.evaluation import student_t


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 7, 8, 14, 39, 100, 1001])
def test_quantile_and_cdf_agree_with_scipy(df: int) -> None:
    for p in (0.005, 0.025, 0.2, 0.5, 0.9, 0.975, 0.9995):
        assert student_t.student_t_quantile(p, df) == pytest.approx(
            stats.t.ppf(p, df), rel=1e-10, abs=1e-12
        )
    for t in (-8.0, -1.3, 0.0, 0.4, 2.2, 30.0):
        assert student_t.student_t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-13)


def test_many_degrees_of_freedom_agree_with_scipy() -> None:
    assert student_t.student_t_quantile(0.975, 50_000) == pytest.approx(
        stats.t.ppf(0.975, 50_000), rel=1e-4
    )


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).normal(3, 2, 23)
    ours = inference.interval(list(values), paired=True)
    theirs = stats.t.interval(0.95, 22, values.mean(), stats.sem(values))
    assert ours is not None
    assert ours[:2] == pytest.approx(theirs, rel=1e-10)
    assert ours.name == "paired-t95"
    mirrored = [*values, *(2 * values.mean() - values)]  # no skewness, so no correction
    assert (
        inference.interval(mirrored)[:2]
        == pytest.approx(  # type: ignore[index]
            inference.interval(mirrored, paired=True)[:2]  # type: ignore[index]
        )
    )


@pytest.mark.parametrize("n", [8, 15, 40])
def test_the_skewed_interval_inverts_halls_transformation(n: int) -> None:
    limited = 0
    for seed in range(20):
        values = np.random.default_rng(seed).lognormal(0, 1, n)
        found = inference.interval(values.tolist())
        assert found is not None
        assert found.name == "bounded-skew-t95"
        gamma, scale = stats.skew(values, bias=False), stats.sem(values)
        assert inference.skewness_of(values.tolist()) == pytest.approx(gamma)

        def hall(pivot: float, gamma: float = gamma) -> float:
            cubic = gamma**2 * pivot**3 / (27 * n)
            return pivot + gamma * (pivot**2 / 3 + 1 / 6) / n**0.5 + cubic

        quantile = stats.t.ppf(0.975, n - 1)
        below, above = values.mean() - found.lo, found.hi - values.mean()
        for turned, reach in ((hall(below / scale), below), (-hall(-above / scale), above)):
            if reach == pytest.approx(inference.REACH * quantile * scale):
                assert turned <= quantile
                limited += 1
            else:
                assert turned == pytest.approx(quantile)
                assert reach < inference.REACH * quantile * scale
        assert (above > below) == (gamma > 0)
    assert 0 < limited < 20


def test_a_constant_has_an_interval_without_width() -> None:
    found = inference.interval([0.25] * 9)
    assert found is not None
    assert (found.lo, found.hi) == (0.25, 0.25)


def test_paired_interval_is_scipys_paired_test() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 12), rng.normal(0.5, 1, 12)
    names = [f"r{i}" for i in range(12)]
    ours = inference.paired(dict(zip(names, a, strict=True)), dict(zip(names, b, strict=True)))
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert ours is not None
    assert ours.interval is not None
    assert (ours.interval.lo, ours.interval.hi) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("n", [8, 15, 40])
def test_interval_covers_as_often_as_it_claims_on_normal_regions(n: int) -> None:
    rng = np.random.default_rng(n)
    rounds = 3000
    hits = 0
    for values in rng.normal(1.0, 1.0, (rounds, n)):
        found = inference.interval(values.tolist())
        assert found is not None
        hits += found.lo <= 1.0 <= found.hi
    assert abs(hits / rounds - 0.95) < 4 * (0.95 * 0.05 / rounds) ** 0.5


def test_refusals() -> None:
    with pytest.raises(InputError, match="degrees of freedom"):
        student_t.student_t_cdf(0.0, 0)
    with pytest.raises(InputError, match="probability"):
        student_t.student_t_quantile(1.0, 3)
    with pytest.raises(InputError, match="not finite"):
        inference.interval([1.0] * 9 + [float("nan")])
