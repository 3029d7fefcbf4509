"""Conversion between frames in a unit and the inputs and outputs of a pixel diffusion, in ±1."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rsbench import Frames
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.persistence.model import bands_of, fill


def slots_of(frames: Frames, bands: tuple[str, ...], slots: int) -> tuple[Tensor, Tensor]:
    """Return the condition and the last frame.

    Returns:
        ``(B, M|1, slots, C + 1, H, W)``: per slot the frame, scaled to ±1, and a channel that is
        1 where all bands are valid; frames are right-aligned, and empty slots hold zeros.
        ``(B, M|1, C, H, W)``: the last frame, filled, in shares of the value range.
    """
    values, valid = bands_of(frames, bands)
    low, high = frames.value_range
    shares = (fill(values, valid, frames.value_range) - low) / (high - low)
    seen = valid.all(dim=3, keepdim=True).to(shares.dtype)
    slot = torch.cat([2 * shares - 1, seen], dim=3)[:, :, -slots:]
    absent = slots - slot.shape[2]
    if absent:
        slot = torch.cat([slot.new_zeros(*slot.shape[:2], absent, *slot.shape[3:]), slot], 2)
    return slot, shares[:, :, -1]


def target_of(share: Tensor, last: Tensor, gain: float, bound: float = 1.0) -> Tensor:
    """Return the image within ±1, or ``gain`` times its change since ``last``.

    Changes are clipped to ±bound/gain of the value range.
    """
    return (gain * (share - last)).clamp(-bound, bound) if gain else 2 * share - 1


def image_of(drawn: Tensor, last: Tensor, gain: float) -> Tensor:
    """Return the image in shares of the value range: the inverse of :func:`target_of`."""
    return last + drawn / gain if gain else (drawn + 1) / 2


class Disturbed(NamedTuple):
    """Inputs and target of one training step: noisy images, times ``(N,)``, noise, condition."""

    noisy: Tensor
    times: Tensor
    noise: Tensor
    condition: Tensor


def disturbed(
    diffusion: Diffusion, clean: Tensor, condition: Tensor, *, dropout: float
) -> Disturbed:
    """Add noise to clean images ``(N, C, H, W)`` at uniformly drawn times.

    Args:
        dropout: probability that the condition of a sample is set to 0.
    """
    N = clean.shape[0]
    if dropout > 0:
        condition = condition * (torch.rand(N, 1, 1, 1) >= dropout).to(condition)
    times = torch.randint(0, diffusion.steps, (N,)).to(clean.device)
    noise = torch.randn(clean.shape).to(clean)
    return Disturbed(diffusion.noised(clean, noise, times), times, noise, condition)
