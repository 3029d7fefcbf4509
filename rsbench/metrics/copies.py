"""Whether images are copies of training images, and whether they follow their map of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rsbench.metrics.class_values import iou
from rsbench.metrics.frechet import SetScore

QUANTILE = 0.01
LEAST_OVERLAP = 0.7
"""Least share of an image's valid pixels that a place of comparison must have valid."""


def memorised(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Return the share of predictions nearer to one training region than nearly all truths are.

    Of every image the feature (n, 1) is its distance to the nearest training region divided by that
    to the second nearest, as in Gu et al. 2023, arXiv 2310.02664; blurred images, which are near
    everything, have a ratio near 1 and copies have one near 0. An image counts if its ratio is
    below the 1 % quantile of the truths, which is in the notes; of real images it is about 1 %.
    """
    a, b = p[:, 0].double(), t[:, 0].double()

    def share(kept: Tensor) -> float:
        return float((a[kept] < torch.quantile(b[kept], QUANTILE)).double().mean())

    leaves = () if groups is None else tuple(share(groups != one) for one in torch.unique(groups))
    notes = {"ratio": float(torch.quantile(b, QUANTILE))}
    return SetScore(share(torch.ones(len(a), dtype=torch.bool)), len(t), 1, None, leaves, notes)


def layout(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Return the mean IoU, pooled over all images, of a probe's classes and the map given.

    Args:
        p, t: (n, K·K) pixel counts of predictions and truths: rows are the classes of the map,
            columns those that the probe reads in the image.
    """
    classes = math.isqrt(p.shape[1])
    counts = p.double().reshape(-1, classes, classes).numpy()

    def value(kept: Tensor) -> float:
        return iou(counts[kept.numpy()]).value

    leaves = () if groups is None else tuple(value(groups != one) for one in torch.unique(groups))
    everything = torch.ones(len(p), dtype=torch.bool)
    return SetScore(value(everything), len(p), p.shape[1], None, leaves)


def mean(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Return the mean of the predictions' features (n, 1)."""
    a = p[:, 0].double()
    leaves = (
        ()
        if groups is None
        else tuple(float(a[groups != one].mean()) for one in torch.unique(groups))
    )
    return SetScore(float(a.mean()), len(a), 1, None, leaves)


# ---------------------------------------------------------------------- nearest training region


class Spectra:
    """Fourier transforms of an image and its mask, for sums over all places of a window.

    Args:
        values: ``(n, C, h, w)``; 0 where invalid.
        valid: ``(n, 1, h, w)`` bool.
        size: rows and columns of the transform, at least those of both sides of a comparison.
    """

    def __init__(self, values: Tensor, valid: Tensor, size: tuple[int, int]) -> None:
        x, seen = torch.where(valid, values, 0).double(), valid.double()
        self.shape = values.shape
        self.count = seen.sum((-1, -2, -3))
        self.seen = torch.fft.rfft2(seen[:, 0], s=size)
        self.square = torch.fft.rfft2(x.square().sum(1), s=size)
        self.bands = torch.fft.rfft2(x, s=size)


def nearest(images: Spectra, whole: Spectra, size: tuple[int, int]) -> Tensor:
    """Return ``(n,)``: the least RMS difference of each image to a window of larger images.

    Every place inside the larger images ``(T, C, H, W)`` is compared, on the pixels that are valid
    in both. Infinite where no place has enough of them.
    """
    (n, C, h, w), (T, _, H, W) = images.shape, whole.shape
    least = torch.full((n,), math.inf, dtype=torch.float64)
    for t in range(T):
        product = images.square.conj() * whole.seen[t] + images.seen.conj() * whole.square[t]
        product = product - 2 * (images.bands.conj() * whole.bands[t]).sum(1)
        places = (slice(None), slice(0, H - h + 1), slice(0, W - w + 1))
        total = torch.fft.irfft2(product, s=size)[places]
        count = torch.fft.irfft2(images.seen.conj() * whole.seen[t], s=size)[places].round()
        enough = (count >= LEAST_OVERLAP * images.count[:, None, None]) & (count > 0)
        mean = total.clamp(min=0) / (C * count.clamp(min=1))
        found = torch.where(enough, mean, math.inf).flatten(1).amin(1).sqrt()
        least = torch.minimum(least, found)
    return least
