"""Classes on a grid: those of the source pixels in which the grid's pixel centres lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.read.grids import GridMismatchError, require_bands, require_north_up
from rsbench.build.read.opened import Source, open_raster
from rsbench.build.read.stated import mark_missing
from rsbench.core.grid import Grid


def read_classes(source: Source, index: int, grid: Grid, nodata: int) -> npt.NDArray[np.uint8]:
    """Return ``(H, W)`` uint8 classes, nearest neighbour; ``nodata`` outside the file.

    Classes are never averaged: centres are projected exactly, point by point.

    Raises:
        GridMismatchError: if the raster has no CRS, lacks the band or holds other numbers.
    """
    from rasterio.windows import Window

    with open_raster(source) as raster:
        data = raster.data
        require_north_up(data)
        require_bands(data, [index], np.dtype(np.uint8))
        row, col = _pixels(data, grid)
        inside = (col >= 0) & (col < data.width) & (row >= 0) & (row < data.height)
        out = np.full(row.shape, nodata, np.uint8)
        if not inside.any():
            return out
        left, top = int(col[inside].min()), int(row[inside].min())
        width = math.floor(col[inside].max()) - left + 1
        height = math.floor(row[inside].max()) - top + 1
        part = Window(left, top, width, height)
        pixels = raster.read([index], part)
        mark_missing(data, [index], part, pixels, nodata)
    out[inside] = pixels[0][row[inside] - top, col[inside] - left]
    return out


def _pixels(data: Any, grid: Grid) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row and column of the raster's pixel at the centre of every grid pixel."""
    from pyproj import Transformer

    a, _, c, _, e, f = grid.transform
    x, y = np.meshgrid(
        c + a * (np.arange(grid.width) + 0.5), f + e * (np.arange(grid.height) + 0.5)
    )
    to = Transformer.from_crs(grid.crs, data.crs.to_wkt(), always_xy=True)
    ta, _, tc, _, te, tf = tuple(data.transform)[:6]
    east, north = to.transform(x, y)
    columns, rows = (np.asarray(east) - tc) / ta, (np.asarray(north) - tf) / te
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        raise GridMismatchError("the region cannot be projected into its CRS")
    return np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
