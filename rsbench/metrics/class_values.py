"""Values of pooled metrics from counts of class maps; NumPy alone, so that tables load no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.metrics.registry import imported, info

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PooledScore:
    """The value of a pooled metric.

    Args:
        value: over all classes; NaN where it is undefined.
        per_class: (K,) values of single classes, NaN where a class is absent; None without any.
    """

    value: float
    per_class: F64 | None = None


def evaluate(metric: str, counts: F64) -> PooledScore:
    """Return the value of a pooled metric from the counts (n, …) of single images."""
    known = info(metric)
    return imported(known.function)(counts, **known.options)  # type: ignore[no-any-return]


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
