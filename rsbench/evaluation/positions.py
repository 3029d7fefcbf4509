"""Where the regions of a store lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsbench.core.grid import Grid
    from rsbench.store.read import Store

PLACES = "places"
"""Entry of run.json: region → longitude and latitude of its centre in degrees."""
# WGS 84 and UTM.
AXIS, FLATTENING, SCALE, FALSE_EAST, FALSE_NORTH = 6_378_137.0, 1 / 298.257223563, 0.9996, 5e5, 1e7


def positions(store: Store, sensor: str, regions: Sequence[str]) -> dict[str, list[float]]:
    """Return longitude and latitude of the centres of regions, in degrees.

    Empty for simulated data and for files that state no place. A region whose CRS is neither
    geographic nor of WGS 84 / UTM has a position only where pyproj is installed.
    """
    if store.simulated or unplaced(store.meta.recipe):
        return {}
    found: dict[str, list[float]] = {}
    for name in regions:
        grid = store.region(name).grids.get(sensor)
        at = _centre(grid) if grid is not None else None
        if at is not None:
            found[name] = [round(number, 5) for number in at]
    return found


def unplaced(recipe: Any) -> bool:
    """Return whether an import states that its files have no place."""
    if not isinstance(recipe, dict):
        return False
    return bool(recipe.get("unplaced")) or any(unplaced(part) for part in recipe.values())


def _centre(grid: Grid) -> tuple[float, float] | None:
    a, b, c, d, e, f = grid.transform
    column, row = grid.width / 2, grid.height / 2
    x, y = a * column + b * row + c, d * column + e * row + f
    code = grid.crs.upper().removeprefix("EPSG:")
    if code == "4326":
        return x, y
    at = utm_to_degrees(int(code), x, y) if code.isdigit() else None
    return (at[1], at[0]) if at is not None else _transformed(grid.crs, x, y)


def _transformed(crs: str, x: float, y: float) -> tuple[float, float] | None:
    """Return longitude and latitude by pyproj; None where it is absent or knows no place."""
    try:
        from pyproj import Transformer
        from pyproj.exceptions import ProjError
    except ImportError:
        return None
    try:
        found = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    except ProjError:
        return None
    return (float(found[0]), float(found[1])) if all(map(math.isfinite, found)) else None


def utm_to_degrees(epsg: int, x: float, y: float) -> tuple[float, float] | None:
    """Return latitude and longitude of a UTM position, to a millimetre inside its zone.

    None for an EPSG code that is not of WGS 84 / UTM. Snyder 1987, USGS professional paper 1395,
    equations 8-17 to 8-25.
    """
    south, zone = epsg // 100 == 327, epsg % 100
    if epsg // 100 not in (326, 327) or not 1 <= zone <= 60:
        return None
    e2 = FLATTENING * (2 - FLATTENING)
    arc = (y - (FALSE_NORTH if south else 0.0)) / SCALE
    mu = arc / (AXIS * (1 - e2 / 4 - 3 * e2**2 / 64 - 5 * e2**3 / 256))
    root = math.sqrt(1 - e2)
    e1 = (1 - root) / (1 + root)
    foot = (
        mu
        + (3 * e1 / 2 - 27 * e1**3 / 32) * math.sin(2 * mu)
        + (21 * e1**2 / 16 - 55 * e1**4 / 32) * math.sin(4 * mu)
        + 151 * e1**3 / 96 * math.sin(6 * mu)
        + 1097 * e1**4 / 512 * math.sin(8 * mu)
    )
    second = e2 / (1 - e2)
    c, t = second * math.cos(foot) ** 2, math.tan(foot) ** 2
    below = 1 - e2 * math.sin(foot) ** 2
    n, r = AXIS / math.sqrt(below), AXIS * (1 - e2) / below**1.5
    d = (x - FALSE_EAST) / (n * SCALE)
    latitude = foot - n * math.tan(foot) / r * (
        d**2 / 2
        - (5 + 3 * t + 10 * c - 4 * c**2 - 9 * second) * d**4 / 24
        + (61 + 90 * t + 298 * c + 45 * t**2 - 252 * second - 3 * c**2) * d**6 / 720
    )
    longitude = (
        d
        - (1 + 2 * t + c) * d**3 / 6
        + (5 - 2 * c + 28 * t - 3 * c**2 + 8 * second + 24 * t**2) * d**5 / 120
    ) / math.cos(foot)
    return math.degrees(latitude), math.degrees(longitude) + zone * 6 - 183
