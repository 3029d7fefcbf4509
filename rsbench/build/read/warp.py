"""Photographs brought to a grid of another system or pixel size, with their own mask.

A photograph lies in NAD 83 and the satellite's grid in WGS 84, a metre or two apart, so that it
is reprojected, never relabelled. Pixels without data (all bands 0, or outside the file) are told
apart before anything is resampled; a pixel that any of them enters is not valid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rsbench.build.read.raster import DRIVER, GDAL_ENV, GridMismatchError, Pixels, require_bands
from rsbench.core.grid import Grid

AVERAGE_FROM = 1.5
"""From this ratio of pixel sizes on, target pixels are area means; below, bilinear."""
_MARGIN = 4


def warp(path: str, indexes: Sequence[int], grid: Grid) -> tuple[Pixels, Pixels, str]:
    """Return ``(n, H, W)`` uint8 pixels on a grid, ``(H, W)`` bool where valid, and the kernel.

    Raises:
        GridMismatchError: if the raster has no CRS, lacks a band or holds other numbers.
    """
    import rasterio
    from affine import Affine
    from rasterio.enums import Resampling
    from rasterio.warp import reproject, transform_bounds
    from rasterio.windows import Window, from_bounds, intersect, intersection

    a, _, c, _, e, f = grid.transform
    size = (grid.height, grid.width)
    out = np.zeros((len(indexes), *size), np.uint8)
    whole = np.zeros(size, np.uint8)
    with rasterio.Env(**GDAL_ENV), rasterio.open(path, driver=DRIVER, sharing=False) as data:
        if data.crs is None:
            raise GridMismatchError("the raster has no CRS")
        require_bands(data, indexes, np.dtype(np.uint8))
        edges = (c, f + e * grid.height, c + a * grid.width, f)
        box = transform_bounds(grid.crs, data.crs, *edges, densify_pts=21)
        ta, tb, tc, td, te, tf = tuple(data.transform)[:6]
        if tb or td or te >= 0 or ta <= 0:
            raise GridMismatchError("its pixels are rotated")
        asked = from_bounds(*box, transform=data.transform)
        left, top = math.floor(asked.col_off) - _MARGIN, math.floor(asked.row_off) - _MARGIN
        right = math.ceil(asked.col_off + asked.width) + _MARGIN
        bottom = math.ceil(asked.row_off + asked.height) + _MARGIN
        around = Window(left, top, right - left, bottom - top)
        file = Window(0, 0, data.width, data.height)
        kernel = "average" if a >= AVERAGE_FROM * ta else "bilinear"
        if not intersect([around, file]):
            return out, whole.astype(np.bool_), kernel
        part = intersection([around, file])
        pixels = data.read(list(indexes), window=part)
        crs = data.crs
    # A rim of missing pixels, so that the mask ends where the file does.
    pixels = np.pad(pixels, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)))
    x, y = tc + ta * (part.col_off - _MARGIN), tf + te * (part.row_off - _MARGIN)
    place = {
        "src_transform": Affine(ta, 0.0, x, 0.0, te, y),
        "src_crs": crs,
        "dst_transform": Affine(*grid.transform),
        "dst_crs": grid.crs,
        "resampling": Resampling[kernel],
        "init_dest_nodata": False,
    }
    present = np.where((pixels != 0).any(axis=0), 255, 0).astype(np.uint8)
    reproject(pixels, out, **place)
    reproject(present, whole, **place)
    return out, whole == 255, kernel
