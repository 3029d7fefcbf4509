"""Metrics of class maps that are pooled: counts per image are added, then evaluated once.

Truth and prediction are class probabilities with the classes along C; the truth is one-hot. The
class of a pixel is the one of largest probability, the first of equal ones.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.checks import check_pairs
from rsbench.metrics.images import ImageBatch, PerImage, total
from rsbench.metrics.registry import info

F64 = npt.NDArray[np.float64]
Statistic = Callable[[ImageBatch], Tensor]
BINS = 15
"""Bins of confidence of the calibration error (Guo et al. 2017, arXiv 1706.04599)."""


@dataclass(frozen=True)
class PooledScore:
    """The value of a pooled metric.

    Args:
        value: over all classes; NaN where it is undefined.
        per_class: (K,) values of single classes, NaN where a class is absent; None without any.
    """

    value: float
    per_class: F64 | None = None


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
    return _function(known.statistic)  # type: ignore[no-any-return]


def evaluate(metric: str, counts: F64) -> PooledScore:
    """Return the value of a pooled metric from the counts (n, …) of single images."""
    known = info(metric)
    return _function(known.function)(counts, **known.options)  # type: ignore[no-any-return]


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


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


# ----------------------------------------------------------------------------------------- values


def iou(counts: F64) -> PooledScore:
    """Return intersection over union per class, and their mean over classes that occur.

    A class that is neither in the truth nor in the prediction is absent and left out.
    """
    return _mean(_ious(counts.sum(0)))


def iou_of_truth(counts: F64) -> PooledScore:
    """Return the mean IoU over the classes of the truth."""
    whole = counts.sum(0)
    return _mean(np.where(whole.sum(1) > 0, _ious(whole), math.nan))


def iou_absent_zero(counts: F64) -> PooledScore:
    """Return the mean IoU with 0 for absent classes, union + 1e-6 (PANGAEA, evaluator.py)."""
    whole = counts.sum(0)
    inside = np.diag(whole)
    per_class = inside / (whole.sum(0) + whole.sum(1) - inside + 1e-6)
    return PooledScore(float(per_class.mean()))


def iou_of_batches(counts: F64, batch: int) -> PooledScore:
    """Return the mean over batches of consecutive images of each batch's mean IoU.

    Classes that are absent from a batch are left out of it.
    """
    parts = [iou(counts[i : i + batch]).value for i in range(0, len(counts), batch)]
    known = [value for value in parts if not math.isnan(value)]
    return PooledScore(sum(known) / len(known) if known else math.nan)


def f1(counts: F64) -> PooledScore:
    """Return the F1 score per class, and the mean over classes that occur."""
    whole = counts.sum(0)
    return _mean(_ratio(2.0 * np.diag(whole), whole.sum(0) + whole.sum(1)))


def overall_accuracy(counts: F64) -> PooledScore:
    """Return the share of pixels whose class is right."""
    whole = counts.sum(0)
    return PooledScore(float(_ratio(np.trace(whole), whole.sum())))


def mean_accuracy(counts: F64) -> PooledScore:
    """Return the mean over classes of the truth of the share that is right (recall)."""
    whole = counts.sum(0)
    return _mean(_ratio(np.diag(whole), whole.sum(1)))


def calibration_error(counts: F64) -> PooledScore:
    """Return the expected calibration error: |accuracy − confidence|, weighted by the bins."""
    whole = counts.sum(0)
    apart = np.abs(whole[:, 1] - whole[:, 2]).sum()
    return PooledScore(float(_ratio(apart, whole[:, 0].sum())))


def brier(images: ImageBatch) -> PerImage:
    """Return the Brier score per image: squared error of probabilities, summed over classes."""
    error = images.prediction - images.truth
    count = images.count[:, 0]
    return PerImage.of(total(error.square()).sum(1) / count, count > 0)


def _ious(whole: F64) -> F64:
    inside = np.diag(whole)
    found: F64 = _ratio(inside, whole.sum(0) + whole.sum(1) - inside)
    return found


def _ratio(above: Any, below: Any) -> Any:
    below = np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.full(below.shape, math.nan), where=below > 0)


def _mean(per_class: F64) -> PooledScore:
    known = per_class[~np.isnan(per_class)]
    return PooledScore(float(known.mean()) if known.size else math.nan, per_class)
