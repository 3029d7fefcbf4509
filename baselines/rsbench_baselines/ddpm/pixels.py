"""Between frames in a unit and what a diffusion in pixel space takes and draws, all within ±1."""

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
        1 where all bands were seen; frames are right-aligned, and slots without one hold zeros.
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


def target_of(share: Tensor, last: Tensor, gain: float) -> Tensor:
    """Return what is drawn: the image within ±1, or ``gain`` times its change since ``last``.

    Changes beyond ±1/gain of the range are held there.
    """
    return (gain * (share - last)).clamp(-1, 1) if gain else 2 * share - 1


def image_of(drawn: Tensor, last: Tensor, gain: float) -> Tensor:
    """Undo :func:`target_of`: the image in shares of the range."""
    return last + drawn / gain if gain else (drawn + 1) / 2


class Lesson(NamedTuple):
    """What one training step shows: noisy images, their times, the noise, the condition."""

    noisy: Tensor
    times: Tensor
    noise: Tensor
    condition: Tensor


def lesson(diffusion: Diffusion, clean: Tensor, condition: Tensor, *, dropout: float) -> Lesson:
    """Disturb clean images ``(N, C, H, W)`` at times drawn evenly.

    Args:
        dropout: how often a sample goes without its condition, which is then all zeros.
    """
    N = clean.shape[0]
    if dropout > 0:
        condition = condition * (torch.rand(N, 1, 1, 1) >= dropout).to(condition)
    times = torch.randint(0, diffusion.steps, (N,)).to(clean.device)
    noise = torch.randn(clean.shape).to(clean)
    return Lesson(diffusion.noised(clean, noise, times), times, noise, condition)
