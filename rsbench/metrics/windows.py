"""Gaussian windows as products with band matrices, borders folded in, and masked moments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

RADIUS = 5  # 11 taps
# Up to this length one dense product is fastest; above it the empty part of the band costs more
# than cutting it away.
DENSE = 192
BLOCK = 64


@dataclass(frozen=True, slots=True)
class Window:
    """An 11 × 11 Gaussian of standard deviation ``sigma`` px and what lies beyond the border."""

    sigma: float
    border: Literal["reflect", "zero"]


@lru_cache(maxsize=64)
def band_matrix(window: Window, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (length, length) that blurs an axis; reflected taps are folded into it.

    With a zero border the rows near the ends sum to less than one.
    """
    with torch.inference_mode(False):
        offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
        taps = torch.exp(-(offsets**2) / (2 * window.sigma**2))
        taps /= taps.sum()
        matrix = torch.zeros(length, length, dtype=torch.float64)
        for row in range(length):
            for offset, tap in zip(range(-RADIUS, RADIUS + 1), taps, strict=True):
                column = row + offset
                if window.border == "reflect":
                    column = abs(column)
                    column = 2 * (length - 1) - column if column >= length else column
                elif not 0 <= column < length:
                    continue
                matrix[row, column] += tap
        return matrix.to(device=device, dtype=dtype)


def blur(x: Tensor, window: Window) -> Tensor:
    """Blur the last two axes: (…, H, W) → (…, H, W)."""
    height, width = x.shape[-2:]
    rows = band_matrix(window, height, x.dtype, x.device)
    columns = band_matrix(window, width, x.dtype, x.device)
    return _rows(_columns(x.contiguous(), columns), rows)


def _columns(x: Tensor, matrix: Tensor) -> Tensor:
    length = x.shape[-1]
    flat = x.view(-1, length)
    if length <= DENSE:
        return (flat @ matrix.T).view_as(x)
    out = torch.empty_like(flat)
    for start, stop, low, high in _blocks(length):
        torch.mm(flat[:, low:high], matrix[start:stop, low:high].T, out=out[:, start:stop])
    return out.view_as(x)


def _rows(x: Tensor, matrix: Tensor) -> Tensor:
    length = x.shape[-2]
    if length <= DENSE:
        return torch.matmul(matrix, x)
    out = torch.empty_like(x)
    for start, stop, low, high in _blocks(length):
        out[..., start:stop, :] = torch.matmul(matrix[start:stop, low:high], x[..., low:high, :])
    return out


def _blocks(length: int) -> list[tuple[int, int, int, int]]:
    """Output rows start:stop and the input rows low:high that they need."""
    # A reflected border reads inwards only, so clipping the reach loses nothing.
    return [
        (start, min(start + BLOCK, length), max(0, start - RADIUS),
         min(length, start + BLOCK + RADIUS))
        for start in range(0, length, BLOCK)
    ]  # fmt: skip


@lru_cache(maxsize=16)
def border_weight(
    window: Window, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Share of the window inside the image, (H, W); one everywhere for a reflected border."""
    with torch.inference_mode(False):
        rows = band_matrix(window, height, torch.float64, device).sum(1)
        columns = band_matrix(window, width, torch.float64, device).sum(1)
        return torch.outer(rows, columns).to(dtype)


@dataclass(frozen=True, slots=True)
class Norm:
    """How to average under a mask: ``factor`` rescales a blurred masked map, ``keep`` is bool.

    A pixel counts when it is valid itself and at least half of its window's weight is valid.
    """

    factor: Tensor
    keep: Tensor

    def of(self, bands: slice) -> Norm:
        """The same for some bands."""
        return Norm(of_bands(self.factor, bands), of_bands(self.keep, bands))


def of_bands(x: Tensor, bands: slice) -> Tensor:
    """Some bands of (n, C, H, W), or the one plane of (n, 1, H, W) that stands for all."""
    return x if x.shape[1] == 1 else x[:, bands]


def normalise(valid: Tensor, window: Window, dtype: torch.dtype) -> Norm:
    """Prepare normalised convolution under ``valid`` (n, 1|C, H, W) bool."""
    inside = border_weight(window, *valid.shape[-2:], dtype, valid.device)
    weight = blur(valid.to(dtype), window)
    keep = valid & (weight >= 0.5 * inside)
    factor = torch.where(keep, inside / weight.clamp_min(1e-6), 0.0)
    return Norm(factor, keep)


@dataclass(frozen=True, slots=True)
class Moments:
    """Local statistics of two maps x, y: products of means, sum of variances, covariance."""

    means: Tensor  # µx µy
    mean_squares: Tensor  # µx² + µy²
    variances: Tensor  # σx² + σy²
    covariance: Tensor  # σxy


def moments(
    x: Tensor,
    y: Tensor,
    window: Window,
    norm: Norm | None,
    centre: tuple[Tensor, Tensor] | None = None,
) -> Moments:
    """Blur x, y, x² + y² and xy, and turn them into local statistics.

    ``centre`` holds what was subtracted from x and from y beforehand, (n, C, 1, 1) each: variances
    do not change and keep the digits that float32 would lose; the means get it back.
    """
    stacked = torch.empty((4, *x.shape), dtype=x.dtype, device=x.device)
    stacked[0], stacked[1] = x, y
    torch.mul(x, x, out=stacked[2])
    stacked[2].addcmul_(y, y)
    torch.mul(x, y, out=stacked[3])
    mean_x, mean_y, variances, covariance = blur(stacked, window).unbind(0)
    if norm is not None:
        mean_x, mean_y = mean_x * norm.factor, mean_y * norm.factor
        variances, covariance = variances * norm.factor, covariance * norm.factor
    means = mean_x * mean_y
    mean_squares = (mean_x * mean_x).addcmul_(mean_y, mean_y)
    variances.sub_(mean_squares)
    covariance.sub_(means)
    if centre is not None:
        mean_x, mean_y = mean_x + centre[0], mean_y + centre[1]
        torch.mul(mean_x, mean_y, out=means)
        torch.mul(mean_x, mean_x, out=mean_squares).addcmul_(mean_y, mean_y)
    return Moments(means, mean_squares, variances, covariance)


def similarity(m: Moments, c1: float, c2: float, *, epsilon: float = 0.0) -> Tensor:
    """The SSIM map ((2µxµy + C1)(2σxy + C2)) / ((µx² + µy² + C1)(σx² + σy² + C2))."""
    top = torch.mul(m.means, 2).add_(c1)
    top.mul_(torch.mul(m.covariance, 2).add_(c2))
    below = (m.mean_squares + c1).mul_(m.variances + c2)
    return top.div_(below.add_(epsilon) if epsilon else below)
