"""Ensembles against one truth: fair CRPS, spread over error, and the rank of the truth.

``members`` (n, M, C, H, W) come with an `ImageBatch` whose prediction is their mean. All members
count; none is selected by comparison with the truth.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rsbench.metrics.images import ImageBatch, PerImage, total


def _per_element(images: ImageBatch, values: Tensor) -> PerImage:
    """Average a map (n, C, H, W) over valid elements, per image and per band."""
    if images.valid is not None:
        values = values.masked_fill(~images.valid, 0.0)
    return PerImage.of_sums(images, total(values))


def crps(images: ImageBatch, members: Tensor) -> PerImage:
    """Fair CRPS, mean|xᵢ − y| − Σ|xᵢ − xⱼ| / (2M(M − 1)), in the data's unit; lower is better.

    Its mean is that of an infinite ensemble whatever M, so ensembles of different size compare.
    Members that are all equal give the mean absolute error. Ferro 2014.
    """
    size = members.shape[1]
    error = (members - images.truth[:, None]).abs_().mean(1)
    if size > 1:
        # Σ_{i<j} |xᵢ − xⱼ| over the sorted members is Σᵢ (2i − M + 1) x₍ᵢ₎.
        weights = torch.arange(1 - size, size, 2, dtype=members.dtype, device=members.device)
        spread = torch.einsum("nmchw,m->nchw", members.sort(1).values, weights)
        error = error - spread / (size * (size - 1))
    return _per_element(images, error)


def spread_skill(images: ImageBatch, members: Tensor) -> PerImage:
    """log10 of ensemble spread over error of the mean, √((M+1)/M · variance / MSE); 0 is best.

    Negative where the spread is too small for the error. Variance (unbiased) and error are averaged
    over an image's elements first. An image without spread or without error has no value. Fortin
    et al. 2014.
    """
    size = members.shape[1]
    variance = _per_element(images, members.var(1, unbiased=True))
    count = images.count
    per_band = images.squared.cpu() / count.cpu()
    error = images.squared.sum(1).cpu() / count.sum(1).cpu()
    factor = (size + 1) / size
    assert variance.per_band is not None
    assert variance.band_ok is not None
    value, ok = _half_log(factor * variance.value, error, variance.ok)
    bands, band_ok = _half_log(factor * variance.per_band, per_band, variance.band_ok)
    return PerImage.of(value, ok, per_band=bands, band_ok=band_ok)


def _half_log(variance: Tensor, error: Tensor, ok: Tensor) -> tuple[Tensor, Tensor]:
    ok = ok & (variance > 0) & (error > 0)
    return 0.5 * torch.log10(variance / error), ok


def rank_deviation(images: ImageBatch, members: Tensor) -> PerImage:
    """Sum over ranks of |share − 1/(M+1)| of the truth among the members; 0 is best, 2 − … worst.

    A flat histogram is what an ensemble drawn from the truth's distribution gives. Where the
    truth equals members, its element is shared among the ranks between. ``counts`` holds the
    histogram over all valid elements (``rank 0``: below every member). Delle Monache et al. 2006.
    """
    n, size = members.shape[:2]
    truth = images.truth[:, None]
    below = (members < truth).sum(1)
    ties = (members == truth).sum(1)
    share = 1.0 / (ties + 1.0)
    if images.valid is not None:
        share = share.masked_fill(~images.valid.expand_as(share), 0.0)
    histogram = torch.stack(
        [
            (share * ((below <= rank) & (rank <= below + ties))).sum((1, 2, 3)).double()
            for rank in range(size + 1)
        ],
        1,
    )
    number = histogram.sum(1, keepdim=True)
    value = (histogram / number - 1.0 / (size + 1)).abs().sum(1)
    counts = {f"rank {rank}": round(float(histogram[:, rank].sum())) for rank in range(size + 1)}
    return PerImage.of(value, number.view(n) > 0, counts=counts)
