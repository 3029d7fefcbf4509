"""Whether files fit together: one grid, one set of bands, one type and one unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.raster import Raster
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

NEAR = 1e-6
"""Distances in pixels that differ by less are equal."""
_SAME_SIZE = 1e-6
"""Pixel sizes that differ by less than this share are equal."""
_SAME = 1e-3
"""Grids whose corners lie within this share of a pixel are one grid."""


def require_alike(
    rasters: Sequence[Raster], *, but: Sequence[str] = (), request: ImportRequest | None = None
) -> None:
    """Refuse files that differ, naming the first two that do.

    Args:
        rasters: what the files say of themselves.
        but: fields of :class:`Raster` that may differ.
        request: the import, where an option of it can make them alike.

    Raises:
        InputError: if two files differ in grid, bands, type, nodata, names, scale or unit.
    """
    first = rasters[0]
    fields = ("grid", "bands", "dtype", "nodata", "names", "scale", "offset", "unit")
    for other in rasters[1:]:
        for what in fields:
            mine, theirs = getattr(first, what), getattr(other, what)
            if what not in but and not _same(mine, theirs):
                asked = f"importing {_common(first.path, other.path)}"
                found = (
                    f"{first.path.name} and {other.path.name} differ in {what}: "
                    f"{shown(mine)} and {shown(theirs)}"
                )
                if what == "names" and request is not None and request.options.bands is None:
                    raise _not_named(request, asked, found, first)
                raise InputError(asked, found, _remedy(what, first, other, request))


def _not_named(request: ImportRequest, asked: str, found: str, first: Raster) -> NotStatedError:
    names = {"bands": tuple(f"b{number + 1}" for number in range(first.bands))}
    return NotStatedError(
        asked,
        found,
        f"If these are the same bands, type, with the true names: {request.command(**names)}",
        lacks=f"one name for each band, as {found}",
        assumed=request.named(names),
    )


def _remedy(what: str, first: Raster, other: Raster, request: ImportRequest | None) -> str:
    """Return what to type, where an option makes two files alike."""
    apart = pixels_apart(first.grid, other.grid) if what == "grid" else None
    if request is not None and apart is not None and max(map(abs, apart)) < 1:
        most = math.ceil(100 * max(map(abs, apart)) - NEAR) / 100
        if most < 1:
            return (
                f"Their origins lie {most:g} px apart at most. To take them as one grid, type: "
                f"{request.command(origin_tolerance=most)}"
            )
    return "Bring all files to one grid, one set of bands and one unit first"


def require_regions_alike(
    request: ImportRequest, regions: Iterable[Sequence[Raster]], *, but: Sequence[str] = ()
) -> None:
    """Refuse files that differ as :func:`require_alike` does; each region may have its own grid."""
    every: list[Raster] = []
    for rasters in regions:
        require_alike(rasters, but=but, request=request)
        every += rasters
    require_alike(every, but=(*but, "grid"), request=request)


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


def pixels_apart(one: Grid, other: Grid) -> tuple[float, float] | None:
    """Return how many pixels right and down a grid lies of another; None if it is no copy of it."""
    if (one.crs, one.height, one.width) != (other.crs, other.height, other.width):
        return None
    (a, _, c, _, e, f), (a1, _, c1, _, e1, f1) = one.transform, other.transform
    if abs(a1 - a) > _SAME_SIZE * abs(a) or abs(e1 - e) > _SAME_SIZE * abs(e):
        return None
    return (c1 - c) / a, (f1 - f) / e


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
