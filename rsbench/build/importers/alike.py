"""Whether files fit together: one grid, one set of bands, one type and one unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rsbench.build.importers.raster import Raster
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

_SAME = 1e-3
"""Grids whose corners lie within this share of a pixel are one grid."""


def require_alike(rasters: Sequence[Raster], *, but: Sequence[str] = ()) -> None:
    """Refuse files that differ, naming the first two that do.

    Args:
        rasters: what the files say of themselves.
        but: fields of :class:`Raster` that may differ.

    Raises:
        InputError: if two files differ in grid, bands, type, nodata, names, scale or unit.
    """
    first = rasters[0]
    fields = ("grid", "bands", "dtype", "nodata", "names", "scale", "offset", "unit")
    for other in rasters[1:]:
        for what in fields:
            mine, theirs = getattr(first, what), getattr(other, what)
            if what not in but and not _same(mine, theirs):
                raise InputError(
                    f"importing {_common(first.path, other.path)}",
                    f"{first.path.name} and {other.path.name} differ in {what}: "
                    f"{shown(mine)} and {shown(theirs)}",
                    "Bring all files to one grid, one set of bands and one unit first",
                )


def require_regions_alike(regions: Iterable[Sequence[Raster]], *, but: Sequence[str] = ()) -> None:
    """Refuse files that differ as :func:`require_alike` does; each region may have its own grid."""
    every: list[Raster] = []
    for rasters in regions:
        require_alike(rasters, but=but)
        every += rasters
    require_alike(every, but=(*but, "grid"))


def _common(one: Path, other: Path) -> Path:
    return next(p for p in one.parents if other.is_relative_to(p))


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, Grid) and isinstance(theirs, Grid):
        return same_grid(mine, theirs)
    if isinstance(mine, float) and isinstance(theirs, float):
        return mine == theirs or (math.isnan(mine) and math.isnan(theirs))
    return bool(mine == theirs)


def same_grid(mine: Grid, theirs: Grid) -> bool:
    """Return whether all corners agree to a thousandth of a pixel."""
    a, _, _, _, e, _ = mine.transform
    return (mine.crs, mine.height, mine.width) == (theirs.crs, theirs.height, theirs.width) and all(
        abs(one - other) <= _SAME * abs(size)
        for mine_at, their_at in zip(_corners(mine), _corners(theirs), strict=True)
        for one, other, size in zip(mine_at, their_at, (a, e), strict=True)
    )


def _corners(grid: Grid) -> tuple[tuple[float, float], tuple[float, float]]:
    a, _, c, _, e, f = grid.transform
    return (c, f), (c + a * grid.width, f + e * grid.height)


def shown(value: Any) -> str:
    """Return a field of a file in words."""
    if isinstance(value, Grid):
        a, _, c, _, e, f = value.transform
        name = value.crs if len(value.crs) < 20 else f"{value.crs[:20]}…"
        return (
            f"{value.width}×{value.height} px of {a:.9g}×{e:.9g} at ({c:.12g}, {f:.12g}) in {name}"
        )
    return str(value)
