"""Gaussian diffusion: the forward process, its posterior, and samplers in few or all steps.

J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020; J. Song,
C. Meng, S. Ermon, "Denoising diffusion implicit models", ICLR 2021; A. Nichol, P. Dhariwal,
"Improved denoising diffusion probabilistic models", ICML 2021 (the cosine schedule).

Times run 0 … T − 1, from the least noise to the most; −1 is the clean image, with ᾱ = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from rsbench import Want

Denoiser = Callable[[Tensor, int], Tensor]
"""Takes noisy images ``(N, C, H, W)`` and a time; returns the noise in them."""
Draw = Callable[[str], Tensor]
"""Takes a name; returns standard normal noise ``(N, C, H, W)``."""
COSINE_OFFSET = 0.008
LARGEST_BETA = 0.999
SCALED_BETAS = (0.00085, 0.012)


@dataclass(frozen=True)
class Diffusion:
    """A forward process: the variance that each step adds.

    Args:
        steps: number of steps T.
        kind: ``linear`` (β from 1e-4 to 0.02 at T = 1000, as published), ``cosine``, or ``scaled``
            (√β linear from √0.00085 to √0.012, as in Stable Diffusion 1 and 2).
    """

    steps: int = 1000
    kind: Literal["linear", "cosine", "scaled"] = "linear"

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "cosine", "scaled"):
            raise ValueError(f"schedule is {self.kind!r}: it is scaled, linear or cosine")
        if self.steps < 2:
            raise ValueError(f"diffusion over {self.steps} steps: at least 2 are needed")

    @cached_property
    def betas(self) -> Tensor:
        """``(T,)`` float64: the variance that each step adds."""
        # On the CPU whatever the default device is: a meta tensor would hold no numbers.
        if self.kind == "linear":
            scale = 1000 / self.steps
            line = torch.linspace(
                1e-4 * scale, 0.02 * scale, self.steps, dtype=torch.float64, device="cpu"
            )
            return line.clamp(max=LARGEST_BETA)
        if self.kind == "scaled":
            first, last = (math.sqrt(beta) for beta in SCALED_BETAS)
            roots = torch.linspace(first, last, self.steps, dtype=torch.float64, device="cpu")
            return roots.square()
        places = torch.arange(self.steps + 1, dtype=torch.float64, device="cpu") / self.steps
        share = (places + COSINE_OFFSET) / (1 + COSINE_OFFSET)
        kept = torch.cos(share * math.pi / 2).square()
        return (1 - kept[1:] / kept[:-1]).clamp(max=LARGEST_BETA)

    @cached_property
    def alpha_bars(self) -> Tensor:
        """``(T,)`` float64: the share of the clean image's variance that is left."""
        return torch.cumprod(1 - self.betas, dim=0)

    def alpha_bar(self, time: int) -> float:
        """Return ᾱ at a time; 1 at −1."""
        return 1.0 if time < 0 else float(self.alpha_bars[time])

    def noised(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return x_t = √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε with one time ``(N,)`` per image."""
        kept = self.alpha_bars.to(times.device)[times].view(-1, *(1,) * (clean.ndim - 1))
        return kept.sqrt().to(clean.dtype) * clean + (1 - kept).sqrt().to(clean.dtype) * noise

    def clean(self, noisy: Tensor, noise: Tensor, time: int) -> Tensor:
        """Return x̂_0 from x_t and the noise in it."""
        kept = self.alpha_bar(time)
        return (noisy - math.sqrt(1 - kept) * noise) / math.sqrt(kept)

    def velocity(self, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """Return v = √ᾱ_t·ε − √(1 − ᾱ_t)·x_0 with one time ``(N,)`` per image.

        T. Salimans, J. Ho, "Progressive distillation for fast sampling of diffusion models",
        ICLR 2022, appendix D.
        """
        return self.noised(noise, -clean, times)

    def noise_of(self, velocity: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Return ε = √ᾱ_t·v + √(1 − ᾱ_t)·x_t, the noise in x_t by :meth:`velocity`."""
        return self.noised(velocity, noisy, times)

    def sigma(self, time: int, before: int, eta: float) -> float:
        """Return the deviation of the noise that a step from ``time`` to ``before`` adds."""
        now, then = self.alpha_bar(time), self.alpha_bar(before)
        return eta * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)

    def posterior_variance(self, time: int) -> float:
        """Return β̃_t, the variance of x_{t−1} given x_t and x_0."""
        beta = float(self.betas[time])
        return beta * (1 - self.alpha_bar(time - 1)) / (1 - self.alpha_bar(time))

    def ancestral_mean(self, noisy: Tensor, noise: Tensor, time: int) -> Tensor:
        """Return the mean of x_{t−1} in DDPM's form, from x_t and the noise in it."""
        beta = float(self.betas[time])
        shift = beta / math.sqrt(1 - self.alpha_bar(time))
        return (noisy - shift * noise) / math.sqrt(1 - beta)

    def ddim_step(
        self,
        noisy: Tensor,
        noise: Tensor,
        time: int,
        before: int,
        *,
        fresh: Tensor | None = None,
        eta: float = 0.0,
        bound: float | None = 1.0,
    ) -> Tensor:
        """Return x at ``before`` from x at ``time``.

        Args:
            noisy: x at ``time``.
            noise: the noise in it, as estimated.
            time, before: any two times, ``before`` < ``time``.
            fresh: new noise, needed where η > 0 and ``before`` is not the clean image.
            eta: 0 is deterministic; 1 between neighbours is DDPM with variance β̃.
            bound: the estimate of the clean image is clipped to ±bound.
        """
        image = self.clean(noisy, noise, time)
        if bound is not None:
            image = image.clamp(-bound, bound)
        then, sigma = self.alpha_bar(before), self.sigma(time, before, eta)
        found = math.sqrt(then) * image + math.sqrt(max(1 - then - sigma**2, 0.0)) * noise
        if sigma == 0.0:
            return found
        return found + sigma * needed(fresh, eta)

    def times(self, count: int, *, power: float = 1.0) -> list[int]:
        """Return ``count`` times from T − 1 down to 0, evenly spread.

        Args:
            count: number of times.
            power: 2 spreads their roots evenly, as in appendix D.2 of Song et al.: more of them
                near the clean image. Times that coincide are left out.
        """
        if not 1 <= count <= self.steps:
            raise ValueError(f"{count} sampling steps of a process of {self.steps}")
        if count == 1:
            return [self.steps - 1]
        last = self.steps - 1
        places = [(count - 1 - i) / (count - 1) for i in range(count)]
        return list(dict.fromkeys(round(last * place**power) for place in places))

    def posterior_step(
        self,
        noisy: Tensor,
        noise: Tensor,
        time: int,
        before: int,
        *,
        fresh: Tensor | None = None,
        bound: float | None = 1.0,
    ) -> Tensor:
        """Return x at ``before`` drawn from q(x_before | x_time, x̂_0): DDPM between any two times.

        Equal to :meth:`ddim_step` with η = 1 if nothing is clipped at ``bound``; otherwise x_time
        itself enters here and the estimated noise there.
        """
        image = self.clean(noisy, noise, time)
        if bound is not None:
            image = image.clamp(-bound, bound)
        now, then = self.alpha_bar(time), self.alpha_bar(before)
        step = now / then
        found = (
            math.sqrt(then) * (1 - step) / (1 - now) * image
            + math.sqrt(step) * (1 - then) / (1 - now) * noisy
        )
        sigma = self.sigma(time, before, 1.0)
        if sigma == 0.0:
            return found
        if fresh is None:
            raise ValueError("a step of DDPM needs fresh noise")
        return found + sigma * fresh

    def sample(
        self,
        denoise: Denoiser,
        draw: Draw,
        *,
        steps: int,
        eta: float = 0.0,
        bound: float | None = 1.0,
        times: Sequence[int] | None = None,
        ancestral: bool = False,
    ) -> Tensor:
        """Sample a clean image in ``steps`` calls of the denoiser.

        Noise is drawn under the names ``start`` and ``step/<time>``, so that each draw
        is independent of the number of other draws.

        Args:
            denoise, draw: the network and the noise.
            steps: number of calls.
            eta: of :meth:`ddim_step`.
            bound: the estimate of the clean image is clipped to ±bound.
            times: the times to visit, descending; :meth:`times` of ``steps`` where None.
            ancestral: step by DDPM's posterior instead of DDIM.
        """
        visited = list(self.times(steps) if times is None else times)
        eta = 1.0 if ancestral else eta
        x = draw("start")
        for time, before in zip(visited, [*visited[1:], -1], strict=True):
            fresh = draw(f"step/{time}") if self.sigma(time, before, eta) > 0 else None
            noise = denoise(x, time)
            if ancestral:
                x = self.posterior_step(x, noise, time, before, fresh=fresh, bound=bound)
            else:
                x = self.ddim_step(x, noise, time, before, fresh=fresh, eta=eta, bound=bound)
        return x


