"""Residual diffusion against what theory says: values, marginals, posterior, samplers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from rsbench_baselines.rddm.schedule import (
    KINDS,
    Kind,
    ResidualSchedule,
    converted,
    native,
    schedule,
)
from rsbench_baselines.sa_stf.sampling import sample

INDICES = (0, 1, 49, 98, 99)


def images(n: int = 2, side: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    clean, coarse, noise = torch.randn(3, n, 3, side, side, generator=g, dtype=torch.float64)
    return clean, coarse, noise


@pytest.mark.parametrize(
    ("kind", "alphas", "betas"),
    [
        ("official", (0.00005, 0.0002, 0.1184, 0.3909, 0.3970),
         (0.0100, 0.0200, 0.4720, 0.7931, 0.7978)),
        ("rddm", (0.0198, 0.0394, 0.7475, 0.9998, 1.0), (0.0141, 0.0244, 0.5025, 0.9901, 1.0)),
    ],
)  # fmt: skip
def test_published_values(kind: Kind, alphas: tuple[float, ...], betas: tuple[float, ...]) -> None:
    found = schedule(kind)
    np.testing.assert_allclose([found.alpha_bars[i] for i in INDICES], alphas, atol=1e-4)
    np.testing.assert_allclose([found.beta_bars[i] for i in INDICES], betas, atol=1e-4)


def test_rescaled_ends_at_almost_all_of_both() -> None:
    found = schedule("ddpm_rescaled")
    assert found.alpha_bars[-1] == pytest.approx(0.9955, abs=1e-3)
    assert found.beta_bars[-1] == pytest.approx(0.99999, abs=1e-4)


@pytest.mark.parametrize("steps", [2, 7, 100, 1000])
@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_native_shares_sum_to_one_and_variances_to_the_scale(steps: int, scale: float) -> None:
    found = native(steps, scale)
    assert found.alpha_bars[-1] == pytest.approx(1.0, abs=1e-12)
    assert found.beta_bars[-1] ** 2 == pytest.approx(scale, rel=1e-12)
    alpha = np.diff([0.0, *found.alpha_bars])
    variance = np.diff([0.0, *(b**2 for b in found.beta_bars)])
    np.testing.assert_allclose(np.diff(alpha), alpha[1] - alpha[0], rtol=1e-6)  # falls evenly
    np.testing.assert_allclose(np.diff(variance), variance[1] - variance[0], rtol=1e-6)
    assert alpha[0] > alpha[-1]
    assert variance[0] < variance[-1]


def test_conversion_leaves_the_kept_share_of_ddpm() -> None:
    betas = [0.1, 0.2, 0.3]
    found = converted(betas)
    kept = np.cumprod(1 - np.array(betas))
    np.testing.assert_allclose(1 - np.array(found.alpha_bars), np.sqrt(kept), rtol=1e-14)
    np.testing.assert_allclose(np.array(found.beta_bars) ** 2, 1 - kept, rtol=1e-14)


def test_noised_is_the_marginal_and_levels_are_told_in_steps() -> None:
    plan = native(10)
    clean, coarse, noise = images()
    times = torch.tensor([3, 9])
    found = plan.noised(clean, coarse, noise, times)
    for i, t in enumerate((3, 9)):
        expected = clean[i] + plan.alpha_bars[t] * (coarse[i] - clean[i])
        torch.testing.assert_close(found[i], expected + plan.beta_bars[t] * noise[i])
    alpha, beta = plan.levels(times)
    torch.testing.assert_close(alpha, torch.tensor([10 * plan.alpha_bars[3], 10.0]))
    torch.testing.assert_close(beta, torch.tensor([10 * plan.beta_bars[3], 10.0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("time", "before"), [(99, 97), (50, 3), (7, 6), (1, 0)])
def test_a_step_with_the_truth_stays_on_the_same_path(kind: Kind, time: int, before: int) -> None:
    plan = schedule(kind)
    clean, coarse, noise = images()

    def at(t: int) -> Tensor:
        return plan.noised(clean, coarse, noise, torch.tensor([t, t]))

    stepped = plan.step(at(time), clean, coarse, time, before)
    torch.testing.assert_close(stepped, at(before), rtol=1e-11, atol=1e-11)
    pair = plan.step_pair(at(time), coarse - clean, noise, time, before)
    torch.testing.assert_close(pair, at(before), rtol=1e-11, atol=1e-11)
    # Both forms agree for any estimate, once one implies the other.
    guess = clean + 0.3 * noise
    implied = (at(time) - guess - plan.alpha_bar(time) * (coarse - guess)) / plan.beta_bar(time)
    torch.testing.assert_close(
        plan.step(at(time), guess, coarse, time, before),
        plan.step_pair(at(time), coarse - guess, implied, time, before),
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip


def test_the_papers_form_of_a_step() -> None:
    plan = schedule("official")
    clean, coarse, noise = images()
    x = plan.noised(clean, coarse, noise, torch.tensor([60, 60]))
    gamma = 1 - plan.beta_bars[40] / plan.beta_bars[60]
    share = plan.alpha_bars[40] - plan.alpha_bars[60] * plan.beta_bars[40] / plan.beta_bars[60]
    guess = clean * 0.5
    expected = (1 - gamma) * x + gamma * guess + share * (coarse - guess)
    torch.testing.assert_close(plan.step(x, guess, coarse, 60, 40), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [1, 2, 57, 99])
def test_the_posterior_against_a_gaussian_product(kind: Kind, time: int) -> None:
    """p(x_{t−1} | x_t, F) from two scalars' worth of Bayes, not from the formula."""
    plan = schedule(kind)
    clean, coarse, x = 0.7, -1.1, 0.4
    residual = coarse - clean
    step_mean = (plan.alpha_bar(time) - plan.alpha_bar(time - 1)) * residual
    step_variance = plan.beta_bar(time) ** 2 - plan.beta_bar(time - 1) ** 2
    prior_mean = clean + plan.alpha_bar(time - 1) * residual
    prior_variance = plan.beta_bar(time - 1) ** 2
    precision = 1 / prior_variance + 1 / step_variance
    mean = (prior_mean / prior_variance + (x - step_mean) / step_variance) / precision
    tensors = (torch.tensor(v, dtype=torch.float64) for v in (x, clean, coarse))
    assert float(plan.ancestral(*tensors, time)) == pytest.approx(mean, rel=1e-9)
    assert plan.ancestral_variance(time) == pytest.approx(1 / precision, rel=1e-9)
    # η = 1 between neighbours is the same distribution.
    noisy, f, c = (torch.tensor(v, dtype=torch.float64) for v in (x, clean, coarse))
    fresh = torch.tensor(2.0, dtype=torch.float64)
    stepped = plan.step(noisy, f, c, time, time - 1, fresh=fresh, eta=1.0)
    assert float(stepped) == pytest.approx(mean + 2.0 / math.sqrt(precision), rel=1e-9)
    assert plan.sigma(time, time - 1, 1.0) ** 2 == pytest.approx(1 / precision, rel=1e-9)


