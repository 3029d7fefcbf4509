"""Similarity of local structure: SSIM in its published forms, and the universal quality index.

Images are clipped to the data range and mapped onto [0, 1] first, so C1 = 0.01² and C2 = 0.03²
mean the data range L. Clipped elements are counted. Under a mask every local moment is a
normalised convolution, and a pixel counts when it is valid and at least half of its window is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rsbench.metrics.images import ImageBatch, PerImage, total
from rsbench.metrics.windows import (
    Moments,
    Window,
    blur,
    moments,
    normalise,
    of_bands,
    similarity,
)

C1, C2 = 0.01**2, 0.03**2
REFLECT = Window(1.5, "reflect")
ZERO = Window(1.5, "zero")
WIDE_ZERO = Window(2.0, "zero")
BOX = 8
FLAT = 1e-6  # standard deviation, as a share of the data range, below which a window is flat


@dataclass(frozen=True, slots=True)
class Piece:
    """Local statistics of some bands of the scaled images; small enough for a core's cache."""

    bands: slice
    moments: Moments
    keep: Tensor | None  # (n, 1|bands, H, W) bool, None when every pixel counts


def shared_pieces(images: ImageBatch) -> Iterator[Piece]:
    """Local statistics of the scaled images, made once for SSIM and its relatives.

    The first metric that asks works on each piece as soon as it is made, still in the cache.
    """
    made: list[Piece] = images.share("pieces", list)
    yield from made
    for piece in images.share("remaining pieces", lambda: _pieces(images)):
        made.append(piece)
        yield piece


def _pieces(images: ImageBatch) -> Iterator[Piece]:
    x, y = images.scaled
    norm = None if images.valid is None else normalise(images.valid, REFLECT, x.dtype)
    middle_x, middle_y = (mean.nan_to_num()[..., None, None].to(x.dtype) for mean in images.middle)
    buffers = images.buffers
    for bands in images.band_groups():
        here = None if norm is None else norm.of(bands)
        centre = middle_x[:, bands], middle_y[:, bands]
        maps = buffers.take("maps", (4, *x[:, bands].shape), x)
        torch.sub(x[:, bands], centre[0], out=maps[0])
        torch.sub(y[:, bands], centre[1], out=maps[1])
        if images.weight is not None:
            maps[:2].mul_(of_bands(images.weight, bands))
        kept = buffers.take(f"moments {bands.start}", maps.shape, x)
        made = moments(maps, REFLECT, here, centre=centre, out=kept, buffers=buffers)
        yield Piece(bands, made, None if here is None else here.keep)


def average(quality: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean of a map (n, C, H, W) over kept pixels, (n, C), and where any pixel was kept."""
    n, c, height, width = quality.shape
    if keep is None:
        value = total(quality) / (height * width)
        return value, torch.ones_like(value, dtype=torch.bool)
    number = keep.sum((-1, -2)).double().expand(n, c)
    return total(quality.masked_fill(~keep, 0.0)) / number, number > 0


def ssim(images: ImageBatch, *, constant_range: float = 1.0) -> PerImage:
    """Structural similarity per band, averaged over bands; −1 to 1, higher is better.

    Gaussian window 11 × 11, σ = 1.5, population moments, reflected border, mean over the whole
    map. ``constant_range`` scales L in C1 = (0.01 L)², C2 = (0.03 L)² without changing the
    clipping. Wang et al. 2004.
    """
    scale = constant_range**2
    parts = []
    for piece in shared_pieces(images):
        quality = similarity(piece.moments, C1 * scale, C2 * scale, buffers=images.buffers)
        parts.append(average(quality, piece.keep))
    return of_parts(parts, images)


def of_parts(parts: list[tuple[Tensor, Tensor]], images: ImageBatch) -> PerImage:
    """Join groups of bands into one result; count what was clipped."""
    values, oks = zip(*parts, strict=True)
    return PerImage.mean_of_bands(torch.cat(values, 1), torch.cat(oks, 1), counts=images.clipped)


def ssim_blur2(images: ImageBatch) -> PerImage:
    """SSIM of both images after a Gaussian blur of σ = 2 px; higher is better.

    Both the blur and the 11/1.5 window pad with zeros, and 1e-8 is added below, as published under
    the name GSSIM. It rewards smoothness: use it to read older numbers only.
    """
    x, y = images.scaled
    wide = None if images.valid is None else normalise(images.valid, WIDE_ZERO, x.dtype)
    norm = None if wide is None else normalise(wide.keep, ZERO, x.dtype)
    parts, buffers = [], images.buffers
    for bands in images.band_groups():
        maps = buffers.take("maps", (4, *x[:, bands].shape), x)
        for image, into in zip((x, y), maps, strict=False):
            into.copy_(blur(image[:, bands], WIDE_ZERO, buffers=buffers))
        here = None if norm is None else norm.of(bands)
        if wide is not None:
            maps[:2].mul_(wide.of(bands).factor)
        found = moments(maps, ZERO, here, buffers=buffers)
        quality = similarity(found, C1, C2, epsilon=1e-8, buffers=buffers)
        parts.append(average(quality, None if here is None else here.keep))
    return of_parts(parts, images)


def box_means(
    x: Tensor, y: Tensor, valid: Tensor | None, side: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """Return means of x, y, x² + y² and xy in every box, and which boxes are half valid or more.

    Args:
        x, y: (n, C, H, W) float64, 0 where invalid.
        valid: (n, 1|C, H, W) bool, None where every pixel is valid.

    Returns:
        Four (n, C, H − side + 1, W − side + 1); the mask is None where every pixel is valid.
    """
    means = avg_pool2d(torch.cat((x, y, x * x + y * y, x * y)), side, stride=1).chunk(4)
    if valid is None:
        return means[0], means[1], means[2], means[3], None
    weight = avg_pool2d(valid.double(), side, stride=1)
    below = weight.clamp_min(1.0 / side**2)
    mean_x, mean_y, squares, product = (mean / below for mean in means)
    return mean_x, mean_y, squares, product, weight >= 0.5


def uiqi(images: ImageBatch) -> PerImage:
    """Universal quality index per band, averaged over bands; −1 to 1, higher is better.

    Q = 4 σxy µx µy / ((σx² + σy²)(µx² + µy²)) in every 8 × 8 box, unclipped, in float64. Windows
    where both images are flat (or both means are zero) have no value: they are left out and
    counted as ``flat_windows``. Under a mask a box needs half of its pixels. torchmetrics takes a
    Gaussian window 11/1.5. sewar (0.4.4 and 0.4.10) takes means of boxes where its formula has
    sums, which brings textures close to 1. Wang and Bovik 2002.
    """
    x, y = images.prediction.double(), images.truth.double()
    mean_x, mean_y, squares, product, keep = box_means(x, y, images.valid, BOX)
    mean_squares = mean_x**2 + mean_y**2
    variances = squares - mean_squares
    flat = (variances <= (FLAT * images.span) ** 2) | (mean_squares == 0)
    below = torch.where(flat, 1.0, variances * mean_squares)
    quality = 4.0 * (product - mean_x * mean_y) * mean_x * mean_y / below
    kept = torch.ones_like(flat) if keep is None else keep.expand_as(flat)
    value, ok = average(quality, kept & ~flat)
    return PerImage.mean_of_bands(value, ok, counts={"flat_windows": int((kept & flat).sum())})
