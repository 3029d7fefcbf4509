"""Gaussian windows as products with band matrices, borders folded in, and masked moments."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

RADIUS = 5  # 11 taps
# Output rows per product: short blocks leave out the empty part of the band, long ones are few.
# An accelerator does one dense product faster than several short ones.
BLOCK_CPU = 32
BLOCK_GPU = 192
KEPT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """An 11 × 11 Gaussian window: standard deviation ``sigma`` in pixels, and the border rule."""

    sigma: float
    border: Literal["reflect", "zero"]


@lru_cache(maxsize=64)
def band_matrix(window: Window, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix (length, length) that blurs an axis, reflected taps included.

    With a zero border the rows near both ends sum to less than one.
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


class Buffers:
    """Memory for temporaries, reused for every batch, map and call.

    The first access to new memory takes longer than the arithmetic in it. The content of a buffer
    is valid until its name is taken again.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(held.nbytes for held in self._buffers.values())

    @property
    def on_cpu(self) -> bool:
        """Whether all buffers are on the CPU."""
        return all(device.type == "cpu" for _, _, device in self._buffers)

    def take(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return an uninitialised contiguous tensor of ``shape``."""
        key, size = (name, like.dtype, like.device), math.prod(shape)
        held = self._buffers.get(key)
        if held is None or held.numel() < size:
            # A buffer made under the caller's inference mode could not be written outside of it.
            with torch.inference_mode(False):
                held = torch.empty(size, dtype=like.dtype, device=like.device)
            self._buffers[key] = held
        return held[:size].view(tuple(shape))


_FREE = threading.local()


@contextmanager
def borrowed_buffers() -> Iterator[Buffers]:
    """Yield buffers for one call; CPU buffers up to 64 MiB are kept for the thread's next call."""
    free: list[Buffers] = _FREE.__dict__.setdefault("buffers", [])
    buffers = free.pop() if free else Buffers()
    try:
        yield buffers
    finally:
        if not free and buffers.on_cpu and buffers.size <= KEPT_BYTES:
            free.append(buffers)


def blur(
    x: Tensor, window: Window, *, out: Tensor | None = None, buffers: Buffers | None = None
) -> Tensor:
    """Blur the last two axes: (…, H, W) → (…, H, W), stored as `columns_first`.

    ``out``: contiguous memory for the result, which may be that of ``x``.
    """
    height, width = x.shape[-2:]
    rows = band_matrix(window, height, x.dtype, x.device)
    columns = band_matrix(window, width, x.dtype, x.device)
    x = x.contiguous()
    out = torch.empty_like(x) if out is None else out
    between = (buffers or Buffers()).take("blur", (width, x.numel() // width), x)
    flat = x.view(-1, width)
    for start, stop, low, high in _blocks(width, x.device.type):
        torch.mm(columns[start:stop, low:high], flat[:, low:high].T, out=between[start:stop])
    flat, into = between.view(-1, height), out.view(-1, height)
    for start, stop, low, high in _blocks(height, x.device.type):
        torch.mm(flat[:, low:high], rows[start:stop, low:high].T, out=into[:, start:stop])
    return columns_first(out, x.shape)


def columns_first(held: Tensor, shape: Sequence[int]) -> Tensor:
    """Return memory as (…, H, W) whose columns, not rows, are contiguous.

    Both passes of `blur` are then one product each over all maps.
    """
    *maps, height, width = shape
    return held.view(width, *maps, height).movedim(0, -1)


@lru_cache(maxsize=64)
def _blocks(length: int, device: str) -> list[tuple[int, int, int, int]]:
    """Return the output rows start:stop and the input rows low:high that they read."""
    # A reflected border reads inwards only, so clipping the reach leaves no tap out.
    block = BLOCK_CPU if device == "cpu" else BLOCK_GPU
    return [
        (start, min(start + block, length), max(0, start - RADIUS),
         min(length, start + block + RADIUS))
        for start in range(0, length, block)
    ]  # fmt: skip


@lru_cache(maxsize=16)
def border_weight(
    window: Window, height: int, width: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the share of the window inside the image, (H, W); 1 for a reflected border."""
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
        """Return the same for some bands."""
        return Norm(of_bands(self.factor, bands), of_bands(self.keep, bands))


def of_bands(x: Tensor, bands: slice) -> Tensor:
    """Return some bands of (n, C, H, W), or the single plane of (n, 1, H, W)."""
    return x if x.shape[1] == 1 else x[:, bands]


def normalise(valid: Tensor, window: Window, dtype: torch.dtype) -> Norm:
    """Return the factors of a normalised convolution under ``valid`` (n, 1|C, H, W) bool."""
    inside = border_weight(window, *valid.shape[-2:], dtype, valid.device)
    weight = blur(valid.to(dtype), window)
    keep = valid & (weight >= 0.5 * inside)
    factor = torch.where(keep, inside / weight.clamp_min(1e-6), 0.0)
    return Norm(factor, keep)


@dataclass(frozen=True, slots=True)
class Moments:
    """Local statistics of two maps x, y, each (n, C, H, W)."""

    mean_x: Tensor  # µx
    mean_y: Tensor  # µy
    variances: Tensor  # σx² + σy²
    covariance: Tensor  # σxy


def moments(
    maps: Tensor,
    window: Window,
    norm: Norm | None = None,
    *,
    centre: tuple[Tensor, Tensor] | None = None,
    out: Tensor | None = None,
    buffers: Buffers | None = None,
) -> Moments:
    """Return local statistics of x and y from blurred x, y, x² + y² and xy.

    Args:
        maps: (4, n, C, H, W); x and y are its first two planes, the others are filled here. It
            holds the result where ``out`` is None.
        window: of the blur.
        norm: factors under a mask; None where every pixel is valid.
        centre: values subtracted from x and y beforehand, (n, C, 1, 1) each. They are added to
            the means again; variances keep the digits that float32 would lose otherwise.
        out: (4, n, C, H, W), for the result.
        buffers: memory for temporaries.
    """
    x, y = maps[0], maps[1]
    torch.mul(x, x, out=maps[2])
    maps[2].addcmul_(y, y)
    torch.mul(x, y, out=maps[3])
    blurred = blur(maps, window, out=maps if out is None else out, buffers=buffers)
    if norm is not None:
        blurred.mul_(norm.factor)
    mean_x, mean_y, variances, covariance = blurred.unbind(0)
    variances.addcmul_(mean_x, mean_x, value=-1.0).addcmul_(mean_y, mean_y, value=-1.0)
    covariance.addcmul_(mean_x, mean_y, value=-1.0)
    if centre is not None:
        mean_x.add_(centre[0])
        mean_y.add_(centre[1])
    return Moments(mean_x, mean_y, variances, covariance)


def similarity(
    m: Moments, c1: float, c2: float, *, epsilon: float = 0.0, buffers: Buffers | None = None
) -> Tensor:
    """Return the SSIM map ((2µxµy + C1)(2σxy + C2)) / ((µx² + µy² + C1)(σx² + σy² + C2)).

    With ``buffers`` the map is valid until the next call with the same buffers.
    """
    buffers = buffers or Buffers()
    shape = (3, *m.mean_x.shape)
    held = buffers.take("similarity", shape, m.mean_x)
    top, below, term = columns_first(held, shape).unbind(0)
    torch.mul(m.mean_x, m.mean_y, out=top).add_(c1 / 2)
    top.mul_(torch.add(m.covariance, c2 / 2, out=term))
    torch.mul(m.mean_x, m.mean_x, out=below).addcmul_(m.mean_y, m.mean_y).add_(c1)
    below.mul_(torch.add(m.variances, c2, out=term))
    return top.div_(below.add_(epsilon) if epsilon else below).mul_(4.0)
