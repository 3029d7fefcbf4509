"""Spectral metrics: ERGAS, the spectral angle, and correlation per band."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total

SMALLEST_MEAN = 0.01  # of the width of the data range
# Pairs of bands grow with C²; beyond this the normalised-difference form is cheaper.
CROSS_BANDS = 4


def ergas(images: ImageBatch, *, ratio: int) -> PerImage:
    """Relative error over bands, 100/N · √(mean_b MSE_b / µ_b²); lower is better.

    N = ``ratio`` is the coarse over the fine pixel size (1 where both are the same) and µ_b the
    mean of the truth over the band's valid pixels. Bands with µ_b below 0.01 of the width of the
    data range, negative ones included, are left out and counted as ``skipped_bands``: the same
    bands in reflectance and in DN. Without any band left the image is undefined. Not for indices or
    standardised data, whose mean says nothing. Wald 2000.
    """
    mean = images.truth_mean
    used = (images.count > 0) & (mean >= SMALLEST_MEAN * images.span)
    relative = (images.squared / images.count / mean.square()).masked_fill(~used, 0.0)
    number = used.sum(1)
    value = 100.0 / ratio * (relative.sum(1) / number).sqrt()
    return PerImage.of(value, number > 0, counts={"skipped_bands": int((~used).sum())})


def sam(images: ImageBatch) -> PerImage:
    """Mean angle between predicted and true spectra over pixels, in degrees; lower is better.

    Needs two bands. The angle is atan2(‖p ∧ t‖, p·t), exact for small angles where an arc cosine
    in float32 stops at 0.006°. A pixel counts when all its bands are valid; pixels where either
    spectrum is zero have no angle, are left out and counted as ``zero_spectra``. Kruse 1993.
    """
    p, t = images.prediction, images.truth
    dot, squares_p, squares_t = products(p, t)
    angle = torch.atan2(_sine(p, t, dot, squares_p), dot)
    zero = torch.zeros_like(angle, dtype=torch.bool)
    if not bool(torch.minimum(squares_p.amin(), squares_t.amin()) > 0):  # squares may underflow
        zero = (p == 0).all(1) | (t == 0).all(1)
    valid = images.all_bands
    if valid is not None:
        zero &= valid[:, 0]
        used = valid[:, 0] & ~zero
    elif bool(zero.any()):
        used = ~zero
    else:
        n, height, width = angle.shape
        count = torch.full((n,), float(height * width), dtype=torch.float64)
        degrees = total(angle).cpu() * (180.0 / math.pi)
        return PerImage.of(degrees / count, count > 0, counts={"zero_spectra": 0})
    number = used.sum((-1, -2)).double()
    degrees = total(angle.masked_fill(~used, 0.0)) * (180.0 / math.pi)
    return PerImage.of(degrees / number, number > 0, counts={"zero_spectra": int(zero.sum())})


def products(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return p·t, |p|² and |t|² per pixel, (n, H, W) each, of (n, C, H, W)."""
    dot, squares_p, squares_t = p[:, 0] * t[:, 0], p[:, 0].square(), t[:, 0].square()
    for one, other in zip(p.unbind(1)[1:], t.unbind(1)[1:], strict=True):
        dot.addcmul_(one, other)
        squares_p.addcmul_(one, one)
        squares_t.addcmul_(other, other)
    return dot, squares_p, squares_t


def _sine(p: Tensor, t: Tensor, dot: Tensor, squares_p: Tensor) -> Tensor:
    """|p||t| sin of the angle per pixel, (n, H, W), without cancellation."""
    bands = p.shape[1]
    squares = torch.zeros_like(dot)
    if bands > CROSS_BANDS:  # t less its part along p, times |p|
        along = dot / torch.where(squares_p == 0, 1.0, squares_p)
        for one, other in zip(p.unbind(1), t.unbind(1), strict=True):
            across = torch.addcmul(other, along, one, value=-1.0)
            squares.addcmul_(across, across)
        return squares.sqrt_().mul_(squares_p.sqrt())
    for i in range(bands):
        for j in range(i + 1, bands):
            # Lagrange: |p|²|t|² − (p·t)² = Σ_{i<j} (p_i t_j − p_j t_i)²
            minor = (p[:, i] * t[:, j]).addcmul_(p[:, j], t[:, i], value=-1.0)
            squares.addcmul_(minor, minor)
    return squares.sqrt_()


def cc(images: ImageBatch) -> PerImage:
    """Pearson correlation over an image's pixels per band, averaged over bands; higher is better.

    A band that is constant in truth or prediction has no correlation: it is left out and counted
    as ``skipped_bands``. Never pooled over images: brightness differences between scenes alone
    would give values near one.
    """
    p, t = _centred(images, images.prediction), _centred(images, images.truth)
    variance_p, variance_t = total(p * p), total(t * t)
    used = (images.count > 1) & _varies(images, images.prediction) & _varies(images, images.truth)
    used &= (variance_p > 0) & (variance_t > 0)
    value = total(p * t) / (variance_p * variance_t).sqrt()
    return PerImage.mean_of_bands(value.clamp(-1.0, 1.0), used)


def _centred(images: ImageBatch, x: Tensor) -> Tensor:
    mean = images.prediction_mean if x is images.prediction else images.truth_mean
    y = x - mean[..., None, None].to(x.dtype)
    return y if images.weight is None else y.mul_(images.weight)


def _varies(images: ImageBatch, x: Tensor) -> Tensor:
    """Whether a band takes two values inside its valid area, (n, C) bool."""
    if images.valid is None:
        return x.amax((-1, -2)) > x.amin((-1, -2))
    invalid = ~images.valid
    return x.masked_fill(invalid, -math.inf).amax((-1, -2)) > x.masked_fill(invalid, math.inf).amin(
        (-1, -2)
    )
