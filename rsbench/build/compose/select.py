"""Composites that keep whole observations: the medoid and the clear day nearest to a given day.

All bands of a pixel come from one date, so its spectrum was measured; ``source`` is the number of
the observation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]

_PIXELS = 8192
"""Pixels compared at a time, so that the planes of a block stay in cache."""


def medoid(values: Pixels, clear: Bool) -> Index:
    """Return per pixel the clear observation with the least summed distance to all others.

    The distance is Euclidean over the bands as stored (Flood 2013, Seasonal composite Landsat
    TM/ETM+ images using the medoid, Remote Sensing 5, 6481–6500). The earliest wins a tie.

    Args:
        values: ``(T, C, H, W)`` integers; clear: ``(T, H, W)``.

    Returns:
        ``(H, W)`` index along T; without any clear observation 0.
    """
    count, bands, height, width = values.shape
    best = np.zeros(height * width, np.intp)
    if count == 0:
        return best.reshape(height, width)
    flat, seen = values.reshape(count, bands, -1), clear.reshape(count, -1)
    for start in range(0, height * width, _PIXELS):
        part = slice(start, start + _PIXELS)
        best[part] = _block(flat[:, :, part].astype(np.float32), seen[:, part])
    return best.reshape(height, width)


def _block(values: npt.NDArray[np.float32], clear: Bool) -> Index:
    count = len(values)
    weight = clear.astype(np.float32)
    total = np.zeros(clear.shape, np.float32)
    for i in range(count - 1):
        # All later dates at once: (count - i - 1, C, n).
        apart = np.sqrt(np.square(values[i + 1 :] - values[i]).sum(axis=1))
        apart *= weight[i + 1 :]
        apart *= weight[i]
        # Added one after the other, so that the order of the sum is fixed.
        for j, distance in enumerate(apart, start=i + 1):
            total[i] += distance
            total[j] += distance
    total[~clear] = np.inf
    return np.asarray(total.argmin(axis=0), np.intp)


def nearest(days: npt.NDArray[np.integer[Any]], clear: Bool, day: int) -> Index:
    """Return per pixel the clear observation nearest to a day of the year; the earliest of two.

    Args:
        days: ``(T,)`` days of the year; clear: ``(T, H, W)``.
    """
    if len(days) == 0:
        return np.zeros(clear.shape[1:], np.intp)
    far = np.iinfo(np.int32).max
    apart = np.abs(np.asarray(days, np.int32) - day)[:, None, None]
    return np.asarray(np.where(clear, apart, far).argmin(axis=0), np.intp)


def picked(values: Pixels, index: Index) -> Pixels:
    """Return ``(C, H, W)``: of every pixel the observation that ``index`` names."""
    taken = np.take_along_axis(values, index[None, None], axis=0)
    return np.asarray(taken[0])
