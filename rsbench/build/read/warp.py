"""Resample photographs to a grid of another system or pixel size, with their own mask.

Photographs are in NAD 83 and the satellite's grid is in WGS 84, a metre or two apart, so they are
reprojected. Pixels without data (all bands 0, or outside the file) are found before resampling; a
target pixel with any contribution from them is not valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsbench.build.read.grids import require_bands, require_north_up, require_pixel, window_around
from rsbench.build.read.opened import Pixels, Source, open_raster
from rsbench.build.read.stated import mark_missing
from rsbench.core.grid import Grid

AVERAGE_FROM = 1.5
"""From this ratio of pixel sizes on, target pixels are area means; below, bilinear."""
_MARGIN = 4


def warp(source: Source, indexes: Sequence[int], grid: Grid) -> tuple[Pixels, Pixels, str]:
    """Return ``(n, H, W)`` uint8 pixels on a grid, ``(H, W)`` bool where valid, and the kernel.

    Raises:
        GridMismatchError: if the raster has no CRS, lacks a band or holds other numbers.
    """
    from rasterio.warp import transform_bounds

    a, _, c, _, e, f = grid.transform
    edges = (c, f + e * grid.height, c + a * grid.width, f)
    with open_raster(source) as raster:
        data = raster.data
        require_north_up(data)
        require_bands(data, indexes, np.dtype(np.uint8))
        if data.crs.is_projected:
            require_pixel(data.transform.a, a)
        box = transform_bounds(grid.crs, data.crs, *edges, densify_pts=21)
        part = window_around(data, box, _MARGIN)
        kernel = "average" if a >= AVERAGE_FROM * data.transform.a else "bilinear"
        if part is None:
            size = (grid.height, grid.width)
            return np.zeros((len(indexes), *size), np.uint8), np.zeros(size, np.bool_), kernel
        pixels = raster.read(indexes, part)
        mark_missing(data, indexes, part, pixels, 0)
        crs, transform = data.crs, data.transform
    ta, _, tc, _, te, tf = tuple(transform)[:6]
    x, y = tc + ta * (part.col_off - _MARGIN), tf + te * (part.row_off - _MARGIN)
    out, whole = _reproject(pixels, (crs, (ta, 0.0, x, 0.0, te, y)), grid, kernel)
    return out, whole, kernel


def _reproject(
    pixels: Pixels, place: tuple[Any, tuple[float, ...]], grid: Grid, kernel: str
) -> tuple[Pixels, Pixels]:
    """Return pixels on a grid and where they are valid.

    Args:
        pixels: ``(n, h, w)`` of the file.
        place: system and transform of the pixels with a rim of ``_MARGIN`` pixels around them.
        grid: the grid.
        kernel: ``average`` or ``bilinear``.
    """
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    # A rim of missing pixels, so that the mask ends where the file does.
    pixels = np.pad(pixels, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    options = {
        "src_transform": Affine(*place[1]),
        "src_crs": place[0],
        "dst_transform": Affine(*grid.transform),
        "dst_crs": grid.crs,
        "resampling": Resampling[kernel],
        "init_dest_nodata": False,
    }
    out = np.zeros((len(pixels), grid.height, grid.width), np.uint8)
    whole = np.zeros((grid.height, grid.width), np.uint8)
    present = np.where((pixels != 0).any(axis=0), 255, 0).astype(np.uint8)
    reproject(pixels, out, **options)
    reproject(present, whole, **options)
    return out, whole == 255