def test_the_first_of_all_steps_back_is_the_estimate() -> None:
    plan = native(5)
    clean, coarse, noise = images()
    assert torch.equal(plan.ancestral(noise, clean, coarse, 0), clean)
    assert plan.ancestral_variance(0) == 0.0
    assert torch.equal(plan.step(noise, clean, coarse, 3, -1, eta=1.0), clean)


def test_times_are_the_published_pairs() -> None:
    times = native(100).times(50)
    assert times == list(range(99, 0, -2))
    assert native(100).times(100) == list(range(99, -1, -1))
    for count in range(1, 101):
        times = native(100).times(count)
        assert len(set(times)) == count
        assert times[0] == 99
        assert times == sorted(times, reverse=True)
        assert times[-1] >= 0


def exact(
    plan: ResidualSchedule, mean: Tensor, coarse: Tensor, variance: float
) -> Callable[[Tensor, int], Tensor]:
    """The best estimate of F ~ N(mean, variance), in closed form."""

    def estimate(x: Tensor, time: int) -> Tensor:
        a, b = plan.alpha_bar(time), plan.beta_bar(time)
        gain = (1 - a) * variance / ((1 - a) ** 2 * variance + b**2)
        return mean + gain * (x - (1 - a) * mean - a * coarse)

    return estimate


@pytest.mark.parametrize("kind", ["ddpm_rescaled", "rddm"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sampling_with_the_exact_estimate_finds_the_distribution(kind: Kind, eta: float) -> None:
    plan = schedule(kind)
    generator = torch.Generator().manual_seed(0)
    shape = (20_000, 1)
    mean = torch.full(shape, 0.6, dtype=torch.float64)
    coarse = torch.full(shape, -0.4, dtype=torch.float64)
    drawn = sample(
        exact(plan, mean, coarse, 0.25), plan, coarse,
        lambda name: torch.randn(shape, generator=generator, dtype=torch.float64),
        steps=100, start="consistent", eta=eta,
    )  # fmt: skip
    assert float(drawn.mean()) == pytest.approx(0.6, abs=0.03)
    assert float(drawn.std()) == pytest.approx(0.5, rel=0.08)


def test_the_official_start_is_not_where_the_official_schedule_ends() -> None:
    plan = schedule("official")
    _, coarse, noise = images()
    torch.testing.assert_close(plan.first(coarse, noise, "official"), coarse + noise)
    torch.testing.assert_close(
        plan.first(coarse, noise, "consistent"), coarse + plan.beta_bars[-1] * noise
    )
    assert plan.beta_bars[-1] < 0.8


def test_names_of_noise_and_that_only_eta_needs_more_than_the_start() -> None:
    plan = native(10)
    clean, coarse, noise = images()
    asked: list[str] = []

    def draw(name: str) -> Tensor:
        asked.append(name)
        return noise

    sample(lambda x, t: clean, plan, coarse, draw, steps=5, start="official")
    assert asked == ["start"]
    asked.clear()
    sample(lambda x, t: clean, plan, coarse, draw, steps=5, start="official", eta=0.5)
    assert asked == ["start", "step/9", "step/7", "step/5", "step/3"]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: schedule("cosine"), "official, ddpm_rescaled, rddm"),  # type: ignore[arg-type]
        (lambda: native(10).times(11), "11 sampling steps"),
        (lambda: native(10).times(0), "0 sampling steps"),
        (lambda: native(10).first(*images()[:2], "late"), "start is 'late'"),  # type: ignore[arg-type]
        (lambda: native(10).step(*images(), 5, 3, eta=1.0), "fresh noise"),
        (lambda: ResidualSchedule((0.1, 0.1), (0.1, 0.2)), "ᾱ does not rise"),
        (lambda: ResidualSchedule((0.1, 0.2), (0.1,)), "as many"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call()
