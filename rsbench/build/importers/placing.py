"""Grids of files, from what they and the options state of their place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.lacks import NotStatedError
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

Array = npt.NDArray[Any]
AXES = {
    "X": ("x", "lon", "longitude", "easting", "projection_x_coordinate"),
    "Y": ("y", "lat", "latitude", "northing", "projection_y_coordinate"),
}
"""Names, or standard names, of the coordinates of columns and rows."""
_UNEVEN = 1e-3
"""Coordinates may differ from even steps by this share of a step."""


def placed_grid(
    path: Path,
    shape: tuple[int, int],
    place: Sequence[float] | None,
    crs: Any,
    options: ImportOptions,
) -> Grid:
    """Return the grid of a file with north up; without a place, one at the origin.

    Args:
        path: the file, for errors.
        shape: rows and columns.
        place: the affine transform that it states; None where it states none.
        crs: the coordinate system that it states, of rasterio; None where it states none.
        options: what is stated of it.

    Raises:
        InputError: if it is rotated or mirrored, its place or coordinate system is not stated, or
            it states another one than the options.
    """
    height, width = shape
    if place is None:
        return _at_origin(path, shape, crs, options)
    text = _crs(path, crs, options.crs)
    a, b, c, d, e, f = (float(number) for number in place)
    if b or d or a <= 0:
        raise InputError(
            f"importing {path}",
            "its grid is rotated or mirrored",
            "Warp it to north-up first, e.g. with gdalwarp",
        )
    if e > 0:
        f, e = f + e * height, -e
    return Grid(text, (a, 0.0, c, 0.0, e, f), height, width)


def place_of(path: Path, columns: Array, rows: Array) -> tuple[float, ...] | None:
    """Return the affine transform of pixels whose centres are given; None of less than two each.

    Raises:
        InputError: if they do not go in even steps.
    """
    if min(len(columns), len(rows)) < 2:
        return None
    (x, a), (y, e) = (_steps(path, held) for held in (columns, rows))
    return (a, 0.0, x - a / 2, 0.0, e, y - e / 2)


def _steps(path: Path, held: Array) -> tuple[float, float]:
    """Return the first coordinate and the step."""
    values = np.asarray(held, np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    apart = np.abs(values - values[0] - step * np.arange(len(values))).max()
    if not np.isfinite(values).all() or step == 0 or apart > _UNEVEN * abs(step):
        raise InputError(
            f"importing {path}",
            f"its coordinates {values[0]:.10g}, {values[1]:.10g} … {values[-1]:.10g} do not go in "
            "even steps",
            "Warp it to a grid first",
        )
    return float(values[0]), float(step)


def _at_origin(path: Path, shape: tuple[int, int], crs: Any, options: ImportOptions) -> Grid:
    """Return a grid of the stated pixel size at the origin of the coordinate system."""
    stated = crs or options.crs
    if stated is None or options.gsd is None:
        examples: dict[str, Any] = {"gsd": options.gsd or 10.0}
        if stated is None:
            examples = {"crs": "EPSG:3857", **examples}
        lacks = "the pixel size" if stated else "a CRS and the pixel size"
        raise NotStatedError(
            f"importing {path}",
            "it has a CRS and no place" if crs else "it has no CRS and no place",
            "State a CRS in metres and the pixel size, e.g. --crs EPSG:3857 --gsd 10; the images "
            "then lie at its origin, and no map shows where they are",
            lacks=f"{lacks} of {path.name}, which has no place",
            assumed=examples,
        )
    size = options.gsd
    place = (size, 0.0, 0.0, 0.0, -size, size * shape[0])
    return Grid(_crs(path, crs, options.crs), place, *shape)


def _crs(path: Path, held: Any, given: str | None) -> str:
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    stated = None
    if given is not None:
        try:
            stated = CRS.from_user_input(f"EPSG:{given}" if given.isdigit() else given)
        except CRSError as error:
            raise InputError(
                f"--crs {given}", "it names no coordinate system", "Give EPSG:code"
            ) from error
    if not held and stated is None:
        raise NotStatedError(
            f"importing {path}",
            "it has no CRS",
            "State it with --crs EPSG:code if you know it; without it nothing can be placed",
            lacks=f"the CRS of {path.name}",
            assumed={"crs": "EPSG:32633"},
        )
    if held and stated is not None and held != stated:
        raise InputError(
            f"--crs {given}", f"{path.name} states {held.to_string()[:60]}", "Leave --crs out"
        )
    crs: Any = held or stated
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())
