"""The context median."""

from __future__ import annotations

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines.persistence.model import bands_of, fill, repeat


def masked_median(values: Tensor, valid: Tensor, fallback: Tensor) -> Tensor:
    """Return the median over time of valid values; the mean of the middle two if even.

    Args:
        values: ``(B, M, T, C, H, W)``.
        valid: the same shape, bool.
        fallback: ``(B, M, C, H, W)``, taken where no value is valid.
    """
    ordered = torch.where(valid, values, torch.inf).sort(dim=2).values
    count = valid.sum(dim=2, keepdim=True)
    low = ordered.gather(2, ((count - 1) // 2).clamp(min=0)).squeeze(2)
    high = ordered.gather(2, (count // 2).clamp(max=values.shape[2] - 1)).squeeze(2)
    return torch.where(count.squeeze(2) > 0, low + (high - low) / 2, fallback)


class Climatology:
    """x̂(t + l) = median of the pixel's valid context; persistence's filling where none."""

    def predict(self, given: Given, want: Want) -> Prediction:
        """Repeat the context median at every lead."""
        frames = given.frames[want.sensor]
        values, valid = bands_of(frames, want.bands)
        fallback = fill(values, valid, frames.value_range)[:, :, -1]
        return repeat(masked_median(values, valid, fallback), want)


def build(preset: str) -> Climatology:
    """Build the model."""
    return Climatology()
