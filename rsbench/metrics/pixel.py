"""Errors per pixel: MAE, MSE, RMSE and PSNR. Nothing is clipped.

Every valid element of an image weighs the same; per-band values use the band's own elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total

PSNR_CAP = 100.0


def absolute_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the absolute error of every element, in the shape of both."""
    return (prediction - truth).abs()


def squared_error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error of every element, in the shape of both."""
    return (prediction - truth).square()


def mae(images: ImageBatch) -> PerImage:
    """Mean absolute error, Σ|p − t| / n, in the data's unit; lower is better."""
    return PerImage.of_sums(images, total((images.prediction - images.truth).abs_()))


def mse(images: ImageBatch) -> PerImage:
    """Mean squared error, Σ(p − t)² / n, in the data's unit squared; lower is better."""
    return PerImage.of_sums(images, images.squared)


def rmse(images: ImageBatch) -> PerImage:
    """Root of the image's own mean squared error, √(Σ(p − t)² / n); lower is better.

    The mean of per-image values is not the root of the pooled error: Jensen's inequality makes it
    smaller.
    """
    return PerImage.of_sums(images, images.squared, torch.sqrt)


def psnr(images: ImageBatch) -> PerImage:
    """Peak signal-to-noise ratio, 10·log10(L² / MSE) dB per image, capped at 100 dB.

    L is the width of the data range. ``counts["capped"]`` says how many images met the cap, which
    keeps one perfect image from making the mean infinite.
    """
    return capped(PerImage.of_sums(images, images.squared, lambda e: decibel(images.span**2 / e)))


def decibel(ratio: Tensor) -> Tensor:
    """Return 10·log10 of a ratio of powers."""
    return 10.0 * torch.log10(ratio)


def capped(found: PerImage, counts: Mapping[str, int] = MappingProxyType({})) -> PerImage:
    """Return decibels of at most 100; ``counts["capped"]`` is the number of images above."""
    number = int(((found.value >= PSNR_CAP) & found.ok).sum())
    bands = None if found.per_band is None else found.per_band.clamp_max(PSNR_CAP)
    return replace(
        found, value=found.value.clamp_max(PSNR_CAP), per_band=bands,
        counts={**counts, "capped": number},
    )  # fmt: skip
