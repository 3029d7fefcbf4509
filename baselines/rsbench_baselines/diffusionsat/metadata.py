"""The seven numbers that DiffusionSat is told of an image, from its grid, date and mask.

S. Khanna and others, "DiffusionSat: a generative foundation model for satellite imagery", ICLR
2024, section 3.1; ranges as in the released program.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

FIELDS = ("longitude", "latitude", "gsd", "cloud", "year", "month", "day")
SCALE = 1000.0
FIRST_YEAR, YEARS = 1980, 120
EPOCH = date(1970, 1, 1)
DEGREE = 111_319.49079327358
"""Metres of a degree of latitude on a sphere of the Earth's equatorial radius."""


class PixelGrid(Protocol):
    """The grid of an image, as in ``want.grids``."""

    @property
    def crs(self) -> str:
        """Name of the CRS."""

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients at pixel corners, as in GDAL and rasterio."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""


def numbers(
    longitude: float, latitude: float, gsd: float, cloud: float, day: date
) -> tuple[float, ...]:
    """Return the seven numbers, times 1000.

    Args:
        longitude, latitude: in degrees, east and north positive.
        gsd: metres that a pixel measures.
        cloud: share of the image, 0 … 1.
        day: of the image.
    """
    shares = (
        (longitude + 180) / 360,
        (latitude + 90) / 180,
        gsd / 1.0,
        cloud,
        (day.year - FIRST_YEAR) / YEARS,
        day.month / 12,
        day.day / 31,
    )
    return tuple(SCALE * share for share in shares)


def metadata(grids: Sequence[PixelGrid], times: Tensor, cloud: Tensor) -> Tensor:
    """Return ``(B, T, 7)`` float32.

    Args:
        grids: one per row B; the place is the centre of the grid.
        times: ``(B, T)`` days since 1970-01-01.
        cloud: ``(B, T)`` share of an image that is cloud.
    """
    rows = []
    for grid, days, shares in zip(grids, times.tolist(), cloud.tolist(), strict=True):
        place = place_of(grid)
        rows.append([
            numbers(*place, share, EPOCH + timedelta(days=day))
            for day, share in zip(days, shares, strict=True)
        ])  # fmt: skip
    return torch.tensor(rows, dtype=torch.float32, device=times.device)


def place_of(grid: PixelGrid) -> tuple[float, float, float]:
    """Return longitude and latitude of the centre in degrees, and metres per pixel.

    Raises:
        ValueError: if the CRS of the grid is not known.
    """
    a, b, c, d, e, f = grid.transform
    column, row = grid.width / 2, grid.height / 2
    to_degrees, metres = _crs(grid.crs)
    longitude, latitude = to_degrees.transform(a * column + b * row + c, d * column + e * row + f)
    return longitude, latitude, abs(e) * metres


@lru_cache(maxsize=64)
def _crs(text: str) -> tuple[Any, float]:
    """Return the transformation to degrees, and metres of a unit of the CRS."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise ValueError(f"the CRS {text[:60]!r} of a grid is not known") from error
    metres = DEGREE if crs.is_geographic else float(crs.axis_info[0].unit_conversion_factor)
    return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True), metres
