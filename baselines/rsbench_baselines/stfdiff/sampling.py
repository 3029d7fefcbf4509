"""STFDiff's training target and its sampler, DDIM on estimates of the clean image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import Diffusion, Draw, Sampling, needed
from rsbench_baselines.image_losses import absolute
from rsbench_baselines.rddm.schedule import even_times
from rsbench_baselines.stfdiff.network import STFDiff


def process(steps: int) -> Diffusion:
    """Return the cosine schedule over T steps."""
    return Diffusion(steps, "cosine")


def loss(
    network: STFDiff,
    diffusion: Diffusion,
    clean: Tensor,
    noise: Tensor,
    times: Tensor,
    *references: Tensor,
    valid: Tensor | None = None,
) -> Tensor:
    """Return the mean absolute error of the clean image.

    Args:
        network: to be trained.
        diffusion: the forward process.
        clean, noise: F1 in [−1, 1] and standard normal ``(N, C, H, W)``.
        times: ``(N,)`` in 0 … T − 1.
        references: C0, F0, C1 ``(N, C, H, W)``.
        valid: where F1 is known; everywhere if None.
    """
    noisy = diffusion.noised(clean, noise, times)
    estimate: Tensor = network(noisy, times, *references)
    return absolute(estimate.float() - clean, valid)


def step(
    diffusion: Diffusion,
    noisy: Tensor,
    clean: Tensor,
    time: int,
    before: int,
    *,
    fresh: Tensor | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Return x at ``before`` from x at ``time`` and the clean image, held within ±1."""
    clean = clean.clamp(-1, 1)
    if before < 0:
        return clean
    now, then = diffusion.alpha_bar(time), diffusion.alpha_bar(before)
    sigma = diffusion.sigma(time, before, eta)
    noise = (noisy - math.sqrt(now) * clean) / math.sqrt(1 - now)
    found = math.sqrt(then) * clean + math.sqrt(max(1 - then - sigma**2, 0.0)) * noise
    if sigma == 0.0:
        return found
    return found + sigma * needed(fresh, eta)


def sample(
    estimate: Callable[[Tensor, int], Tensor],
    diffusion: Diffusion,
    draw: Draw,
    *,
    steps: int,
    eta: float,
) -> Tensor:
    """Draw clean images from pure noise in ``steps`` calls of the estimate.

    Noise is drawn under the names ``start`` and ``step/<time>``.
    """
    times = even_times(diffusion.steps, steps)
    x = draw("start")
    for time, before in zip(times, [*times[1:], -1], strict=True):
        noisy_step = before >= 0 and diffusion.sigma(time, before, eta) > 0
        fresh = draw(f"step/{time}") if noisy_step else None
        x = step(diffusion, x, estimate(x, time), time, before, fresh=fresh, eta=eta)
    return x


@torch.no_grad()
def fuse(
    network: STFDiff,
    diffusion: Diffusion,
    c0: Tensor,
    f0: Tensor,
    c1: Tensor,
    draw: Draw,
    sampling: Sampling,
) -> Tensor:
    """Return fine images ``(N·members, C, H, W)`` of the target date within [−1, 1].

    Args:
        network: in the state it shall be used in.
        diffusion: as in training.
        c0, f0, c1: coarse and fine reference, coarse target ``(N, C, H, W)``.
        draw: standard normal noise ``(N·members, C, H, W)`` by name.
        sampling: number of steps and of members; if cached, the clean branch is computed once.
    """
    members = sampling.members
    once = network.condition(c0, f0, c1).repeat(members)

    def estimate(noisy: Tensor, time: int) -> Tensor:
        condition = once if sampling.cached else network.condition(c0, f0, c1).repeat(members)
        times = torch.full((noisy.shape[0],), time, device=noisy.device)
        return network.denoise(noisy, times, condition)

    return sample(estimate, diffusion, draw, steps=sampling.steps, eta=sampling.eta)
