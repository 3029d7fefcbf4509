"""Residual diffusion: the mean moves towards the coarse image while noise is added.

x_t = F + ᾱ_t·(C − F) + β̄_t·ε, with F the clean image, C the coarse one of the same date and
ε ~ N(0, 1). J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu, "Residual denoising diffusion
models", CVPR 2024.

Times run 0 … T − 1, from the least noise to the most; −1 is the clean image, with ᾱ = β̄ = 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from rsbench_baselines.ddpm.diffusion import needed

Kind = Literal["official", "ddpm_rescaled", "rddm"]
KINDS: tuple[Kind, ...] = ("official", "ddpm_rescaled", "rddm")
Start = Literal["official", "consistent"]
STARTS: tuple[Start, ...] = ("official", "consistent")
FIRST_BETA, LAST_BETA = 1e-4, 0.02
DDPM_STEPS = 1000
LARGEST_BETA = 0.999


@dataclass(frozen=True)
class ResidualSchedule:
    """Shares of the residual and deviations of the noise, one of each per time.

    Args:
        alpha_bars: ᾱ, from near 0 upwards.
        beta_bars: β̄, the noise's standard deviation, rising.
    """

    alpha_bars: tuple[float, ...]
    beta_bars: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.alpha_bars) != len(self.beta_bars) or len(self.alpha_bars) < 2:
            raise ValueError(
                f"{len(self.alpha_bars)} shares and {len(self.beta_bars)} deviations: "
                "a schedule has as many of one as of the other, at least two"
            )
        for name, values in (("ᾱ", self.alpha_bars), ("β̄", self.beta_bars)):
            if any(b <= a for a, b in pairwise((0.0, *values))):
                raise ValueError(f"{name} does not rise from above 0")

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha_bars)

    def alpha_bar(self, time: int) -> float:
        """Return ᾱ at a time; 0 at −1."""
        return 0.0 if time < 0 else self.alpha_bars[time]

    def beta_bar(self, time: int) -> float:
        """Return β̄ at a time; 0 at −1."""
        return 0.0 if time < 0 else self.beta_bars[time]

    def levels(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """Return ᾱ·T and β̄·T ``(N,)`` float32 of times ``(N,)``, the inputs of networks."""
        tables = (self.alpha_bars, self.beta_bars)
        alpha, beta = (
            (self.steps * torch.tensor(t, dtype=torch.float64)).float().to(times.device)[times]
            for t in tables
        )
        return alpha, beta

    def noised(self, clean: Tensor, coarse: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return x_t of images ``(N, C, H, W)`` with one time ``(N,)`` per image."""
        shape = (-1, *(1,) * (clean.ndim - 1))
        alpha, beta = (
            torch.tensor(t, dtype=torch.float64).to(times.device)[times].view(shape).to(clean.dtype)
            for t in (self.alpha_bars, self.beta_bars)
        )
        return clean + alpha * (coarse - clean) + beta * noise

    def first(self, coarse: Tensor, noise: Tensor, start: Start) -> Tensor:
        """Return where sampling begins.

        Args:
            coarse: C ``(N, C, H, W)``.
            noise: standard normal, of the same shape.
            start: ``official`` is C + ε whatever the schedule; ``consistent`` is C + β̄·ε with
                the last β̄, the deviation that training has seen.
        """
        if start not in STARTS:
            raise ValueError(f"start is {start!r}: it is one of {', '.join(STARTS)}")
        return coarse + (1.0 if start == "official" else self.beta_bars[-1]) * noise

    def times(self, count: int) -> list[int]:
        """Return ``count`` times from T − 1 down, evenly spread so that −1 would be next."""
        return even_times(self.steps, count)

    def sigma(self, time: int, before: int, eta: float) -> float:
        """Return the deviation of the noise that a step from ``time`` to ``before`` adds."""
        now, then = self.beta_bar(time), self.beta_bar(before)
        return math.sqrt(eta * (now**2 - then**2)) * then / now

    def step(
        self,
        noisy: Tensor,
        clean: Tensor,
        coarse: Tensor,
        time: int,
        before: int,
        *,
        fresh: Tensor | None = None,
        eta: float = 0.0,
    ) -> Tensor:
        """Return x at ``before`` from x at ``time`` and the estimated clean image.

        The noise that the estimate implies is eliminated, so that three images are mixed.
        Sampling to −1 returns the estimate itself.

        Args:
            noisy, clean, coarse: x at ``time``, F̂ and C ``(N, C, H, W)``.
            time, before: any two times, ``before`` < ``time``.
            fresh: new noise, needed where η > 0 and ``before`` is not the clean image.
            eta: 0 adds no noise; 1 between neighbours is the ancestral step.
        """
        if before < 0:
            return clean
        sigma = self.sigma(time, before, eta)
        kept = math.sqrt(max(self.beta_bar(before) ** 2 - sigma**2, 0.0)) / self.beta_bar(time)
        drift = self.alpha_bar(before) - kept * self.alpha_bar(time)
        found = kept * noisy + (1 - kept) * clean + drift * (coarse - clean)
        return found if sigma == 0.0 else found + sigma * needed(fresh, eta)

    def step_pair(
        self,
        noisy: Tensor,
        residual: Tensor,
        noise: Tensor,
        time: int,
        before: int,
        *,
        fresh: Tensor | None = None,
        eta: float = 0.0,
    ) -> Tensor:
        """Return x at ``before`` from estimates of the residual C − F and of the noise."""
        sigma = self.sigma(time, before, eta)
        kept = math.sqrt(max(self.beta_bar(before) ** 2 - sigma**2, 0.0))
        found = (
            noisy
            - (self.alpha_bar(time) - self.alpha_bar(before)) * residual
            - (self.beta_bar(time) - kept) * noise
        )
        return found if sigma == 0.0 else found + sigma * needed(fresh, eta)

    def ancestral(self, noisy: Tensor, clean: Tensor, coarse: Tensor, time: int) -> Tensor:
        """Return the mean of x_{t−1} given x_t and the clean image."""
        if time == 0:
            return clean
        now, then = self.beta_bar(time) ** 2, self.beta_bar(time - 1) ** 2
        gained, share = now - then, self.alpha_bar(time) - self.alpha_bar(time - 1)
        towards = gained * self.alpha_bar(time - 1) - then * share
        return (then * noisy + towards * (coarse - clean) + gained * clean) / now

    def ancestral_variance(self, time: int) -> float:
        """Return the variance of x_{t−1} given x_t and the clean image."""
        now, then = self.beta_bar(time) ** 2, self.beta_bar(time - 1) ** 2
        return (now - then) * then / now


