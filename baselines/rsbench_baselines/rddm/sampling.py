"""What RDDM's networks estimate, how they are trained on it, and how images are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import Draw, Sampling
from rsbench_baselines.image_losses import absolute
from rsbench_baselines.rddm.network import RDDM, Outputs
from rsbench_baselines.rddm.schedule import ResidualSchedule
from rsbench_baselines.rddm.sizes import Objective

SMALLEST_SHARE = 1e-3
BOUND = 1.0
"""Residual and clean image are clipped to ±1 in sampling, as released."""


@dataclass(frozen=True)
class Estimates:
    """Residual C − F and noise of a noisy image, ``(N, C, H, W)`` each."""

    residual: Tensor
    noise: Tensor


def estimates(
    objective: Objective,
    outputs: Outputs,
    noisy: Tensor,
    coarse: Tensor,
    alpha_bar: float,
    beta_bar: float,
    bound: float = math.inf,
) -> Estimates:
    """Return both estimates; the one that no network made follows from x_t.

    Args:
        objective: what the outputs stand for.
        outputs: of the networks.
        noisy, coarse: x_t and C ``(N, C, H, W)``.
        alpha_bar, beta_bar: of the time. ``pred_noise`` needs ᾱ below 1, as with a converted
            schedule: at ᾱ = 1 the noise does not determine the clean image.
        bound: the residual and a clean image that it follows from are clipped to ±bound.
    """
    first, second = outputs.residual, outputs.noise
    if objective == "pred_noise" and second is not None:
        if 1 - alpha_bar < SMALLEST_SHARE:
            raise ValueError(f"pred_noise at ᾱ = {alpha_bar:.6g}: the clean image is not in x_t")
        clean = (noisy - alpha_bar * coarse - beta_bar * second) / (1 - alpha_bar)
        return Estimates((coarse - clean.clamp(-bound, bound)).clamp(-bound, bound), second)
    if first is None:
        raise ValueError(f"{objective} needs the residual's network")
    residual = coarse - first if objective == "pred_x0_noise" else first
    residual = residual.clamp(-bound, bound)
    if second is None:
        clean = coarse - residual
        return Estimates(residual, (noisy - clean - alpha_bar * residual) / beta_bar)
    return Estimates(residual, second)


def loss(
    objective: Objective,
    outputs: Outputs,
    clean: Tensor,
    coarse: Tensor,
    noise: Tensor,
    valid: Tensor | None = None,
) -> Mapping[str, Tensor]:
    """Return ``total``, the sum of the absolute errors of what the networks estimate.

    Args:
        objective: what the outputs stand for.
        outputs: of the networks.
        clean, coarse, noise: F, C and the noise that was added ``(N, C, H, W)``.
        valid: where F is known; everywhere if None.
    """
    parts = {}
    if outputs.residual is not None:
        target = clean if objective == "pred_x0_noise" else coarse - clean
        parts["residual"] = absolute(outputs.residual - target, valid)
    if outputs.noise is not None:
        parts["noise"] = absolute(outputs.noise - noise, valid)
    return {"total": torch.stack(list(parts.values())).sum(), **parts}


def sample(
    estimate: Callable[[Tensor, int], Estimates],
    schedule: ResidualSchedule,
    coarse: Tensor,
    draw: Draw,
    *,
    steps: int,
    eta: float = 0.0,
) -> Tensor:
    """Draw clean images from C + β̄_T·ε in ``steps`` calls; names of noise as in SA-STF.

    Args:
        estimate: of residual and noise, from noisy images and a time.
        schedule: as in training.
        coarse: C ``(N, C, H, W)``.
        draw: standard normal noise by name: ``start``, ``step/<time>``.
        steps: calls of the estimate.
        eta: 0 adds no noise on the way.
    """
    times = schedule.times(steps)
    x = schedule.first(coarse, draw("start"), "consistent")
    for time, before in zip(times, [*times[1:], -1], strict=True):
        fresh = draw(f"step/{time}") if schedule.sigma(time, before, eta) > 0 else None
        found = estimate(x, time)
        x = schedule.step_pair(x, found.residual, found.noise, time, before, fresh=fresh, eta=eta)
    return x


@torch.no_grad()
def fuse(
    network: RDDM,
    objective: Objective,
    schedule: ResidualSchedule,
    given: Tensor,
    coarse: Tensor,
    draw: Draw,
    sampling: Sampling,
) -> Tensor:
    """Return fine images ``(N, C, H, W)`` within ±1; see `sample`.

    Residuals and the final image are clipped to ±``BOUND``.
    """

    def estimate(noisy: Tensor, time: int) -> Estimates:
        times = torch.full((noisy.shape[0],), time, device=noisy.device)
        outputs = network(noisy, given, *schedule.levels(times))
        bars = schedule.alpha_bar(time), schedule.beta_bar(time)
        return estimates(objective, outputs, noisy, coarse, *bars, BOUND)

    found = sample(estimate, schedule, coarse, draw, steps=sampling.steps, eta=sampling.eta)
    return found.clamp(-BOUND, BOUND)
