"""Metrics of class maps: probabilities of classes against a map of classes."""

from __future__ import annotations

from typing import Any

from rsbench.metrics.metric import Bounds, Direction, Metric, Placement

SHARE: Bounds = (0.0, 1.0)
_POOLED = "rsbench.metrics.pooled"
_VALUES = "rsbench.metrics.class_values"


def _pooled(
    metric: str, title: str, function: str, *, direction: Direction = "higher",
    source: str = "this project", statistic: str = "confusion", per_band: bool = False,
    **more: Any,
) -> Metric:  # fmt: skip
    return Metric(
        metric, direction, SHARE, "1", source, title, f"{_VALUES}:{function}",
        perfect=1.0 if direction == "higher" else 0.0, kind="pooled", per_band=per_band,
        min_bands=2, statistic=f"{_POOLED}:{statistic}", **more,
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    _pooled("miou@1", "mean IoU, pooled over all pixels, classes in truth or prediction", "iou",
            placement=Placement(order=1, headline=True)),
    _pooled("miou.truth@1", "mean IoU, pooled, classes of the truth", "iou_of_truth"),
    _pooled("iou@1", "IoU per class, pooled; over all classes their mean", "iou", per_band=True),
    _pooled("mf1@1", "mean F1, pooled, classes in truth or prediction", "f1",
            placement=Placement(order=3, headline=True)),
    _pooled("f1@1", "F1 per class, pooled; over all classes their mean", "f1", per_band=True),
    _pooled("oa@1", "overall accuracy: share of pixels whose class is right", "overall_accuracy",
            placement=Placement(order=2, headline=True)),
    _pooled("macc@1", "mean accuracy over the classes of the truth", "mean_accuracy"),
    _pooled("ece.15@1", "expected calibration error, 15 bins of equal width",
            "calibration_error", direction="lower", statistic="calibration",
            source="Guo et al. 2017, arXiv 1706.04599"),
    _pooled("miou.batchmean@1", "mean over batches of 64 images of their mean IoU",
            "iou_of_batches", options={"batch": 64}, published=True,
            source="public LatentMIM and I-JEPA forks, evaluation before April 2026"),
    _pooled("miou.pangaea@1", "mean IoU, pooled, absent classes count 0", "iou_absent_zero",
            published=True, source="PANGAEA, arXiv 2412.04204, engine/evaluator.py"),
    Metric("brier@1", "lower", (0.0, 2.0), "1",
           "Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2",
           "squared error of class probabilities, summed over classes", f"{_POOLED}:brier",
           perfect=0.0, per_band=False, min_bands=2, pixelwise=True,
           placement=Placement(order=4, headline=True)),
)  # fmt: skip
