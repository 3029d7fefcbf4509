"""Metrics of super-resolution: on the pixels of the image given, and up to its registration.

They need the number k of wanted pixels along one side of a pixel given (``ratio``).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total
from rsbench.metrics.pixel import capped, decibel


def stated_ratio(images: ImageBatch) -> int:
    """Return k; the engine refuses these metrics where it is not stated."""
    if images.ratio is None:
        raise AssertionError("checked before")
    return images.ratio


def consistency_rmse(images: ImageBatch) -> PerImage:
    """Root mean squared error of means over k × k pixels, in the data's unit; lower is better.

    Blocks start at the upper-left corner of the image; an incomplete block, and one with an invalid
    pixel, does not count. A blurred answer can be perfect.
    """
    k = stated_ratio(images)
    low = replace(
        images, prediction=block_mean(images.prediction, k), truth=block_mean(images.truth, k),
        valid=None if images.valid is None else _whole_blocks(images.valid, k),
        before=None, before_valid=None, _shared={},
    )  # fmt: skip
    if low.valid is not None:  # sums run over all elements
        low = replace(
            low, prediction=torch.where(low.valid, low.prediction, 0),
            truth=torch.where(low.valid, low.truth, 0), _shared={},
        )  # fmt: skip
    return PerImage.of_sums(low, low.squared, torch.sqrt)


def block_mean(values: Tensor, k: int) -> Tensor:
    """Return means over k × k pixels of ``(n, C, H, W)``, incomplete blocks left out."""
    return torch.nn.functional.avg_pool2d(values, k)


def _whole_blocks(valid: Tensor, k: int) -> Tensor:
    return block_mean(valid.double(), k) == 1


def psnr_shift(images: ImageBatch) -> PerImage:
    """Best PSNR over shifts of up to k // 2 pixels, less the mean error of each band.

    The truth without a margin of k // 2 pixels is compared with the answer under every shift by
    whole pixels. Pixels count where the truth is valid at both places. One shift is chosen per
    image, the one with the least mean squared error over bands; the value is
    10·log10(L² / MSE) dB, capped at 100. Neither a shift of the image given nor an offset of a
    band counts against an answer.
    """
    reach = stated_ratio(images) // 2
    _, _, height, width = images.truth.shape
    inner = (..., slice(reach, height - reach), slice(reach, width - reach))
    best: tuple[Tensor, Tensor] | None = None
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            moved = (..., slice(dy, height - 2 * reach + dy), slice(dx, width - 2 * reach + dx))
            found = _unbiased(images, inner, moved)
            best = found if best is None else _better(best, found)
    assert best is not None
    squared, count = best
    peak = images.span**2
    everything = count.sum(1)
    return capped(
        PerImage.of(
            decibel(peak * everything / squared.sum(1)), everything > 0,
            per_band=decibel(peak * count / squared), band_ok=count > 0,
        )
    )  # fmt: skip


def _unbiased(
    images: ImageBatch, inner: tuple[object, ...], moved: tuple[object, ...]
) -> tuple[Tensor, Tensor]:
    """Return sums of squared differences from their mean, and numbers of pixels: ``(n, C)``."""
    error = images.prediction[moved] - images.truth[inner]  # type: ignore[index]
    if images.valid is None:
        count = torch.full_like(total(error), float(error.shape[-1] * error.shape[-2]))
        error = error - (total(error) / count).to(error.dtype)[..., None, None]
        return total(error.square_()), count
    valid = images.valid[inner] & images.valid[moved]  # type: ignore[index]
    count = valid.sum((-1, -2)).double().expand(error.shape[:2])
    error = torch.where(valid, error, 0)
    mean = (total(error) / count.clamp(min=1)).to(error.dtype)[..., None, None]
    return total(torch.where(valid, error - mean, 0).square_()), count


def _better(best: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return, image by image, the sums of the smaller mean squared error over bands."""
    old, new = (squared.sum(1) / count.sum(1).clamp(min=1) for squared, count in (best, found))
    better = (found[1].sum(1) > 0) & ((new < old) | (best[1].sum(1) == 0))
    first, second = (torch.where(better[:, None], a, b) for a, b in zip(found, best, strict=True))
    return first, second
