"""MODIS in its native sinusoidal pixels, and their means over the blocks of another grid.

The sinusoidal grid is sheared against UTM, by more than a pixel per pixel in places, so the
bounding box of a block is far wider than the block. A block is therefore sampled at 8 × 8 points
by nearest neighbour: the mean over valid points is the area mean to 1 / 64 of the block. The share
of valid points is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.grid import Grid
from rsbench.core.sinusoidal import PLACES, native_pixels

Pixels = npt.NDArray[Any]


def block_means(
    values: Pixels, valid: npt.NDArray[np.bool_], blocks: Grid
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return area means ``(C, H, W)`` and the share of valid area ``(H, W)`` of blocks.

    Args:
        values: ``(C, h, w)`` on the native grid of the blocks.
        valid: ``(h, w)``.
        blocks: the grid of the means; where nothing is valid the mean is 0.
    """
    rows, columns = native_pixels(blocks)
    rows, columns = rows - rows.min(), columns - columns.min()
    shape = (blocks.height, PLACES, blocks.width, PLACES)
    seen = valid[rows, columns]
    count = seen.reshape(shape).sum(axis=(1, 3), dtype=np.int64)
    means = np.stack(
        [
            np.where(seen, plane[rows, columns], 0).reshape(shape).sum(axis=(1, 3), dtype=np.int64)
            / np.maximum(count, 1)
            for plane in values
        ]
    )
    return means, count / PLACES**2
