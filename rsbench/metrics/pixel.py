"""Errors per pixel: MAE, MSE, RMSE and PSNR. Nothing is clipped.

Every valid element of an image weighs the same; per-band values use the band's own elements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total

PSNR_CAP = 100.0


def _means(images: ImageBatch, sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean per image (n,) and per band (n, C) of element sums, each with where it is defined."""
    count = images.count
    everything = count.sum(1)
    return sums.sum(1) / everything, everything > 0, sums / count, count > 0


def absolute_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the absolute error of every element, in the shape of both."""
    return (prediction - truth).abs()


def squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error of every element, in the shape of both."""
    return (prediction - truth).square()


def mae(images: ImageBatch) -> PerImage:
    """Mean absolute error, Σ|p − t| / n, in the data's unit; lower is better."""
    sums = total((images.prediction - images.truth).abs_())
    value, ok, per_band, band_ok = _means(images, sums)
    return PerImage.of(value, ok, per_band=per_band, band_ok=band_ok)


def mse(images: ImageBatch) -> PerImage:
    """Mean squared error, Σ(p − t)² / n, in the data's unit squared; lower is better."""
    value, ok, per_band, band_ok = _means(images, images.squared)
    return PerImage.of(value, ok, per_band=per_band, band_ok=band_ok)


def rmse(images: ImageBatch) -> PerImage:
    """Root of the image's own mean squared error, √(Σ(p − t)² / n); lower is better.

    The mean of per-image values is not the root of the pooled error: Jensen's inequality makes it
    smaller.
    """
    value, ok, per_band, band_ok = _means(images, images.squared)
    return PerImage.of(value.sqrt(), ok, per_band=per_band.sqrt(), band_ok=band_ok)


def psnr(images: ImageBatch) -> PerImage:
    """Peak signal-to-noise ratio, 10·log10(L² / MSE) dB per image, capped at 100 dB.

    L is the width of the data range. ``counts["capped"]`` says how many images met the cap, which
    keeps one perfect image from making the mean infinite.
    """
    value, ok, per_band, band_ok = _means(images, images.squared)
    decibel, bands = _decibel(value, images.span), _decibel(per_band, images.span)
    capped = int(((decibel >= PSNR_CAP) & ok).sum())
    return PerImage.of(
        decibel.clamp_max(PSNR_CAP), ok,
        per_band=bands.clamp_max(PSNR_CAP), band_ok=band_ok, counts={"capped": capped},
    )  # fmt: skip


def _decibel(mse: Tensor, span: float) -> Tensor:
    return 10.0 * torch.log10(span**2 / mse)
