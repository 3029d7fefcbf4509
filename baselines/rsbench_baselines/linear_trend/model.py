"""The per-pixel linear trend."""

from __future__ import annotations

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines.persistence.model import bands_of, fill

MIN_DATES = 3


def extrapolate(values: Tensor, valid: Tensor, times: Tensor, ahead: Tensor) -> Tensor:
    """Fit a line to each pixel's valid values and read it off at other times.

    Args:
        values: ``(B, M, T, C, H, W)``.
        valid: the same shape, bool.
        times: ``(B, T)`` days.
        ahead: ``(B, L)`` days.

    Returns:
        ``(B, M, L, C, H, W)`` float64; without meaning where fewer than two dates are valid.
    """
    # Time counts from the last context date, so that sums stay small.
    origin = times[:, -1:]
    t = (times - origin).double().view(*times.shape[:1], 1, -1, 1, 1, 1)
    weight = valid.double()
    n = weight.sum(dim=2, keepdim=True).clamp(min=1)
    mean_t = (weight * t).sum(dim=2, keepdim=True) / n
    mean_x = torch.where(valid, values, 0).double().sum(dim=2, keepdim=True) / n
    centred = weight * (t - mean_t)
    slope = (centred * (values.double() - mean_x)).sum(dim=2, keepdim=True)
    spread = centred.square().sum(dim=2, keepdim=True)
    slope = torch.where(spread > 0, slope / spread.clamp(min=1e-12), 0)
    later = (ahead - origin).double().view(*ahead.shape[:1], 1, -1, 1, 1, 1)
    return mean_x + slope * (later - mean_t)


class LinearTrend:
    """x̂(t + l) = a + b·(t + l), least squares over the pixel's valid context.

    A pixel with fewer than three valid dates keeps its last valid value, as in persistence: a
    line through two dates only repeats their noise, amplified.
    """

    def predict(self, given: Given, want: Want) -> Prediction:
        """Read every pixel's line off at every lead."""
        frames = given.frames[want.sensor]
        values, valid = bands_of(frames, want.bands)
        line = extrapolate(values, valid, frames.times, want.times)
        last = fill(values, valid, frames.value_range)[:, :, -1:]
        enough = valid.sum(dim=2, keepdim=True) >= MIN_DATES
        answer = torch.where(enough, line.to(values.dtype), last)
        B, _, L, C, H, W = answer.shape
        return Prediction(answer.expand(B, want.members, L, C, H, W).contiguous())


def build(preset: str) -> LinearTrend:
    """Build the model."""
    return LinearTrend()
