"""Images of a fusion sample, with every gap filled from valid values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rsbench import Frames, Given, Prediction, Want


@dataclass(frozen=True)
class ImagePairs:
    """K reference pairs and the coarse image of the target date, all finite.

    Args:
        fine, coarse: ``(B, M|1, K, C, H, W)`` float32 in the unit, gaps filled.
        target: ``(B, M|1, C, H, W)``, the coarse image of the target date, gaps filled.
        fine_seen, coarse_seen, target_seen: where the numbers were given and not filled.
        days, target_day: ``(B, K)`` and ``(B,)``, the references' dates and the target's in days.
        footprint: fine pixels along one side of a coarse measurement.
        value_range: the data's range in the unit.
    """

    fine: Tensor
    coarse: Tensor
    target: Tensor
    fine_seen: Tensor
    coarse_seen: Tensor
    target_seen: Tensor
    days: Tensor
    target_day: Tensor
    footprint: int
    value_range: tuple[float, float]


def pairs_of(given: Given, want: Want) -> ImagePairs:
    """Sort out references and target, and fill gaps.

    A gap of a coarse image takes the mean of the other dates there, then of the band. A gap of a
    fine image takes the mean of the other references there, then the coarse image of its date.
    """
    fine = given.frames[want.sensor]
    low = next(frames for name, frames in given.frames.items() if name != want.sensor)
    fine_values, fine_seen = _bands(fine, want.bands)
    coarse_values, coarse_seen = _bands(low, want.bands)
    coarse_values = _fill(coarse_values, coarse_seen, sum(fine.value_range) / 2)
    at = [int(i) for i in (low.times == want.times).int().argmax(dim=1)]
    refs = [[k for k in range(low.times.shape[1]) if k != t] for t in at]
    reference = _take(coarse_values, refs)
    return ImagePairs(
        fine=_instead(fine_values, fine_seen, reference),
        coarse=reference,
        target=_take(coarse_values, [[t] for t in at])[:, :, 0],
        fine_seen=fine_seen,
        coarse_seen=_take(coarse_seen, refs),
        target_seen=_take(coarse_seen, [[t] for t in at])[:, :, 0],
        days=fine.times,
        target_day=want.times[:, 0],
        footprint=low.footprint,
        value_range=fine.value_range,
    )


def fused(given: Given, want: Want, fuse: Callable[[ImagePairs, int, int], Tensor]) -> Prediction:
    """Answer with every sample and member fused on its own.

    Args:
        given, want: as they came.
        fuse: returns ``(C, H, W)`` of a sample and a member of the pairs.
    """
    pairs = pairs_of(given, want)
    B, M = pairs.target.shape[:2]
    rows = [torch.stack([fuse(pairs, b, m) for m in range(M)]) for b in range(B)]
    return Prediction(answer(torch.stack(rows), want))


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
    """Return the dates of every batch row along axis 2; a view where all rows want the same."""
    first = dates[0]
    if any(row != first for row in dates):
        return torch.stack([values[b][:, rows] for b, rows in enumerate(dates)])
    step = first[1] - first[0] if len(first) > 1 else 1
    if first == list(range(first[0], first[-1] + 1, step)):
        return values[:, :, first[0] : first[-1] + 1 : step]
    return values[:, :, first]


def _fill(values: Tensor, seen: Tensor, middle: float) -> Tensor:
    """Fill gaps by the other dates' mean, then by the band's mean over all dates and pixels."""
    if bool(seen.all()):
        return values
    total, count = _total(values, seen)
    whole, pixels = total.sum(dim=(-2, -1), keepdim=True), count.sum(dim=(-2, -1), keepdim=True)
    mean = torch.where(pixels > 0, whole / pixels.clamp(min=1), middle)
    total = torch.where(count > 0, total.div_(count.clamp(min=1)), mean)
    return torch.where(seen, values, total)


def _instead(values: Tensor, seen: Tensor, instead: Tensor) -> Tensor:
    """Fill gaps by the other dates' mean, then by what stands there instead."""
    if bool(seen.all()):
        return values
    total, count = _total(values, seen)
    total.div_(count.clamp(min=1))
    filled = torch.empty(values.shape, dtype=values.dtype, device=values.device)
    for k in range(values.shape[2]):  # date by date: the images may be large
        own = torch.where(count[:, :, 0] > 0, total[:, :, 0], instead[:, :, k])
        filled[:, :, k] = torch.where(seen[:, :, k], values[:, :, k], own)
    return filled


def _total(values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum and number of valid values over dates, axis 2 kept."""
    total = torch.zeros_like(values[:, :, :1])
    count = torch.zeros_like(total)
    for k in range(values.shape[2]):
        total[:, :, 0] += torch.where(seen[:, :, k], values[:, :, k], 0)
        count[:, :, 0] += seen[:, :, k]
    return total, count
