"""Where a raster's pixels lie on a grid; pixels that do not fit are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.grid import Grid

Pixels = npt.NDArray[Any]

_LATTICE = 1e-3
"""Share of a pixel by which edges may differ."""


class GridMismatchError(Exception):
    """A raster lies on another grid than asked; reading it again would not help."""


def require_bands(
    data: Any, indexes: Sequence[int], dtype: np.dtype[Any], *, quality: bool = False
) -> None:
    """Refuse a raster without these bands, or with numbers of another type.

    Args:
        data: the raster, opened by rasterio.
        indexes: the bands, counted from 1.
        dtype: type of the numbers.
        quality: the bands are quality layers; bytes may then stand for uint16 numbers.

    Raises:
        GridMismatchError: if so.
    """
    for index in indexes:
        if not 1 <= index <= data.count:
            raise GridMismatchError(f"band {index} is asked of a raster with {data.count}")
        held = np.dtype(data.dtypes[index - 1])
        # A band of bytes where 16 bits are asked is a picture for display, not the measurement.
        if held != dtype and not (quality and held == np.uint8 and dtype == np.uint16):
            raise GridMismatchError(f"its numbers are {held}, {dtype} is asked")


def require_pixel(size: float, limit: float) -> None:
    """Refuse a raster whose pixels are larger than those of its band, both in metres.

    Raises:
        GridMismatchError: if so.
    """
    if size > limit * 1.01:
        raise GridMismatchError(f"its pixels are {size:g} m, its band has {limit:g} m")


def place_raster(data: Any, grid: Grid) -> tuple[int, int, int]:
    """Return how many grid pixels one raster pixel spans and the grid's row and column in it.

    Raises:
        GridMismatchError: if its pixels are not those of the grid, or whole blocks of them.
    """
    from rasterio.crs import CRS

    if data.crs is None:
        raise GridMismatchError("the raster has no CRS")
    asked = CRS.from_user_input(grid.crs)
    # Files write one system in several ways (names, datum shifts), so codes are compared.
    if data.crs != asked and (asked.to_epsg() is None or data.crs.to_epsg() != asked.to_epsg()):
        raise GridMismatchError(f"its CRS is {_crs_name(data.crs)}, the region's {grid.crs}")
    a, b, c, d, e, f = tuple(data.transform)[:6]
    ga, _, gc, _, ge, gf = grid.transform
    factor = round(a / ga)
    same = factor >= 1 and math.isclose(a, ga * factor, rel_tol=1e-6)
    if not same or not math.isclose(e, ge * factor, rel_tol=1e-6) or b or d:
        raise GridMismatchError(f"its pixels are {a:g}×{e:g}, the region's {ga:g}×{ge:g}")
    col, row = (gc - c) / ga, (gf - f) / ge
    if abs(col - round(col)) > _LATTICE or abs(row - round(row)) > _LATTICE:
        raise GridMismatchError(
            f"its pixels are shifted by a fraction: ({col % 1:.3f}, {row % 1:.3f})"
        )
    return factor, round(row), round(col)


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_string())[:60]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Where a grid and a raster overlap, in grid pixels counted from the raster's corner.

    ``factor``: grid pixels along a raster pixel. ``row``, ``col``: the grid's corner.
    """

    factor: int
    row: int
    col: int
    rows: tuple[int, int]
    cols: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in grid pixels."""
        return self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]

    def part(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the raster's own rows and columns that hold the overlap."""
        rows, cols = self.rows, self.cols
        return (
            (rows[0] // self.factor, -(-rows[1] // self.factor)),
            (cols[0] // self.factor, -(-cols[1] // self.factor)),
        )

    def slices(self) -> tuple[slice, slice]:
        """Return the grid's own rows and columns that hold the overlap."""
        return (
            slice(self.rows[0] - self.row, self.rows[1] - self.row),
            slice(self.cols[0] - self.col, self.cols[1] - self.col),
        )

    def on_grid(self, pixels: Pixels) -> Pixels:
        """Return the raster's pixels of :meth:`part` repeated and cut to the overlap."""
        if self.factor == 1:
            return pixels
        (top, _), (left, _) = self.part()
        pixels = pixels.repeat(self.factor, axis=2).repeat(self.factor, axis=1)
        y, x = self.rows[0] - top * self.factor, self.cols[0] - left * self.factor
        return pixels[:, y : y + self.size[0], x : x + self.size[1]]


def overlap_with(data: Any, grid: Grid, *, whole: bool) -> Overlap:
    """Return where a raster, opened by rasterio, and a grid overlap.

    Raises:
        GridMismatchError: if their pixels do not fit, they are apart, or ``whole`` is asked and the
            raster covers a part only.
    """
    factor, row, col = place_raster(data, grid)
    rows = max(row, 0), min(row + grid.height, data.height * factor)
    cols = max(col, 0), min(col + grid.width, data.width * factor)
    found = Overlap(factor, row, col, rows, cols)
    inside = min(found.size) > 0
    if not inside or (whole and found.size != (grid.height, grid.width)):
        raise GridMismatchError(
            f"the raster of {data.width}×{data.height} pixels "
            f"{'covers only a part of' if inside else 'lies outside'} the region"
        )
    return found


def window_around(data: Any, box: tuple[float, float, float, float], margin: int) -> Any:
    """Return the window of a raster that covers a box and a margin; None where they are apart.

    Args:
        data: the raster, opened by rasterio.
        box: left, bottom, right and top, in the raster's own system.
        margin: pixels beyond the box on every side.
    """
    from rasterio.windows import Window, from_bounds, intersect, intersection

    inner = from_bounds(*box, transform=data.transform)
    left, top = math.floor(inner.col_off) - margin, math.floor(inner.row_off) - margin
    right = math.ceil(inner.col_off + inner.width) + margin
    bottom = math.ceil(inner.row_off + inner.height) + margin
    around = Window(left, top, right - left, bottom - top)
    whole = Window(0, 0, data.width, data.height)
    return intersection([around, whole]) if intersect([around, whole]) else None


def require_north_up(data: Any) -> None:
    """Refuse a raster without a CRS, or with rotated or flipped rows.

    Raises:
        GridMismatchError: if so.
    """
    if data.crs is None:
        raise GridMismatchError("the raster has no CRS")
    a, b, _, d, e, _ = tuple(data.transform)[:6]
    if b or d or e >= 0 or a <= 0:
        raise GridMismatchError("its pixels are rotated")
