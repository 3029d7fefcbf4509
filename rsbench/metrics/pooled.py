"""Metrics of class maps that are pooled: counts per image are added, then evaluated once.

Truth and prediction are class probabilities with the classes along C; the truth is one-hot. The
class of a pixel is the one of largest probability, the first of equal ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.checks import check_pairs
from rsbench.metrics.class_values import PooledScore, evaluate
from rsbench.metrics.images import ImageBatch, PerImage, total
from rsbench.metrics.registry import imported, info

Statistic = Callable[[ImageBatch], Tensor]
BINS = 15
"""Bins of confidence of the calibration error (Guo et al. 2017, arXiv 1706.04599)."""


def compute_pooled(
    ids: Sequence[str], prediction: Tensor, truth: Tensor, valid: Tensor | None = None
) -> dict[str, PooledScore]:
    """Score class maps, pooled over all images: {id: PooledScore}.

    Args:
        ids: ids of pooled metrics.
        prediction, truth: (N, K, H, W) probabilities of the K classes; the truth is one-hot.
        valid: (N, 1, H, W) bool, or None where every pixel is scored.

    Raises:
        InputError: if a metric is not pooled, or shapes differ.
    """
    found = {}
    pairs = check_pairs(prediction, truth, valid, (0.0, 1.0), None)
    for metric in dict.fromkeys(ids):
        counted = statistic(metric)
        counts = torch.cat([counted(images) for images in pairs.chunks()])
        found[metric] = evaluate(metric, counts.numpy())
    return found


def statistic(metric: str) -> Statistic:
    """Return the function that counts: an ImageBatch → (n, …) float64 on the CPU."""
    known = info(metric)
    if known.statistic is None:
        raise InputError(
            f"metric {metric!r}", "it is not pooled", "Use rsbench.metrics.compute for it"
        )
    return imported(known.statistic)


# ------------------------------------------------------------------------------------- statistics


def confusion(images: ImageBatch) -> Tensor:
    """Return (n, K, K) pixel counts: rows are classes of the truth, columns of the prediction."""
    n, classes = images.truth.shape[:2]
    code = images.truth.argmax(1) * classes + images.prediction.argmax(1)
    code = code + classes * classes * torch.arange(n, device=code.device)[:, None, None]
    if images.all_bands is not None:
        code = code[images.all_bands[:, 0]]
    counts = torch.bincount(code.flatten(), minlength=n * classes * classes)
    return counts.view(n, classes, classes).double().cpu()


def calibration(images: ImageBatch) -> Tensor:
    """Return (n, BINS, 3): number of pixels, of right ones, and sum of confidence by confidence.

    Confidence is the largest probability; the bins are of equal width, closed above.
    """
    confidence, predicted = images.prediction.double().max(1)
    right = (predicted == images.truth.argmax(1)).double()
    place = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    counted = torch.ones_like(confidence)
    if images.all_bands is not None:
        counted = images.all_bands[:, 0].double()
    out = torch.zeros((len(place), BINS, 3), dtype=torch.float64, device=place.device)
    for index, values in enumerate((counted, right * counted, confidence * counted)):
        out[:, :, index].scatter_add_(1, place.flatten(1), values.flatten(1))
    return out.cpu()


def brier(images: ImageBatch) -> PerImage:
    """Return the Brier score per image: squared error of probabilities, summed over classes."""
    error = images.prediction - images.truth
    count = images.count[:, 0]
    return PerImage.of(total(error.square()).sum(1) / count, count > 0)
