"""Standardisation of the images of sensors by statistics of the training split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from rsbench import Frames, Given

LEAST = 1e-12
"""Least variance of a band."""


def frames_of(given: Given) -> Frames:
    """Return the frames of the only sensor."""
    (frames,) = given.frames.values()
    return frames


def image_of(frames: Frames) -> tuple[Tensor, Tensor]:
    """Return the last image: ``(B, C, H, W)``, and ``(B, 1, H, W)`` bool, valid in all bands."""
    return frames.values[:, 0, -1], frames.valid[:, 0, -1].all(dim=1, keepdim=True)


class Standardise(nn.Module):
    """Subtracts the mean of each band and divides by its standard deviation; 0 where invalid.

    Args:
        bands: number of bands.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(bands))
        self.register_buffer("deviation", torch.ones(bands))

    def forward(self, frames: Frames) -> Tensor:
        """Return the last image ``(B, C, H, W)``; pixels that are not valid in all bands are 0."""
        values, valid = image_of(frames)
        scaled = (values - self.mean[:, None, None]) / self.deviation[:, None, None]
        return torch.where(valid, scaled, 0)

    def set(self, sums: Mapping[str, Tensor]) -> None:
        """Set mean and deviation from the added-up results of :func:`sums_of`."""
        mean = sums["sum"] / sums["count"].clamp(min=1)
        variance = sums["square"] / sums["count"].clamp(min=1) - mean.square()
        self.mean.copy_(mean)
        self.deviation.copy_(variance.clamp(min=LEAST).sqrt())


def sums_of(frames: Frames) -> dict[str, Tensor]:
    """Return number of valid pixels, and sum and sum of squares per band, in float64."""
    values, valid = image_of(frames)
    kept = torch.where(valid, values, 0).double()
    return {
        "count": valid.sum().double(), "sum": kept.sum((0, 2, 3)),
        "square": kept.square().sum((0, 2, 3)),
    }  # fmt: skip


def added(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the sum of each named tensor over the parts; empty if there are none."""
    total: dict[str, Tensor] = {}
    for part in parts:
        total = {name: total[name] + value if total else value for name, value in part.items()}
    return total
