"""Checks of predictions made elsewhere: the unit of the data, and sums of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.metrics.metric import MARGIN, MOST_OUTSIDE

if TYPE_CHECKING:
    from rsbench.evaluation.submission_files import AnswerFiles, Array
    from rsbench.store.layout import SensorMeta
    from rsbench.tasks.base import Asked

LOOKED_AT = 32
"""Predictions that are looked at, evenly spaced."""
SIDE = 256
"""Side in pixels of their middle, which is read."""
MOST = 0.5
"""Largest share of them outside the value range; with more, the unit is wrong.

With fewer, these predictions alone have no value of metrics that clip.
"""
SUM_TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of a pixel's class probabilities."""


def require_probabilities(values: Array, item: Asked[Any], window: Window) -> None:
    """Refuse class probabilities ``(K, h, w)`` that are negative or do not sum to 1.

    Raises:
        InputError: names the first pixel.
    """
    total = values.sum(axis=0, dtype=np.float64)
    for wrong, what in (
        (values.min(axis=0) < 0, "a probability is negative"),
        (np.abs(total - 1) > SUM_TOLERANCE, "the probabilities do not sum to 1"),
    ):
        if wrong.any():
            row, column = (int(place) for place in np.argwhere(wrong)[0])
            given = ", ".join(f"{value:.4g}" for value in values[:, row, column])
            raise InputError(
                f"the prediction of {item}",
                f"{what} in {int(wrong.sum())} pixels, the first at row {window.y + row}, column "
                f"{window.x + column} ({given})",
                "Write the probability of every class, each 0 or more, that sum to 1 in every "
                "pixel; of a map of classes, 1 for the class and 0 for the others",
            )


def require_unit(files: AnswerFiles, asked: Sequence[Asked[Any]], meta: SensorMeta) -> None:
    """Refuse predictions of which most lie outside the value range, e.g. DN for reflectance.

    Args:
        files: reads the predictions.
        asked: what was asked for.
        meta: the sensor's unit and value range.

    Raises:
        InputError: with the share, the median of one, and the unit to write.
    """
    step = -(-len(asked) // LOOKED_AT)
    looked_at = asked[::step]
    values = [files.look(item, 0, _middle(item)) for item in looked_at]
    outside = [one for one in values if mostly_outside(one, meta.value_range)]
    if len(outside) <= MOST * len(values):
        return
    low, high = meta.value_range
    raise InputError(
        "scoring the predictions",
        f"{len(outside)} of {len(values)} that were looked at lie mostly outside the value range "
        f"{low:g} … {high:g}; the median of one is {float(np.nanmedian(outside[0])):.4g}",
        f"Write {meta.unit}, the unit and value_range of task.json, not stored integers or another "
        "scale",
    )


def mostly_outside(values: Array, value_range: tuple[float, float]) -> bool:
    """Return whether any band (C, H, W) lies mostly outside, as metrics that clip define it."""
    low, high = value_range
    margin = MARGIN * (high - low)
    outside = (values < low - margin) | (values > high + margin)
    return bool((outside.mean(axis=(1, 2)) > MOST_OUTSIDE).any())


def _middle(item: Asked[Any]) -> Window:
    height, width = min(SIDE, item.grid.height), min(SIDE, item.grid.width)
    return Window((item.grid.height - height) // 2, (item.grid.width - width) // 2, height, width)
