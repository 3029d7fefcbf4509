"""Similarity of local structure: SSIM in its published forms, and the universal quality index.

Images are clipped to the data range and mapped onto [0, 1] first, so C1 = 0.01² and C2 = 0.03²
mean the data range L. Clipped elements are counted. Under a mask every local moment is a
normalised convolution, and a pixel counts when it is valid and at least half of its window is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rsbench.metrics.images import Images, PerImage, total
from rsbench.metrics.windows import (
    Moments,
    Norm,
    Window,
    blur,
    moments,
    normalise,
    similarity,
)

C1, C2 = 0.01**2, 0.03**2
REFLECT = Window(1.5, "reflect")
ZERO = Window(1.5, "zero")
WIDE_ZERO = Window(2.0, "zero")
BOX = 8
FLAT = 1e-6  # standard deviation, as a share of the data range, below which a window is flat


def shared_norm(images: Images) -> Norm | None:
    """Normalised convolution of the image's own mask under the SSIM window."""
    valid = images.valid
    if valid is None:
        return None
    return images.share("norm", lambda: normalise(valid, REFLECT, images.truth.dtype))


def shared_moments(images: Images) -> Moments:
    """Local statistics of the scaled images, made once for SSIM and its relatives."""
    return images.share("moments", lambda: _centred_moments(images))


def _centred_moments(images: Images) -> Moments:
    x, y = images.scaled
    centre = 0.5 * (total(x) + total(y)) / images.count.clamp_min(1.0)
    centre = centre[..., None, None].to(x.dtype)
    x, y = x - centre, y - centre
    if images.weight is not None:
        x.mul_(images.weight)
        y.mul_(images.weight)
    return moments(x, y, REFLECT, shared_norm(images), centre)


def average(quality: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean of a map (n, C, H, W) over kept pixels, (n, C), and where any pixel was kept."""
    n, c, height, width = quality.shape
    if keep is None:
        value = total(quality) / (height * width)
        return value, torch.ones_like(value, dtype=torch.bool)
    number = keep.sum((-1, -2)).double().expand(n, c)
    return total(quality.masked_fill(~keep, 0.0)) / number, number > 0


def ssim(images: Images, *, constant_range: float = 1.0) -> PerImage:
    """Structural similarity per band, averaged over bands; −1 to 1, higher is better.

    Gaussian window 11 × 11, σ = 1.5, population moments, reflected border, mean over the whole
    map. ``constant_range`` scales L in C1 = (0.01 L)², C2 = (0.03 L)² without changing the
    clipping. Wang et al. 2004.
    """
    scale = constant_range**2
    quality = similarity(shared_moments(images), C1 * scale, C2 * scale)
    norm = shared_norm(images)
    value, ok = average(quality, None if norm is None else norm.keep)
    return PerImage.mean_of_bands(value, ok, counts=images.clipped)


def ssim_blur2(images: Images) -> PerImage:
    """SSIM of both images after a Gaussian blur of σ = 2 px; higher is better.

    Both the blur and the 11/1.5 window pad with zeros, and 1e-8 is added below, as published under
    the name GSSIM. It rewards smoothness: use it to read older numbers only.
    """
    x, y = images.scaled
    keep: Tensor | None = None
    norm: Norm | None = None
    if images.valid is None:
        x, y = blur(x, WIDE_ZERO), blur(y, WIDE_ZERO)
    else:
        wide = normalise(images.valid, WIDE_ZERO, x.dtype)
        x, y = blur(x, WIDE_ZERO) * wide.factor, blur(y, WIDE_ZERO) * wide.factor
        norm = normalise(wide.keep, ZERO, x.dtype)
        keep = norm.keep
    quality = similarity(moments(x, y, ZERO, norm), C1, C2, epsilon=1e-8)
    value, ok = average(quality, keep)
    return PerImage.mean_of_bands(value, ok, counts=images.clipped)


def uiqi(images: Images) -> PerImage:
    """Universal quality index per band, averaged over bands; −1 to 1, higher is better.

    Q = 4 σxy µx µy / ((σx² + σy²)(µx² + µy²)) in every 8 × 8 box, unclipped, in float64. Windows
    where both images are flat (or both means are zero) have no value: they are left out and
    counted as ``flat_windows``. Under a mask a box needs half of its pixels. Wang and Bovik 2002.
    """
    x, y = images.prediction.double(), images.truth.double()
    stacked = torch.cat((x, y, x * x + y * y, x * y))
    mean_x, mean_y, squares, product = avg_pool2d(stacked, BOX, stride=1).chunk(4)
    keep = torch.ones_like(mean_x, dtype=torch.bool)
    if images.valid is not None:
        weight = avg_pool2d(images.valid.double(), BOX, stride=1)
        keep = (weight >= 0.5).expand_as(mean_x)
        weight = weight.clamp_min(1.0 / BOX**2)
        mean_x, mean_y = mean_x / weight, mean_y / weight
        squares, product = squares / weight, product / weight
    mean_squares = mean_x**2 + mean_y**2
    variances = squares - mean_squares
    flat = (variances <= (FLAT * images.span) ** 2) | (mean_squares == 0)
    below = torch.where(flat, 1.0, variances * mean_squares)
    quality = 4.0 * (product - mean_x * mean_y) * mean_x * mean_y / below
    value, ok = average(quality, keep & ~flat)
    return PerImage.mean_of_bands(value, ok, counts={"flat_windows": int((keep & flat).sum())})
