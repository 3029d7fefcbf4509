"""Spectral power at fine scales of the prediction relative to the truth."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total

BAND = (0.25, 0.5)  # cycles per pixel
SMALLEST_VALID = 0.9


def ratio(images: ImageBatch) -> PerImage:
    """log10 of predicted over true power at 0.25–0.5 cycles/px, per band; nearer to 0 is better.

    Each image loses its mean and is multiplied by a Hann window (periodic, both axes); power is
    |FFT|² summed over radial frequencies from 0.25 to 0.5 cycles per pixel. −1 means a tenth of
    the true fine-scale power. Invalid pixels are filled with the image's own valid mean in both
    images, which pulls the value towards 0 a little; with less than 90 % valid pixels a band is
    left out (``skipped_bands``). A band without any fine-scale power on one side has no ratio and
    is left out as well.
    """
    power_p = _power(images, images.prediction, images.prediction_mean)
    power_t = _power(images, images.truth, images.truth_mean)
    _, _, height, width = images.truth.shape
    ok = images.count >= SMALLEST_VALID * height * width
    # Rounding leaves a constant image with power around 1e-32 of its square.
    floor = 1e-20 * (height * width) ** 2
    for power, mean in ((power_p, images.prediction_mean), (power_t, images.truth_mean)):
        ok = ok & (power > floor * mean.square()) & (power > 0)
    return PerImage.mean_of_bands(torch.log10(power_p / power_t), ok)


def _power(images: ImageBatch, x: Tensor, mean: Tensor) -> Tensor:
    y = x.double() - mean.nan_to_num()[..., None, None]
    if images.valid is not None:
        y = y.masked_fill(~images.valid, 0.0)
    taper, annulus = _window(*x.shape[-2:], x.device)
    spectrum = torch.fft.rfft2(y * taper)
    return total((spectrum.real.square() + spectrum.imag.square()) * annulus)


@lru_cache(maxsize=16)
def _window(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Hann window (H, W), and how often each half-spectrum coefficient counts in the annulus."""
    with torch.inference_mode(False):
        rows, columns = (
            torch.sin(math.pi * torch.arange(n, dtype=torch.float64) / n).square()
            for n in (height, width)
        )
        fy = torch.fft.fftfreq(height, dtype=torch.float64)
        fx = torch.fft.rfftfreq(width, dtype=torch.float64)
        radius = torch.hypot(fy[:, None], fx[None, :])
        twice = torch.full_like(fx, 2.0)  # the other half of the plane
        twice[0] = 1.0
        if width % 2 == 0:
            twice[-1] = 1.0
        inside = (radius >= BAND[0] - 1e-12) & (radius <= BAND[1] + 1e-12)
        return torch.outer(rows, columns).to(device), (inside * twice).to(device)
