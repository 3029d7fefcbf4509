"""Three published metrics that share the name GSSIM; their values cannot be compared.

Images are clipped to the data range and mapped onto [0, 1] first. A Sobel value needs its eight
neighbours, so masks shrink by one pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, pad

from rsbench.metrics.images import Images, PerImage
from rsbench.metrics.structure import (
    C1,
    C2,
    REFLECT,
    ZERO,
    average,
    of_parts,
    shared_pieces,
)
from rsbench.metrics.windows import Window, moments, normalise, similarity

SCALES = (1.0, 0.5, 0.25)
# Turns two derivatives, under a mask, into a map in [0, 1].
_Normalise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
SATURATION = 0.5  # Sobel magnitude, as a share of the data range, that maps onto 1


def sobel(x: Tensor, border: str) -> tuple[Tensor, Tensor]:
    """Unnormalised Sobel derivatives (1-2-1) along columns and rows; ``border`` pads one pixel."""
    mode = "replicate" if border == "replicate" else "constant"
    p = pad(x, (1, 1, 1, 1), mode=mode)
    down = p[..., :-2, :] + 2.0 * p[..., 1:-1, :] + p[..., 2:, :]
    across = p[..., :-2] + 2.0 * p[..., 1:-1] + p[..., 2:]
    return down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]


def erode(valid: Tensor) -> Tensor:
    """Pixels whose 3 × 3 neighbourhood inside the image is valid."""
    return max_pool2d((~valid).float(), 3, stride=1, padding=1) == 0


def sobel3(images: Images) -> PerImage:
    """Similarity of gradient magnitudes at scales 1, ½, ¼, averaged; higher is better.

    The band mean is resized bilinearly without antialiasing; Sobel with replicated border gives a
    magnitude, which is divided by half of the data range and clipped to 1: a fixed scale, so a
    prediction with weaker edges scores lower. SSIM 11/1.5 with reflected border on the result.
    """

    def normalised(gx: Tensor, gy: Tensor, keep: Tensor | None) -> Tensor:
        return torch.hypot(gx, gy).div_(SATURATION).clamp_max_(1.0)

    return _three_scales(images, "replicate", normalised, REFLECT)


def sobel3_zero(images: Images) -> PerImage:
    """Similarity of min–max scaled gradient magnitudes at scales 1, ½, ¼; higher is better.

    As published: zero padding before Sobel and in the SSIM window, √(gx² + gy² + 1e-8), each
    image and scale stretched to its own minimum and maximum. The padding makes an edge as bright
    as the image, and a change of gain changes nothing: kept to read published numbers.
    """

    def normalised(gx: Tensor, gy: Tensor, keep: Tensor | None) -> Tensor:
        magnitude = (gx * gx).addcmul_(gy, gy).add_(1e-8).sqrt_()
        low, high = _extremes(magnitude, keep)
        return (magnitude - low) / (high - low + 1e-8)

    return _three_scales(images, "zero", normalised, ZERO)


def _extremes(x: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    axes = (-1, -2)
    if keep is None:
        return x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    low = x.masked_fill(~keep, math.inf).amin(axes, keepdim=True)
    high = x.masked_fill(~keep, -math.inf).amax(axes, keepdim=True)
    # Without any kept pixel the image is undefined anyway; zeros keep the arithmetic finite.
    return low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=0.0)


def _three_scales(images: Images, border: str, normalised: _Normalise, window: Window) -> PerImage:
    x, y = _grey(images)
    values, oks = [], []
    for scale in SCALES:
        value, ok = _one_scale(x, y, images.all_bands, scale, border, normalised, window)
        values.append(value)
        oks.append(ok)
    ok = torch.stack(oks).all(0)[:, 0]
    return PerImage.of(torch.stack(values).mean(0)[:, 0], ok, counts=images.clipped)


def _grey(images: Images) -> tuple[Tensor, Tensor]:
    def make() -> tuple[Tensor, Tensor]:
        x, y = (image.mean(1, keepdim=True) for image in images.scaled)
        if images.all_bands is not None:
            x, y = x * images.all_bands, y * images.all_bands
        return x, y

    return images.share("grey", make)


def _one_scale(
    x: Tensor,
    y: Tensor,
    valid: Tensor | None,
    scale: float,
    border: str,
    normalised: _Normalise,
    window: Window,
) -> tuple[Tensor, Tensor]:
    if scale != 1.0:
        size = (math.floor(x.shape[-2] * scale), math.floor(x.shape[-1] * scale))
        x, y = _resize(x, size), _resize(y, size)
        if valid is not None:
            # A coarse pixel is the mean of its valid parts, if they are half of it or more.
            share = _resize(valid.to(x.dtype), size)
            valid = share > 0.5 - 1e-4
            x, y = (torch.where(valid, image / share.clamp_min(0.25), 0.0) for image in (x, y))
    keep = None if valid is None else erode(valid)
    x, y = (normalised(*sobel(image, border), keep) for image in (x, y))
    if keep is None:
        return average(similarity(moments(x, y, window, None), C1, C2), None)
    x, y = x.masked_fill(~keep, 0.0), y.masked_fill(~keep, 0.0)
    norm = normalise(keep, window, x.dtype)
    return average(similarity(moments(x, y, window, norm), C1, C2), norm.keep)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=False)


def chen2006(images: Images) -> PerImage:
    """Luminance of the images times contrast and structure of their gradient maps, per band.

    l(x, y)·c(x′, y′)·s(x′, y′) with exponents 1 and C3 = C2/2, where c·s shortens to
    (2σx′y′ + C2)/(σx′² + σy′² + C2). x′, y′ are Sobel magnitudes (1-2-1 over 4, replicated
    border). The combination is the paper's; window and border are those of ``ssim@1``. Higher is
    better. Chen, Yang and Xie 2006.
    """
    x, y = images.scaled
    keep = None if images.valid is None else erode(images.valid.expand_as(x))
    norm = None if keep is None else normalise(keep, REFLECT, x.dtype)
    parts = []
    for piece in shared_pieces(images):
        a, b = (
            torch.hypot(*sobel(image[:, piece.bands], "replicate")).mul_(0.25) for image in (x, y)
        )
        here = None
        if keep is not None and norm is not None:
            hidden = ~keep[:, piece.bands]
            a, b = a.masked_fill(hidden, 0.0), b.masked_fill(hidden, 0.0)
            here = norm.of(piece.bands)
        m, g = piece.moments, moments(a, b, REFLECT, here)
        quality = torch.mul(m.means, 2).add_(C1).div_(m.mean_squares + C1)
        quality.mul_(torch.mul(g.covariance, 2).add_(C2)).div_(g.variances + C2)
        parts.append(average(quality, None if here is None else here.keep))
    return of_parts(parts, images)
