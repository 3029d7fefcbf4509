"""Which months enter a composite, and where a region lies on a sensor's own lattice."""

from __future__ import annotations

import calendar
from datetime import date

from rsbench.build.plan.search import outline
from rsbench.catalog import Recipe, Region

TROPIC = 23.4
"""Latitude (degrees) of the tropics."""


def months_of(recipe: Recipe, region: Region) -> tuple[int, ...]:
    """Return the months of a region's composites.

    ``by-latitude`` gives one window of four months for all years, inside the calendar year: beyond
    the tropics the warm season with high sun (June to September, or January to April in the
    south), inside them the drier half of the year (January to April north of the equator, June
    to September south of it).
    """
    if recipe.season is None:
        return recipe.months
    if region.name in recipe.seasons:
        first, last = recipe.seasons[region.name]
        return tuple(range(first, last + 1))
    points = outline(region.grid())
    latitude = sum(point[1] for point in points[:4]) / 4
    warm = latitude >= TROPIC or -TROPIC <= latitude < 0
    return (6, 7, 8, 9) if warm else (1, 2, 3, 4)


def middle_day(months: tuple[int, ...]) -> int:
    """Return the day of the year in the middle of the months (of a year of 365 days)."""
    first = date(2021, min(months), 1)
    last = date(2021, max(months), calendar.monthrange(2021, max(months))[1])
    return (first.timetuple().tm_yday + last.timetuple().tm_yday) // 2


def on_lattice(recipe: Recipe, region: Region) -> Region:
    """Return the square of a region on the recipe's lattice; the region itself without one."""
    lattice = recipe.lattice
    if lattice is None or (region.gsd, region.size) == (lattice.gsd, lattice.size):
        return region
    x, y = region.origin
    epsg, half = region.epsg, region.size * region.gsd / 2
    centre_x, centre_y = x + half, y - half
    if lattice.north and 32700 < epsg <= 32760:
        epsg, centre_y = epsg - 100, centre_y - 10_000_000
    side = lattice.size * lattice.gsd / 2
    return region.model_copy(
        update={
            "epsg": epsg,
            "origin": (
                _snap(centre_x - side, lattice.gsd, lattice.phase),
                _snap(centre_y + side, lattice.gsd, lattice.phase),
            ),
            "size": lattice.size,
            "gsd": lattice.gsd,
            "tile": "",
        }
    )


def _snap(value: float, gsd: float, phase: float) -> int:
    return round(round((value - phase) / gsd) * gsd + phase)
