"""Latent diffusion against theory: what networks predict, its weights, samplers, and latents."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rsbench_baselines._latent import Answer, Folded, Kind, Process
from rsbench_baselines.ddpm.diffusion import Diffusion

SCALED = Diffusion(kind="scaled")
KINDS: tuple[Kind, ...] = ("epsilon", "v", "sample")
MEAN, DEVIATION = 0.3, 0.2


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(process: Process) -> Answer:
    """The best answer where the clean data are N(MEAN, DEVIATION²)."""

    def answer(x: Tensor, times: Tensor) -> Tensor:
        kept = process.diffusion.alpha_bar(int(times[0]))
        variance = kept * DEVIATION**2 + 1 - kept
        noise = math.sqrt(1 - kept) * (x - math.sqrt(kept) * MEAN) / variance
        clean = (x - math.sqrt(1 - kept) * noise) / math.sqrt(kept)
        return process.target(clean, noise, times)

    return answer


def drawn(process: Process, count: int = 10_000) -> Tensor:
    names: list[str] = []

    def draw(name: str) -> Tensor:
        names.append(name)
        return seeded(count, 1, 1, 1, seed=len(names))

    return process.sample(exact(process), None, draw)


def test_the_schedule_of_stable_diffusion() -> None:
    betas = SCALED.betas
    assert float(betas[0]) == pytest.approx(0.00085, rel=1e-12)
    assert float(betas[-1]) == pytest.approx(0.012, rel=1e-12)
    roots = betas.sqrt().diff()
    torch.testing.assert_close(roots, roots[:1].expand(999), rtol=1e-9, atol=0)
    assert SCALED.alpha_bar(999) == pytest.approx(math.prod(1 - b for b in betas.tolist()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [0, 400, 999])
def test_the_noise_comes_back_from_what_a_network_predicts(kind: Kind, time: int) -> None:
    process = Process(SCALED, kind)
    clean, noise, times = seeded(3, 2, 4, 4), seeded(3, 2, 4, 4, seed=1), torch.full((3,), time)
    noisy = SCALED.noised(clean, noise, times)
    found = process.noise_in(process.target(clean, noise, times), noisy, times)
    torch.testing.assert_close(found, noise, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_samplers_draw_a_known_gaussian(kind: Kind) -> None:
    """DDPM (η = 1) and DDIM (η = 0) with all steps ; the three kinds agree."""
    diffusion = Diffusion(400)
    for eta in (0.0, 1.0):
        found = drawn(Process(diffusion, kind, sampling_steps=400, eta=eta))
        assert float(found.mean()) == pytest.approx(MEAN, abs=0.02)
        assert float(found.std()) == pytest.approx(DEVIATION, abs=0.01)
        other = drawn(Process(diffusion, "epsilon", sampling_steps=400, eta=eta), count=50)
        torch.testing.assert_close(
            drawn(Process(diffusion, kind, sampling_steps=400, eta=eta), count=50), other,
            rtol=0, atol=1e-9,
        )  # fmt: skip


def test_guidance_extrapolates_from_the_answer_without_conditions() -> None:
    """One step from T = 2: ε = ε_∅ + w(ε_c − ε_∅), by hand; w = 1 makes no second call."""
    calls: list[str] = []

    def told(value: float, name: str) -> Answer:
        def answer(x: Tensor, times: Tensor) -> Tensor:
            calls.append(name)
            return torch.full_like(x, value)

        return answer

    start = seeded(1, 1, 2, 2)
    for weight, noise in ((1.0, 0.2), (3.0, 0.6 * -1 + 0.2 * 3 + 0.6 * -1)):
        process = Process(Diffusion(2), sampling_steps=1, guidance=weight)
        found = process.sample(told(0.2, "c"), told(0.6, "free"), lambda _: start)
        expected = process.diffusion.clean(start, torch.full_like(start, noise), 1)
        torch.testing.assert_close(found, expected)
    assert calls == ["c", "c", "free"]


def test_the_weight_is_min_snr_over_snr() -> None:
    process = Process(SCALED, snr_limit=5.0)
    times = torch.arange(1000)
    kept = SCALED.alpha_bars
    ratio = kept / (1 - kept)
    weights = process.weights(times).double()
    assert float(weights[-1]) == 1.0
    torch.testing.assert_close(weights * ratio, ratio.clamp(max=5.0), rtol=1e-6, atol=0)


def test_the_loss_counts_valid_values_only() -> None:
    torch.manual_seed(0)
    process = Process(Diffusion(), "sample")
    clean = torch.zeros(2, 3, 4, 4)
    valid = torch.zeros(2, 1, 4, 4)
    valid[:, :, :2] = 1

    def answer(x: Tensor, times: Tensor) -> Tensor:
        return torch.where(valid.bool(), 2.0, 99.0).expand_as(x)

    assert float(process.loss(answer, clean, valid)) == pytest.approx(4.0)


def test_folding_loses_nothing() -> None:
    image = seeded(2, 3, 8, 12)
    codec = Folded(4, 3)
    latents = codec.encode(image)
    assert latents.shape == (2, codec.channels, 2, 3)
    assert torch.equal(codec.decode(latents), image)


def test_calls_hold_a_bounded_number_of_images() -> None:
    parts = Process(Diffusion(), at_once=4).chunks(10)
    assert [(p.start, p.stop) for p in parts] == [(0, 4), (4, 8), (8, 10)]
    with pytest.raises(ValueError, match="at_once=0"):
        Process(Diffusion(), at_once=0)
