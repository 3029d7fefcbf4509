"""Scales of super-resolution: standardised inputs, a fitted line, and the size of its residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rsbench_baselines.superresolve_reference.model import line

REACH = 6.0
"""Standard deviations of a band's residual that are 1 in the network."""
LIMIT = 0.5
"""Largest number that is drawn: three standard deviations."""
LEAST = 1e-6
"""Least standard deviation, in the unit of the band."""


class Scale(nn.Module):
    """What the network sees and draws, in numbers near ±1.

    Args:
        bands: wanted bands C.
        inputs: bands given; the first C are the wanted ones.
    """

    gain: Tensor
    offset: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self, bands: int, inputs: int) -> None:
        super().__init__()
        for name, count, value in (
            ("gain", bands, 1.0), ("offset", bands, 0.0), ("spread", bands, 1.0),
            ("mean", inputs, 0.0), ("deviation", inputs, 1.0),
        ):  # fmt: skip
            self.register_buffer(name, torch.full((count, 1, 1), value))

    def condition(self, coarse: Tensor) -> Tensor:
        """Return the upsampled coarse image ``(N, inputs, H, W)``, standardised."""
        return (coarse - self.mean) / self.deviation

    def base(self, coarse: Tensor) -> Tensor:
        """Return the fitted line ``(N, C, H, W)`` of the upsampled coarse image."""
        return self.gain * coarse[:, : len(self.gain)] + self.offset

    def residual(self, fine: Tensor, base: Tensor) -> Tensor:
        """Return what the line leaves out; residuals beyond ±`LIMIT` are clipped."""
        return ((fine - base) / self.spread).clamp(-LIMIT, LIMIT)

    def image(self, drawn: Tensor, base: Tensor) -> Tensor:
        """Return the image of a residual: the inverse of :meth:`residual`."""
        return base + drawn * self.spread

    def set(self, lines: Tensor, images: Tensor) -> None:
        """Set all scales.

        Args:
            lines: added results of ``line_sums`` of coarse and fine bands.
            images: those of the bands given, with themselves.

        Raises:
            ValueError: if a band has no pixel.
        """
        gain, offset = line(lines)
        n, x, y, _, xy, yy = lines
        left = (yy - y * y / n - gain * (xy - x * y / n)) / n
        n, x, _, xx, *_ = images
        found = {
            "gain": gain, "offset": offset, "spread": REACH * _root(left), "mean": x / n,
            "deviation": _root((xx - x * x / n) / n),
        }  # fmt: skip
        for name, value in found.items():
            getattr(self, name).copy_(value.view(-1, 1, 1))


def _root(variance: Tensor) -> Tensor:
    return variance.clamp(min=LEAST**2).sqrt()