@dataclass(frozen=True)
class Sampler:
    """How an image is drawn.

    Args:
        sampling_steps: calls of the network per image.
        eta: 0 is DDIM without noise between steps; 1 adds the noise of DDPM.
    """

    sampling_steps: int = 50
    eta: float = 0.0


@dataclass(frozen=True)
class Sampling:
    """How a fusion network draws images.

    Args:
        steps: calls of the network per image.
        eta: 0 adds no noise between steps; 1 between neighbouring times is the ancestral sampler.
        members: draws per image, in a row along the batch.
        cached: compute what depends on the condition only once; False computes it in every step,
            with the same result.
    """

    steps: int
    eta: float = 0.0
    members: int = 1
    cached: bool = True


def drawer(want: Want, name: str, *, images: int = 1) -> Draw:
    """Return a source of noise ``(N·members, images·C, H, W)``, seeded by ``name`` and request."""

    def draw(what: str) -> Tensor:
        channels = images * len(want.bands)
        return want.noise.normal(f"{name}/{what}", want, channels=channels).flatten(0, 1)

    return draw


def needed(fresh: Tensor | None, eta: float) -> Tensor:
    """Return the fresh noise that a step requires."""
    if fresh is None:
        raise ValueError(f"a step with η = {eta} needs fresh noise")
    return fresh
