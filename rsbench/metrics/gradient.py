"""Three published metrics that share the name GSSIM; their values cannot be compared.

Images are clipped to the data range and mapped onto [0, 1] first. A Sobel value needs its eight
neighbours, so masks shrink by one pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from rsbench.metrics.images import ImageBatch, PerImage
from rsbench.metrics.structure import (
    C1,
    C2,
    REFLECT,
    ZERO,
    average,
    of_parts,
    shared_pieces,
)
from rsbench.metrics.windows import Buffers, Window, moments, normalise, similarity

Border = Literal["replicate", "zero"]
SCALES = (1.0, 0.5, 0.25)
SATURATION = 0.5  # Sobel magnitude, as a share of the data range, that maps onto 1
# Maps magnitudes (2, n, 1, H, W) of both images, under a mask, in place onto [0, 1].
_Normalise = Callable[[Tensor, Tensor | None], Tensor]


def magnitude(
    x: Tensor, border: Border, *, epsilon: float = 0.0, out: Tensor | None = None, buffers: Buffers
) -> Tensor:
    """√(gx² + gy² + ε) of the unnormalised Sobel derivatives (1-2-1) of the last two axes."""
    height, width = x.shape[-2:]
    padded = buffers.take("padded", (*x.shape[:-2], height + 2, width + 2), x)
    padded[..., 1:-1, 1:-1] = x
    _frame(padded, border)
    across = buffers.take("across", (*x.shape[:-2], height + 2, width), x)
    torch.add(padded[..., :-2], padded[..., 1:-1], alpha=2.0, out=across).add_(padded[..., 2:])
    found = torch.empty_like(x) if out is None else out
    torch.sub(across[..., 2:, :], across[..., :-2, :], out=found)
    down = buffers.take("down", (*x.shape[:-2], height, width + 2), x)
    torch.add(padded[..., :-2, :], padded[..., 1:-1, :], alpha=2.0, out=down)
    down.add_(padded[..., 2:, :])
    other = torch.sub(down[..., 2:], down[..., :-2], out=buffers.take("other", x.shape, x))
    found.mul_(found).addcmul_(other, other)
    return (found.add_(epsilon) if epsilon else found).sqrt_()


def _frame(padded: Tensor, border: Border) -> None:
    """Fill the outermost pixels: with zeros, or with their neighbours inside."""
    if border == "zero":
        for edge in (padded[..., 0, :], padded[..., -1, :], padded[..., 0], padded[..., -1]):
            edge.zero_()
        return
    padded[..., 0, :], padded[..., -1, :] = padded[..., 1, :], padded[..., -2, :]
    padded[..., 0], padded[..., -1] = padded[..., 1], padded[..., -2]


def erode(valid: Tensor) -> Tensor:
    """Pixels whose 3 × 3 neighbourhood inside the image is valid."""
    return max_pool2d((~valid).float(), 3, stride=1, padding=1) == 0


def sobel3(images: ImageBatch) -> PerImage:
    """Similarity of gradient magnitudes at scales 1, ½, ¼, averaged; higher is better.

    The band mean is resized bilinearly without antialiasing; Sobel with replicated border gives a
    magnitude, which is divided by half of the data range and clipped to 1: a fixed scale, so a
    prediction with weaker edges scores lower. SSIM 11/1.5 with reflected border on the result.
    """

    def normalised(found: Tensor, keep: Tensor | None) -> Tensor:
        return found.div_(SATURATION).clamp_max_(1.0)

    return _three_scales(images, "replicate", 0.0, normalised, REFLECT)


def sobel3_zero(images: ImageBatch) -> PerImage:
    """Similarity of min–max scaled gradient magnitudes at scales 1, ½, ¼; higher is better.

    As published: zero padding before Sobel and in the SSIM window, √(gx² + gy² + 1e-8), each
    image and scale stretched to its own minimum and maximum. The padding makes an edge as bright
    as the image, and a change of gain changes nothing: kept to read published numbers.
    """

    def normalised(found: Tensor, keep: Tensor | None) -> Tensor:
        low, high = _extremes(found, keep)
        return found.sub_(low).div_(high - low + 1e-8)

    return _three_scales(images, "zero", 1e-8, normalised, ZERO)


def _extremes(x: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    axes = (-1, -2)
    if keep is None:
        return x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    low = x.masked_fill(~keep, math.inf).amin(axes, keepdim=True)
    high = x.masked_fill(~keep, -math.inf).amax(axes, keepdim=True)
    # Without any kept pixel the image is undefined anyway; zeros keep the arithmetic finite.
    return low.nan_to_num(posinf=0.0), high.nan_to_num(neginf=0.0)


def _three_scales(
    images: ImageBatch, border: Border, epsilon: float, normalised: _Normalise, window: Window
) -> PerImage:
    values, oks = [], []
    for scale in SCALES:
        value, ok = _one_scale(images, scale, border, epsilon, normalised, window)
        values.append(value)
        oks.append(ok)
    ok = torch.stack(oks).all(0)[:, 0]
    return PerImage.of(torch.stack(values).mean(0)[:, 0], ok, counts=images.clipped)


def _grey(images: ImageBatch, scale: float) -> tuple[Tensor, Tensor | None]:
    """Band means of both images at a scale, (2, n, 1, h, w), and where they are valid."""
    if scale == 1.0:
        return images.share("grey", lambda: _full_grey(images)), images.all_bands
    return images.share(f"grey at {scale}", lambda: _coarse_grey(images, scale))


def _full_grey(images: ImageBatch) -> Tensor:
    n, _, height, width = images.truth.shape
    grey = images.buffers.take("grey", (2, n, 1, height, width), images.truth)
    for image, plane in zip(images.scaled, grey, strict=True):
        torch.mean(image, 1, keepdim=True, out=plane)
        if images.all_bands is not None:
            plane.mul_(images.all_bands)
    return grey


def _coarse_grey(images: ImageBatch, scale: float) -> tuple[Tensor, Tensor | None]:
    grey, valid = _grey(images, 1.0)
    size = (math.floor(grey.shape[-2] * scale), math.floor(grey.shape[-1] * scale))
    small = _resize(grey.flatten(0, 1), size).view(*grey.shape[:-2], *size)
    if valid is None:
        return small, None
    # A coarse pixel is the mean of its valid parts, if they are half of it or more.
    share = _resize(valid.to(grey.dtype), size)
    kept = share > 0.5 - 1e-4
    return torch.where(kept, small / share.clamp_min(0.25), 0.0), kept


def _one_scale(
    images: ImageBatch,
    scale: float,
    border: Border,
    epsilon: float,
    normalised: _Normalise,
    window: Window,
) -> tuple[Tensor, Tensor]:
    grey, valid = _grey(images, scale)
    keep = None if valid is None else erode(valid)
    buffers = images.buffers
    maps = buffers.take("maps", (4, *grey.shape[1:]), grey)
    found = magnitude(grey, border, epsilon=epsilon, out=maps[:2], buffers=buffers)
    found = normalised(found, keep)
    norm = None
    if keep is not None:
        found.masked_fill_(~keep, 0.0)
        norm = normalise(keep, window, grey.dtype)
    alike = similarity(moments(maps, window, norm, buffers=buffers), C1, C2, buffers=buffers)
    return average(alike, None if norm is None else norm.keep)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=False)


def chen2006(images: ImageBatch) -> PerImage:
    """Luminance of the images times contrast and structure of their gradient maps, per band.

    l(x, y)·c(x′, y′)·s(x′, y′) with exponents 1 and C3 = C2/2, where c·s shortens to
    (2σx′y′ + C2)/(σx′² + σy′² + C2). x′, y′ are Sobel magnitudes (1-2-1 over 4, replicated
    border). The combination is the paper's; window and border are those of ``ssim@1``. Higher is
    better. Chen, Yang and Xie 2006.
    """
    x, y = images.scaled
    keep = None if images.valid is None else erode(images.valid.expand_as(x))
    norm = None if keep is None else normalise(keep, REFLECT, x.dtype)
    parts, buffers = [], images.buffers
    for piece in shared_pieces(images):
        maps = buffers.take("maps", (4, *x[:, piece.bands].shape), x)
        for image, into in zip((x, y), maps, strict=False):
            magnitude(image[:, piece.bands], "replicate", out=into, buffers=buffers).mul_(0.25)
        here = None
        if keep is not None and norm is not None:
            maps[:2].masked_fill_(~keep[:, piece.bands], 0.0)
            here = norm.of(piece.bands)
        m, g = piece.moments, moments(maps, REFLECT, here, buffers=buffers)
        quality = torch.mul(m.mean_x, m.mean_y).mul_(2).add_(C1)
        quality.div_(torch.mul(m.mean_x, m.mean_x).addcmul_(m.mean_y, m.mean_y).add_(C1))
        quality.mul_(torch.mul(g.covariance, 2).add_(C2)).div_(g.variances + C2)
        parts.append(average(quality, None if here is None else here.keep))
    return of_parts(parts, images)
