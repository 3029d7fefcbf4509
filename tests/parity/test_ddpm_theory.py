"""The diffusion against its theory: marginals, variances, samplers on a Gaussian known in full."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import Diffusion

LINEAR = Diffusion()
COSINE = Diffusion(kind="cosine")
MEAN, DEVIATION = 0.3, 0.2


def seeded(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def exact(diffusion: Diffusion, x: Tensor, time: int) -> Tensor:
    """Return E[ε | x_t] where the clean data are N(MEAN, DEVIATION²)."""
    kept = diffusion.alpha_bar(time)
    variance = kept * DEVIATION**2 + 1 - kept
    return math.sqrt(1 - kept) * (x - math.sqrt(kept) * MEAN) / variance


def sampled(
    diffusion: Diffusion, steps: int, eta: float, count: int = 20_000, seed: int = 0
) -> Tensor:
    names: list[str] = []

    def draw(name: str) -> Tensor:
        assert name not in names, "one name twice would be the same noise twice"
        names.append(name)
        return seeded(count, 1, 1, 1, seed=seed + 1000 * len(names))

    return diffusion.sample(
        lambda x, time: exact(diffusion, x, time), draw, steps=steps, eta=eta, bound=None
    )


def test_the_published_schedule() -> None:
    betas = LINEAR.betas
    assert len(betas) == 1000
    assert float(betas[0]) == pytest.approx(1e-4)
    assert float(betas[-1]) == pytest.approx(0.02)
    np.testing.assert_allclose(betas.diff(), (0.02 - 1e-4) / 999, rtol=1e-9)
    product = 1.0
    for beta in betas.tolist():
        product *= 1 - beta
    assert LINEAR.alpha_bar(999) == pytest.approx(product, rel=1e-10)
    assert LINEAR.alpha_bar(-1) == 1.0


@pytest.mark.parametrize("diffusion", [LINEAR, COSINE, Diffusion(100), Diffusion(50, "cosine")])
def test_nothing_of_the_image_is_left_at_the_end(diffusion: Diffusion) -> None:
    assert float(diffusion.alpha_bars[-1]) < 1e-4
    assert (diffusion.alpha_bars.diff() < 0).all()


def test_the_cosine_schedule_follows_its_cosine() -> None:
    def kept(place: float) -> float:
        return math.cos((place + 0.008) / 1.008 * math.pi / 2) ** 2

    for time in (0, 99, 499, 899):
        assert COSINE.alpha_bar(time) == pytest.approx(kept((time + 1) / 1000) / kept(0), rel=1e-9)


@pytest.mark.parametrize("time", [0, 10, 300, 999])
def test_the_marginal_keeps_unit_variance_and_is_what_single_steps_give(time: int) -> None:
    clean, noise = seeded(40_000, 1, seed=1), seeded(40_000, 1, seed=3)
    times = torch.full((40_000,), time)
    noisy = LINEAR.noised(clean, noise, times)
    assert float(noisy.var()) == pytest.approx(1.0, abs=0.02)
    share = float((noisy * clean).mean() / clean.square().mean())
    assert share == pytest.approx(math.sqrt(LINEAR.alpha_bar(time)), abs=0.015)
    # x_t = √(1−β) x_{t−1} + √β ε, step by step: factor of x_0, and variance of the rest.
    factor, variance = 1.0, 0.0
    for beta in LINEAR.betas[: time + 1].tolist():
        factor, variance = factor * math.sqrt(1 - beta), variance * (1 - beta) + beta
    kept = LINEAR.alpha_bar(time)
    assert (factor, variance) == pytest.approx((math.sqrt(kept), 1 - kept), rel=1e-9)


def test_noising_takes_one_time_per_image() -> None:
    clean, noise = seeded(3, 2, 4, 4), seeded(3, 2, 4, 4, seed=1)
    together = LINEAR.noised(clean, noise, torch.tensor([5, 400, 999]))
    for row, time in enumerate((5, 400, 999)):
        kept = LINEAR.alpha_bar(time)
        alone = math.sqrt(kept) * clean[row] + math.sqrt(1 - kept) * noise[row]
        torch.testing.assert_close(together[row], alone, rtol=1e-12, atol=1e-12)
        recovered = LINEAR.clean(together[row], noise[row], time)
        torch.testing.assert_close(recovered, clean[row], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("diffusion", [LINEAR, COSINE])
def test_ddim_with_eta_one_has_ddpm_s_posterior_variance_and_mean(diffusion: Diffusion) -> None:
    x, noise, fresh = (seeded(2, 3, 4, 4, seed=s) for s in range(3))
    for time in (1, 2, 10, 500, 998):
        posterior = diffusion.posterior_variance(time)
        assert diffusion.sigma(time, time - 1, 1.0) ** 2 == pytest.approx(posterior, rel=1e-9)
        ddim = diffusion.ddim_step(x, noise, time, time - 1, fresh=fresh, eta=1.0, bound=None)
        ddpm = diffusion.ancestral_mean(x, noise, time) + math.sqrt(posterior) * fresh
        torch.testing.assert_close(ddim, ddpm, rtol=1e-9, atol=1e-9)
    assert diffusion.sigma(0, -1, 1.0) == 0.0  # the last step adds nothing


def test_the_posterior_variance_by_bayes() -> None:
    """1/β̃ is the precision of the step plus that of the marginal before it."""
    for time in (1, 7, 400):
        beta, before = float(LINEAR.betas[time]), LINEAR.alpha_bar(time - 1)
        precision = (1 - beta) / beta + 1 / (1 - before)
        assert LINEAR.posterior_variance(time) == pytest.approx(1 / precision, rel=1e-9)


def test_eta_zero_is_deterministic_and_needs_no_noise_on_the_way() -> None:
    drawn: list[str] = []

    def draw(name: str) -> Tensor:
        drawn.append(name)
        return seeded(5, 1, 2, 2)

    def run(eta: float) -> Tensor:
        drawn.clear()
        return LINEAR.sample(lambda x, t: exact(LINEAR, x, t), draw, steps=20, eta=eta, bound=None)

    first = run(0.0)
    assert drawn == ["start"]
    assert torch.equal(run(0.0), first)
    run(1.0)
    assert len(drawn) == 20  # the start, and after every step but the last
    with pytest.raises(ValueError, match="fresh noise"):
        LINEAR.ddim_step(first, first, 500, 400, eta=0.5)


@pytest.mark.parametrize(
    ("diffusion", "steps", "eta"),
    [(LINEAR, 1000, 0.0), (LINEAR, 1000, 1.0), (LINEAR, 100, 0.0), (COSINE, 1000, 0.0)],
)
def test_the_exact_denoiser_gives_back_the_gaussian(
    diffusion: Diffusion, steps: int, eta: float
) -> None:
    found = sampled(diffusion, steps, eta)
    tight = 0.01 if steps == 1000 else 0.02
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.01)
    assert float(found.std()) == pytest.approx(DEVIATION, abs=tight)


def test_eta_zero_with_more_steps_converges_to_the_flow() -> None:
    """The deterministic sampler maps a start at z deviations to a sample at z deviations."""
    start = seeded(20_000, 1, 1, 1, seed=1000)
    z = (start - start.mean()) / start.std()
    gaps = []
    for steps in (10, 50, 250):
        found = sampled(LINEAR, steps, 0.0)
        gaps.append(float((found - (MEAN + DEVIATION * z)).abs().mean()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.01


def test_times_run_from_the_noisiest_to_the_first() -> None:
    for count in (2, 8, 50, 1000):
        times = LINEAR.times(count)
        assert (times[0], times[-1], len(set(times))) == (999, 0, count)
        assert times == sorted(times, reverse=True)
    assert LINEAR.times(1) == [999]
    for wrong in (0, 1001):
        with pytest.raises(ValueError, match="sampling steps"):
            LINEAR.times(wrong)


def test_the_estimate_of_the_image_is_held_within_its_bound() -> None:
    x = torch.tensor([5.0, 0.1, -5.0]).double().view(3, 1, 1, 1)
    found = LINEAR.ddim_step(x, torch.zeros_like(x), 0, -1)
    assert found.flatten().tolist() == pytest.approx([1.0, 0.1 / math.sqrt(1 - 1e-4), -1.0])


def test_processes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="linear or cosine"):
        Diffusion(10, "square")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2"):
        Diffusion(1)
