from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from rsbench.evaluation import intervals as inference
from rsbench.metrics.queries import direction


def test_fewer_than_eight_regions_give_no_interval() -> None:
    assert inference.interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) is None
    assert inference.interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) is not None


def test_hand_worked_interval() -> None:
    # mean 4.5, s² = 6, s/√8 = 0.8660254, t(0.975, 7) = 2.3646243
    found = inference.interval([1, 2, 3, 4, 5, 6, 7, 8])
    assert found is not None
    assert abs(found.lo - (4.5 - 2.3646242515927844 * 0.8660254037844386)) < 1e-12
    assert abs(found.hi - (4.5 + 2.3646242515927844 * 0.8660254037844386)) < 1e-12


def test_paired_uses_only_regions_of_both_sides() -> None:
    found = inference.paired({"a": 1.0, "b": 2.0}, {"b": 0.5, "c": 9.0})
    assert found is not None
    assert found.differences == {"b": 1.5}
    assert found.interval is None
    assert inference.paired({"a": 1.0}, {"b": 1.0}) is None


def test_directions() -> None:
    assert [direction(m) for m in ("psnr@1", "mse@1", "skill.mse@1", "cc@1")] == [
        "higher", "lower", "higher", "higher",
    ]  # fmt: skip
    assert direction("spectrum.ratio@1") == "zero"
    assert inference.loss("spectrum.ratio@1", -0.5) == 0.5
    assert inference.loss("ssim@1", 0.9) < inference.loss("ssim@1", 0.8)


def test_shares_have_wilsons_interval() -> None:
    for successes, n in ((0, 8), (8, 8), (3, 12), (20, 40)):
        found = inference.wilson(successes, n)
        assert found is not None
        theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert (found.lo, found.hi) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert inference.wilson(3, 7) is None


def test_p_values_are_scipys_and_need_eight_regions() -> None:
    values = [0.2, -0.1, 0.4, 0.3, 0.0, 0.5, 0.1, 0.2, -0.2, 0.6]  # symmetric: no correction
    assert inference.two_sided(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert inference.two_sided([0.0] * 8) == 1.0
    assert inference.two_sided([0.5] * 8) == 0.0
    assert inference.two_sided(values[:7]) is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_p_value_below_the_level_means_that_the_interval_leaves_0_out(sign: float) -> None:
    agree = {True: 0, False: 0}
    for seed in range(200):
        values = sign * (np.random.default_rng(seed).lognormal(0.0, 0.9, 9) - 0.7)
        found, p = inference.interval(values.tolist()), inference.two_sided(values.tolist())
        assert found is not None
        assert p is not None
        away = not found.lo <= 0.0 <= found.hi
        assert away == (p < 0.05)
        agree[away] += 1
    assert min(agree.values()) > 20


def test_ends_are_cut_at_the_range_and_hold_the_mean() -> None:
    values = [0.99] * 6 + [0.2] * 2
    wide = inference.interval(values)
    assert wide is not None
    assert wide.hi > 1.0  # what the range is for
    inside = inference.interval(values, bounds=inference.bounds_of("cc@1"))
    assert inside == (wide.lo, 1.0, wide.name)
    # A mean beyond its bound by rounding stays inside its interval.
    rounded = inference.interval([1.0 + 1e-9] * 8, bounds=(-1.0, 1.0))
    assert rounded is not None
    assert rounded.lo == rounded.hi == 1.0 + 1e-9


@pytest.mark.parametrize("n", [8, 9, 15, 40])
def test_one_hard_region_does_not_move_an_end_beyond_its_own_value(n: int) -> None:
    found = inference.interval([*[0.0] * (n - 1), float(n)], bounds=(0.0, math.inf))
    assert found is not None
    # The mean is 1, the deviation √n, and its standard error 1.
    limit = 1.0 + inference.REACH * stats.t.ppf(0.975, n - 1)
    assert found.hi == pytest.approx(limit) if n < 40 else found.hi < limit
    assert found.lo == 0.0
    assert found.hi < n


def test_the_limit_is_the_largest_that_does_so() -> None:
    half = stats.t.ppf(0.975, 7)
    assert 1.0 + inference.REACH * half < 8.0 < 1.0 + (inference.REACH + 0.5) * half


def test_bounds_follow_from_the_definition() -> None:
    inf = math.inf
    assert inference.bounds_of("ergas.r1@1") == (0.0, inf)
    assert inference.bounds_of("psnr@1") == (-inf, 100.0)
    assert inference.bounds_of("spectrum.ratio@1") == (-inf, inf)
    assert inference.bounds_of("skill.mse@1") == inference.bounds_of("skill.ssim@1") == (-inf, 1.0)
    assert inference.bounds_of("share.mse@1") == (0.0, 1.0)
    assert inference.difference_bounds("cc@1") == (-2.0, 2.0)
    assert inference.difference_bounds("mse@1") == (-inf, inf)


def test_holm_by_hand() -> None:
    # Smallest times 3, next times 2, largest times 1, never falling.
    assert inference.holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert inference.holm([0.9, 0.6]) == pytest.approx((1.0, 1.0))
    assert inference.holm([]) == ()
