"""What a fusion sample holds, with every gap filled from what is valid beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rsbench import Frames, Given, Want


@dataclass(frozen=True)
class Pairs:
    """K reference pairs and the coarse image of the target date, all finite.

    Args:
        fine, coarse: ``(B, M|1, K, C, H, W)`` float32 in the unit, gaps filled.
        target: ``(B, M|1, C, H, W)``, the coarse image of the target date, gaps filled.
        fine_seen, coarse_seen, target_seen: where the numbers were given and not filled.
        footprint: fine pixels along one side of a coarse measurement.
        value_range: the data's range in the unit.
    """

    fine: Tensor
    coarse: Tensor
    target: Tensor
    fine_seen: Tensor
    coarse_seen: Tensor
    target_seen: Tensor
    footprint: int
    value_range: tuple[float, float]


def pairs_of(given: Given, want: Want) -> Pairs:
    """Sort out references and target, and fill gaps.

    A gap of a coarse image takes the mean of the other dates there, then of the band. A gap of a
    fine image takes the mean of the other references there, then the coarse image of its date.
    """
    fine = given.frames[want.sensor]
    low = next(frames for name, frames in given.frames.items() if name != want.sensor)
    fine_values, fine_seen = _bands(fine, want.bands)
    coarse_values, coarse_seen = _bands(low, want.bands)
    middle = sum(fine.value_range) / 2
    coarse_values = _fill(coarse_values, coarse_seen, middle)
    at_target = low.times == want.times
    at = [int(i) for i in at_target.int().argmax(dim=1)]
    refs = [[k for k in range(low.times.shape[1]) if k != t] for t in at]
    reference = _take(coarse_values, refs)
    other = _others(fine_values, fine_seen, reference)
    return Pairs(
        fine=torch.where(fine_seen, fine_values, other),
        coarse=reference,
        target=_take(coarse_values, [[t] for t in at])[:, :, 0],
        fine_seen=fine_seen,
        coarse_seen=_take(coarse_seen, refs),
        target_seen=_take(coarse_seen, [[t] for t in at])[:, :, 0],
        footprint=low.footprint,
        value_range=fine.value_range,
    )


def answer(values: Tensor, want: Want) -> Tensor:
    """Return ``(B, M|1, C, H, W)`` as the ``(B, M, 1, C, H, W)`` that is wanted."""
    B, _, C, H, W = values.shape
    return values[:, :, None].expand(B, want.members, 1, C, H, W).contiguous()


def _bands(frames: Frames, bands: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    values, valid = frames.values, frames.valid.expand_as(frames.values)
    if frames.bands == bands:
        return values, valid
    index = [frames.bands.index(band) for band in bands]
    return values[:, :, :, index], valid[:, :, :, index]


def _take(values: Tensor, dates: list[list[int]]) -> Tensor:
    """Return the dates of every batch row along axis 2."""
    return torch.stack([values[b][:, rows] for b, rows in enumerate(dates)])


def _fill(values: Tensor, seen: Tensor, middle: float) -> Tensor:
    """Fill gaps by the other dates' mean, then by the band's mean over all dates and pixels."""
    total = torch.where(seen, values, 0).sum(dim=2, keepdim=True)
    count = seen.sum(dim=2, keepdim=True)
    whole, pixels = total.sum(dim=(-2, -1), keepdim=True), count.sum(dim=(-2, -1), keepdim=True)
    mean = torch.where(pixels > 0, whole / pixels.clamp(min=1), middle)
    there = torch.where(count > 0, total / count.clamp(min=1), mean)
    return torch.where(seen, values, there)


def _others(values: Tensor, seen: Tensor, instead: Tensor) -> Tensor:
    total = torch.where(seen, values, 0).sum(dim=2, keepdim=True)
    count = seen.sum(dim=2, keepdim=True)
    return torch.where(count > 0, total / count.clamp(min=1), instead)
