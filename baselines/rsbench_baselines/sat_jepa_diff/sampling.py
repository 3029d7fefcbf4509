"""Samplers: which noise levels are walked through, and from where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from rsbench_baselines.sat_jepa_diff.generator import shifted_sigmas

Velocity = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Sampler:
    """One way to draw a frame.

    Args:
        start: ``last``: the last frame's latents mixed with noise at ``strength``; ``noise``.
        strength: first noise level.
        steps: calls of the transformer K.
        shifted: levels as Stable Diffusion 3 spaces them, else evenly.
    """

    name: str
    start: str
    strength: float
    steps: int
    shifted: bool

    def sigmas(self) -> Tensor:
        """Return ``steps + 1`` noise levels, the last one 0."""
        if self.shifted:
            return shifted_sigmas(self.steps)
        return torch.linspace(self.strength, 0, self.steps + 1, device="cpu")


SAMPLERS = {
    "sjd-1step-0.35": Sampler("sjd-1step-0.35", "last", 0.35, 1, shifted=False),
    "sjd-euler30-0.35": Sampler("sjd-euler30-0.35", "last", 0.35, 30, shifted=False),
    "sjd-fm": Sampler("sjd-fm", "noise", 1.0, 28, shifted=True),
}


def sampler(name: str, steps: int | None = None) -> Sampler:
    """Return a sampler by name, with another number of steps if given."""
    if name not in SAMPLERS:
        raise ValueError(f"there is no sampler {name!r}; there are {', '.join(SAMPLERS)}")
    found = SAMPLERS[name]
    if steps is None or steps == found.steps:
        return found
    if steps < 1 or found.steps == 1:
        raise ValueError(f"{name} cannot take {steps} steps")
    return replace(found, steps=steps)


def start_of(chosen: Sampler, last: Tensor | None, noise: Tensor) -> Tensor:
    """Return the latents that a sampler starts from, of the last frame's and standard normal ones.

    Raises:
        ValueError: if the sampler starts from the last frame and there is none.
    """
    if chosen.start == "noise":
        return noise
    if last is None:
        raise ValueError(f"{chosen.name} starts from the latents of the last frame")
    return (1 - chosen.strength) * last + chosen.strength * noise


def walk(velocity: Velocity, noise: Tensor, last: Tensor | None, chosen: Sampler) -> Tensor:
    """Return latents without noise: Euler steps ``x ← x + (σ' − σ)·v``.

    Args:
        velocity: called with latents ``(B, c, h, w)`` and noise levels ``(B,)``.
        noise: standard normal ``(B, c, h, w)``.
        last: latents of the last frame; needed where the sampler starts from them.
    """
    x = start_of(chosen, last, noise)
    levels = chosen.sigmas().to(x.device)
    for now, then in pairwise(levels):
        x = x + (then - now) * velocity(x, now.expand(x.shape[0]))
    return x
