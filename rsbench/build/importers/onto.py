"""Coarse images of another grid on the fine one: a fine pixel takes the coarse one under it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import unknown
from rsbench.core.grid import Grid, Window

WAYS = ("nearest",)
Cells = npt.NDArray[np.int64]


def require_way(way: str) -> None:
    """Refuse ways of resampling that would make numbers up between measurements."""
    if way not in WAYS:
        raise unknown("resampling of coarse images", way, WAYS)


@lru_cache(maxsize=8)
def cells(fine: Grid, coarse: Grid) -> tuple[Cells, Cells]:
    """Return row and column of the coarse pixel in which each fine pixel's centre lies.

    Both ``(H, W)``, for a grid of any CRS; they may lie outside of the coarse grid.
    """
    a, _, c, _, e, f = fine.transform
    x = np.broadcast_to(c + a * (np.arange(fine.width) + 0.5), (fine.height, fine.width))
    y = np.broadcast_to((f + e * (np.arange(fine.height) + 0.5))[:, None], x.shape)
    if fine.crs != coarse.crs:
        from pyproj import Transformer

        x, y = Transformer.from_crs(fine.crs, coarse.crs, always_xy=True).transform(x, y)
    a, _, c, _, e, f = coarse.transform
    rows, columns = np.floor((np.asarray(y) - f) / e), np.floor((np.asarray(x) - c) / a)
    far = ~(np.isfinite(rows) & np.isfinite(columns))
    return (
        np.where(far, -1, rows).astype(np.int64),
        np.where(far, -1, columns).astype(np.int64),
    )


def part_of(fine: Grid, coarse: Grid) -> tuple[Window | None, Cells, Cells, npt.NDArray[np.bool_]]:
    """Return which window of the coarse grid a fine one needs, and where its pixels go.

    Returns:
        The window, None where both do not meet; row and column in it of each fine pixel; and where
        a fine pixel lies inside the coarse grid.
    """
    rows, columns = cells(fine, coarse)
    inside = (rows >= 0) & (rows < coarse.height) & (columns >= 0) & (columns < coarse.width)
    if not inside.any():
        return None, rows, columns, inside
    top, left = int(rows[inside].min()), int(columns[inside].min())
    size = int(rows[inside].max()) - top + 1, int(columns[inside].max()) - left + 1
    return (
        Window(top, left, *size),
        np.where(inside, rows - top, 0),
        np.where(inside, columns - left, 0),
        inside,
    )
