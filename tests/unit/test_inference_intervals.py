from __future__ import annotations

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
    values = [0.2, -0.1, 0.4, 0.3, 0.0, 0.25, 0.1, 0.3, -0.05]
    assert inference.two_sided(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert inference.two_sided([0.0] * 8) == 1.0
    assert inference.two_sided([0.5] * 8) == 0.0
    assert inference.two_sided(values[:7]) is None


def test_holm_by_hand() -> None:
    # Smallest times 3, next times 2, largest times 1, never falling.
    assert inference.holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert inference.holm([0.9, 0.6]) == pytest.approx((1.0, 1.0))
    assert inference.holm([]) == ()
