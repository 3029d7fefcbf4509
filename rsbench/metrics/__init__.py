"""Metrics with versioned definitions: one value per image, masks, no value where undefined.

>>> import torch, rsbench as rb
>>> truth = torch.rand(2, 3, 32, 32)
>>> rb.metrics.compute(["mae@1"], truth + 0.1, truth, data_range=1.0)["mae@1"].round(decimals=4)
tensor([0.1000, 0.1000], dtype=torch.float64)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rsbench.metrics.metric import Metric, Placement
from rsbench.metrics.registry import MetricInfo, info, metric_info
from rsbench.metrics.suites import SUITES, for_bands, suite

if TYPE_CHECKING:
    from rsbench.metrics.class_values import PooledScore as PooledScore
    from rsbench.metrics.engine import compute as compute
    from rsbench.metrics.engine import image_metrics as image_metrics
    from rsbench.metrics.engine import member_metrics as member_metrics
    from rsbench.metrics.frechet import SetScore as SetScore
    from rsbench.metrics.images import ImageBatch as ImageBatch
    from rsbench.metrics.images import ImageOptions as ImageOptions
    from rsbench.metrics.images import PerImage as PerImage
    from rsbench.metrics.pooled import compute_pooled as compute_pooled
    from rsbench.metrics.rgb import RgbMapping as RgbMapping
    from rsbench.metrics.sets import compute_sets as compute_sets

# Resolved on first use: the list of metrics is readable without torch.
_LAZY = {
    "compute": "engine",
    "compute_pooled": "pooled",
    "compute_sets": "sets",
    "image_metrics": "engine",
    "member_metrics": "engine",
    "ImageBatch": "images",
    "ImageOptions": "images",
    "PerImage": "images",
    "PooledScore": "class_values",
    "RgbMapping": "rgb",
    "SetScore": "frechet",
}

__all__ = [
    "SUITES",
    "ImageBatch",
    "ImageOptions",
    "Metric",
    "MetricInfo",
    "PerImage",
    "Placement",
    "PooledScore",
    "RgbMapping",
    "SetScore",
    "compute",
    "compute_pooled",
    "compute_sets",
    "for_bands",
    "image_metrics",
    "info",
    "member_metrics",
    "metric_info",
    "suite",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"rsbench.metrics.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'rsbench.metrics' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those that are loaded on first use included."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
