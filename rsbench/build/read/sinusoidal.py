"""MODIS in its native sinusoidal pixels, and their means over the blocks of another grid.

The sinusoidal grid is sheared against UTM, by more than a pixel per pixel in places, so the
bounding box of a block is far wider than the block. A block is therefore sampled at 8 × 8 points
by nearest neighbour: the mean over valid points is the area mean to 1 / 64 of the block. The share
of valid points is kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.grid import Grid

Pixels = npt.NDArray[Any]

CRS = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
PIXEL = 463.3127165279165
"""Metres of a 500 m pixel; 2400 of them make a tile, 36 tiles go round the Earth."""
CORNER = (-20015109.354, 10007554.677)
"""Upper left corner (m) of tile h00v00, from which all tiles count."""
PLACES = 8
"""Places along a side of a block at which it is sampled."""


def native_grid(blocks: Grid) -> Grid:
    """Return the window of MODIS's pixels that the blocks touch, over all tiles."""
    rows, columns = _pixels(blocks)
    top, left = int(rows.min()), int(columns.min())
    transform = (PIXEL, 0.0, CORNER[0] + left * PIXEL, 0.0, -PIXEL, CORNER[1] - top * PIXEL)
    return Grid(CRS, transform, int(rows.max()) - top + 1, int(columns.max()) - left + 1)


def block_means(
    values: Pixels, valid: npt.NDArray[np.bool_], blocks: Grid
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return area means ``(C, H, W)`` and the share of valid area ``(H, W)`` of blocks.

    Args:
        values: ``(C, h, w)`` on the native grid of the blocks.
        valid: ``(h, w)``.
        blocks: the grid of the means; where nothing is valid the mean is 0.
    """
    rows, columns = _pixels(blocks)
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


@lru_cache(maxsize=4)
def _pixels(blocks: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row and column, counted over the whole Earth, of the pixel at every place."""
    from pyproj import Transformer

    a, _, c, _, e, f = blocks.transform
    x = c + a * (np.arange(blocks.width * PLACES) + 0.5) / PLACES
    y = f + e * (np.arange(blocks.height * PLACES) + 0.5) / PLACES
    to = Transformer.from_crs(blocks.crs, CRS, always_xy=True)
    east, north = to.transform(*np.meshgrid(x, y))
    rows = np.floor((CORNER[1] - north) / PIXEL).astype(np.int64)
    columns = np.floor((east - CORNER[0]) / PIXEL).astype(np.int64)
    return rows, columns
