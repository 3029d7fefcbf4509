"""Persistence, and the filling of invalid pixels that other models share."""

from __future__ import annotations

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
    T = values.shape[2]
    if T == 1:
        return values, valid  # running minima and maxima cost more than a small network's step
    step = torch.arange(T, device=values.device).view(1, 1, T, 1, 1, 1)
    before = torch.where(valid, step, -1).cummax(dim=2).values
    after = torch.where(valid, step, T).flip(2).cummin(dim=2).values.flip(2)
    source = torch.where(before >= 0, before, after)
    return values.gather(2, source.clamp(max=T - 1)), source < T


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
