"""Losses of several fusion networks: Charbonnier and multi-scale structural similarity."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Guard = Literal["raised", "halved"]
WINDOW, SIGMA = 11, 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Z. Wang, E. Simoncelli, A. Bovik, "Multiscale structural similarity", Asilomar 2003."""
RAISE, LIFT = 0.01, 0.05


def absolute(error: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean of |error| over valid pixels; over all if ``valid`` is None."""
    if valid is None:
        return error.abs().mean()
    valid = valid.expand_as(error)
    return torch.where(valid, error, 0).abs().sum() / valid.sum().clamp(min=1)


def charbonnier(estimate: Tensor, truth: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return the mean of √(error² + ε²)."""
    return ((estimate - truth).square() + epsilon**2).sqrt().mean()


def _window(size: int, like: Tensor) -> Tensor:
    place = torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2
    weight = torch.exp(-place.square() / (2 * SIGMA**2))
    return weight / weight.sum()


def _blur(x: Tensor, row: Tensor) -> Tensor:
    C, size = x.shape[1], len(row)
    x = F.conv2d(x, row.view(1, 1, size, 1).expand(C, 1, size, 1), groups=C)
    return F.conv2d(x, row.view(1, 1, 1, size).expand(C, 1, 1, size), groups=C)


def similarity(a: Tensor, b: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return mean SSIM and mean contrast term of ``(N, C, H, W)``.

    The window is an 11×11 Gaussian of deviation 1.5, or the largest odd window that fits.
    """
    side = min(WINDOW, *a.shape[-2:])
    row = _window(side - (side + 1) % 2, a)
    # One call for all five: on small images the overhead of a call dominates.
    mu_a, mu_b, aa, bb, ab = _blur(torch.cat([a, b, a * a, b * b, a * b]), row).chunk(5)
    var_a, var_b, both = aa - mu_a.square(), bb - mu_b.square(), ab - mu_a * mu_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    contrast = (2 * both + c2) / (var_a + var_b + c2)
    luminance = (2 * mu_a * mu_b + c1) / (mu_a.square() + mu_b.square() + c1)
    return (luminance * contrast).mean(), contrast.mean()


def ms_ssim(a: Tensor, b: Tensor, data_range: float, guard: Guard) -> Tensor:
    """Return the multi-scale SSIM of ``(N, C, H, W)`` over the whole batch, five scales.

    The contrast of four scales and the SSIM of the fifth, each to its weight, multiplied. Powers
    of negative terms do not exist; published losses differ in how they avoid them.

    Args:
        a, b: images; each scale halves the sides, which must be 16 at least.
        data_range: of both.
        guard: ``raised`` (SwinSTFM) takes max(term, 0) + 0.01, adds 0.05 to the product and
            clamps it at 1; ``halved`` (MLFF-GAN) takes (term + 1)/2 and multiplies the SSIM of
            the fifth scale once per other scale, so that its weight counts four times.
    """
    if min(a.shape[-2:]) < 2 ** (len(SCALE_WEIGHTS) - 1):
        raise ValueError(f"multi-scale SSIM of {a.shape[-2]}×{a.shape[-1]}: 16×16 at least")
    terms = []
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        whole, contrast = similarity(a, b, data_range)
        terms.append(whole if scale == len(SCALE_WEIGHTS) - 1 else contrast)
    stacked, weights = torch.stack(terms), torch.tensor(SCALE_WEIGHTS).to(terms[0])
    if guard == "raised":
        return (((stacked.clamp(min=0) + RAISE) ** weights).prod() + LIFT).clamp(max=1)
    weights[-1] *= len(SCALE_WEIGHTS) - 1
    return (((stacked + 1) / 2) ** weights).prod()


def structural(estimate: Tensor, truth: Tensor) -> Tensor:
    """Return Charbonnier plus 1 − MS-SSIM of images in [−1, 1], as SwinSTFM trains on."""
    return charbonnier(estimate, truth) + 1 - ms_ssim(estimate, truth, 2.0, "raised")


def hidden(x: Tensor, valid: Tensor | None) -> Tensor:
    """Set invalid pixels to 0; done to estimate and truth, they have no gradient."""
    return x if valid is None else torch.where(valid, x, 0)