def even_times(steps: int, count: int) -> list[int]:
    """Return ``count`` of the times ``steps − 1`` … 0, evenly spaced so that −1 would be next.

    Computed in integers. The released programs truncate a float32 ``linspace``, whose rounding
    makes some times one lower for about a tenth of all counts; 10 and 50 of 100 are equal.

    Raises:
        ValueError: if ``count`` is not 1 … ``steps``.
    """
    if not 1 <= count <= steps:
        raise ValueError(f"{count} sampling steps of a process of {steps}")
    return [i * steps // count - 1 for i in range(count, 0, -1)]


def native(steps: int, sum_scale: float = 1.0) -> ResidualSchedule:
    """Return RDDM's own schedule: shares α fall, variances β² rise, both linearly.

    Args:
        steps: T.
        sum_scale: variance of the noise at the end, the sum of all β².
    """
    whole = steps * (steps + 1)
    alpha = [2 * (steps + 1 - t) / whole for t in range(1, steps + 1)]
    beta = [sum_scale * 2 * t / whole for t in range(1, steps + 1)]
    return ResidualSchedule(_sums(alpha), tuple(math.sqrt(b) for b in _sums(beta)))


def converted(betas: Sequence[float]) -> ResidualSchedule:
    """Return ᾱ = 1 − √ᾱ', β̄ = √(1 − ᾱ') of a DDPM with variances ``betas``, ᾱ' its kept share."""
    kept, alphas, noises = 1.0, [], []
    for beta in betas:
        kept *= 1 - beta
        alphas.append(1 - math.sqrt(kept))
        noises.append(math.sqrt(1 - kept))
    return ResidualSchedule(tuple(alphas), tuple(noises))


def schedule(kind: Kind, steps: int = 100) -> ResidualSchedule:
    """Return a schedule by name.

    Args:
        kind: ``rddm`` is the native one; ``official`` converts DDPM's β from 1e-4 to 0.02 over
            T steps as they are, so that it ends at (0.397, 0.798) for T = 100; with
            ``ddpm_rescaled`` they are multiplied by 1000/T, so that it ends near (1, 1).
        steps: T.
    """
    if kind not in KINDS:
        raise ValueError(f"schedule is {kind!r}: it is one of {', '.join(KINDS)}")
    if kind == "rddm":
        return native(steps)
    scale = DDPM_STEPS / steps if kind == "ddpm_rescaled" else 1.0
    line = torch.linspace(FIRST_BETA, LAST_BETA, steps, dtype=torch.float64, device="cpu")
    return converted((line * scale).clamp(max=LARGEST_BETA).tolist())


def _sums(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(math.fsum(values[: i + 1]) for i in range(len(values)))
