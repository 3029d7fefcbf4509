"""The sinusoidal grid of MODIS: its constants, and its pixels under another grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rsbench.core.grid import Grid

CRS = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
PIXEL = 463.3127165279165
"""Metres of a 500 m pixel; 2400 of them make a tile, 36 tiles go round the Earth."""
CORNER = (-20015109.354, 10007554.677)
"""Upper left corner (m) of tile h00v00, from which all tiles count."""
TILE = 2400
"""Pixels along a side of a tile."""
PLACES = 8
"""Places along a side of a pixel of the other grid at which the MODIS pixel is looked up."""


def native_grid(blocks: Grid) -> Grid:
    """Return the window of MODIS pixels that the pixels of a grid touch, over all tiles."""
    rows, columns = native_pixels(blocks)
    top, left = int(rows.min()), int(columns.min())
    return window_grid(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)


def window_grid(top: int, left: int, height: int, width: int) -> Grid:
    """Return the grid of MODIS pixels from a row and a column on, counted over the whole Earth."""
    transform = (PIXEL, 0.0, CORNER[0] + left * PIXEL, 0.0, -PIXEL, CORNER[1] - top * PIXEL)
    return Grid(CRS, transform, height, width)


@lru_cache(maxsize=4)
def native_pixels(blocks: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row and column of the MODIS pixel at every place of a grid.

    Returns:
        two arrays ``(H · PLACES, W · PLACES)``, counted over the whole Earth.
    """
    from pyproj import Transformer

    a, _, c, _, e, f = blocks.transform
    x = c + a * (np.arange(blocks.width * PLACES) + 0.5) / PLACES
    y = f + e * (np.arange(blocks.height * PLACES) + 0.5) / PLACES
    to = Transformer.from_crs(blocks.crs, CRS, always_xy=True)
    east, north = to.transform(*np.meshgrid(x, y))
    rows = np.floor((CORNER[1] - north) / PIXEL).astype(np.int64)
    columns = np.floor((east - CORNER[0]) / PIXEL).astype(np.int64)
    return rows, columns
