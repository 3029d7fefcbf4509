"""The published layout of Sat-JEPA-Diff's data: a folder per region, a file per year.

``<Region>/s2_rgb_<Region>_<YYYY>_10km.tif`` and an embedding raster of the same grid, which its
documentation calls ``gee_embeddings_…`` and its loader ``embedding_…``; both are read. The year is
the first number of four digits between underscores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rsbench.build.importers.alike import require_alike
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.raster import Raster, open_all
from rsbench.build.importers.validity import may_differ
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError

RGB = "s2_rgb_"
EMBEDDINGS = ("embedding_", "gee_embeddings_")
COLOURS = 3
_YEAR = re.compile(r"_(\d{4})_")


@dataclass(frozen=True)
class Place:
    """One region's files by year, on one grid; embeddings may be absent."""

    name: str
    images: Mapping[int, Raster]
    embeddings: Mapping[int, Raster]

    @property
    def years(self) -> tuple[int, ...]:
        """The years, ascending and without a gap."""
        return tuple(sorted(self.images))


def find_places(folder: Path, options: ImportOptions) -> tuple[Place, ...]:
    """Return all regions of a folder in the layout, sorted by name.

    Raises:
        InputError: if there is none, or its files have no year, miss a year or do not fit.
    """
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and any(p.glob(f"{RGB}*.tif"))]
    if not inside:
        raise InputError(
            f"importing {folder}",
            f"none of its folders holds a {RGB}<Region>_<YYYY>_10km.tif",
            "Give the folder that holds a folder per region",
        )
    places = tuple(_place(path, options) for path in inside)
    require_alike(
        [p.images[p.years[0]] for p in places],
        but=("grid", "bands", "names", *may_differ(options.sensor())),
    )
    return places


def _place(folder: Path, options: ImportOptions) -> Place:
    rasters = open_all(folder, options)
    images = _by_year([r for r in rasters if r.path.name.startswith(RGB)])
    place = Place(
        folder.name, images, _by_year([r for r in rasters if r.path.name.startswith(EMBEDDINGS)])
    )
    _require_sizes(place)
    require_alike([images[year] for year in place.years], but=may_differ(options.sensor()))
    first = images[place.years[0]]
    if first.bands != COLOURS:
        raise InputError(
            f"importing {first.path}",
            f"it has {first.bands} bands; the layout has {COLOURS}, red, green and blue",
            "Import other rasters as geotiff-series",
        )
    _require_years(place)
    return place


def _by_year(rasters: Sequence[Raster]) -> dict[int, Raster]:
    found: dict[int, Raster] = {}
    for raster in rasters:
        match = _YEAR.search(raster.path.name)
        if match is None:
            raise InputError(
                f"the year of {raster.path}",
                "its name holds no _YYYY_",
                f"Name it {RGB}<Region>_<YYYY>_10km.tif",
            )
        year = int(match[1])
        other = found.setdefault(year, raster)
        if other is not raster and sha256_file(other.path) != sha256_file(raster.path):
            raise InputError(
                f"importing {raster.path.parent}",
                f"{other.path.name} and {raster.path.name} are both of {year} and differ",
                "Keep one of them",
            )
    return found


def _require_sizes(place: Place) -> None:
    first = place.images[place.years[0]]
    for other in (*place.images.values(), *place.embeddings.values()):
        mine, theirs = first.grid, other.grid
        if (mine.height, mine.width) != (theirs.height, theirs.width):
            raise InputError(
                f"importing {place.name}",
                f"{first.path.name} has {mine.width}×{mine.height} px and {other.path.name} has "
                f"{theirs.width}×{theirs.height}",
                "Bring all rasters of a region to one grid first",
            )


def _require_years(place: Place) -> None:
    years = place.years
    if len(years) < 2:
        raise InputError(
            f"importing {place.name}",
            f"it has the year {years[0]} alone",
            "A forecast needs two years at least: add a year, or take the region out",
        )
    gaps = [a + 1 for a, b in pairwise(years) if b != a + 1]
    if gaps:
        raise InputError(
            f"importing {place.name}",
            f"it has {', '.join(map(str, years))}, but not {gaps[0]}",
            "Add that year, or take the region out",
        )
