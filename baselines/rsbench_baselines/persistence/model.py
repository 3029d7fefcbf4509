"""Persistence, and the filling of invalid pixels that other models share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rsbench import Frames, Given, Prediction, Want


def bands_of(frames: Frames, bands: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Return values and validity ``(B, M|1, T, C, H, W)`` of the wanted bands, in their order."""
    missing = [band for band in bands if band not in frames.bands]
    if missing:
        raise ValueError(f"bands {missing} are wanted but given are {list(frames.bands)}")
    index = [frames.bands.index(band) for band in bands]
    valid = frames.valid.expand(*frames.valid.shape[:3], len(frames.bands), -1, -1)
    if index == list(range(len(frames.bands))):
        return frames.values, valid
    return frames.values[:, :, :, index], valid[:, :, :, index]


def fill(values: Tensor, valid: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Fill invalid pixels along time, so that a value exists everywhere.

    Each takes the last valid value before it in time; where none, the first after it; where the
    pixel is never valid, the mean of the frame's valid pixels of that band, of the nearest
    frame that has any (earlier ones first); where the band has none, the middle of the range.

    Args:
        values: ``(B, M, T, C, H, W)``.
        valid: the same shape, bool.
        value_range: lowest and highest value of the unit.
    """
    if bool(valid.all()):
        return values
    filled, known = _along_time(values, valid)
    count = valid.sum(dim=(-2, -1), keepdim=True)
    total = torch.where(valid, values, 0).double().sum(dim=(-2, -1), keepdim=True)
    mean = (total / count.clamp(min=1)).to(values.dtype)
    mean, has_mean = _along_time(mean, count > 0)
    mean = torch.where(has_mean, mean, (value_range[0] + value_range[1]) / 2)
    return torch.where(known, filled, mean.expand_as(filled))


def _along_time(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Carry valid values forward, then backward; return them and where any was valid."""
    if values.shape[2] == 1:
        return values, valid
    # Running minima and maxima of frame numbers would cost more than a small network's step.
    frames = list(zip(values.unbind(2), valid.unbind(2), strict=True))
    forward, backward = _carried(frames), _carried(frames[::-1])[::-1]
    both = list(zip(forward, backward, strict=True))
    filled = [torch.where(known, value, after) for (value, known), (after, _) in both]
    known = [known | later for (_, known), (_, later) in both]
    return torch.stack(filled, 2), torch.stack(known, 2)


def _carried(frames: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Return of each frame the last valid values up to it, and where any was valid."""
    found = [frames[0]]
    for value, valid in frames[1:]:
        last, known = found[-1]
        found.append((torch.where(valid, value, last), valid | known))
    return found


def last_valid(frames: Frames, bands: tuple[str, ...]) -> Tensor:
    """Return ``(B, M|1, C, H, W)``: the last valid value of each pixel, filled everywhere."""
    values, valid = bands_of(frames, bands)
    return fill(values, valid, frames.value_range)[:, :, -1]


def repeat(values: Tensor, want: Want) -> Prediction:
    """Answer ``want`` with ``(B, M|1, C, H, W)`` at every lead and for every member."""
    B, _, C, H, W = values.shape
    shape = (B, want.members, want.times.shape[1], C, H, W)
    return Prediction(values[:, :, None].expand(shape).contiguous())


class Persistence:
    """x̂(t + l) = x(last valid ≤ t)."""

    def predict(self, given: Given, want: Want) -> Prediction:
        """Repeat the last valid value at every lead."""
        return repeat(last_valid(given.frames[want.sensor], want.bands), want)


def build(preset: str) -> Persistence:
    """Build the model."""
    return Persistence()
