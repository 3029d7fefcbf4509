"""Images brought to one order of bands and one origin, where names and options tell how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rsbench.build.importers.alike import NEAR, pixels_apart
from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.layout import Images
from rsbench.build.importers.raster import Raster
from rsbench.core.errors import InputError


def brought_together(request: ImportRequest, regions: Mapping[str, Images]) -> dict[str, Images]:
    """Return the images with bands in one order, and on one origin where a tolerance is stated.

    Bands are found by the names that files give them: those of ``bands``, else those of the first
    file. ``bands`` names the bands by position where no file has a band of such a name.

    Raises:
        InputError: if the names stated and those of a file contradict each other.
    """
    first = next(iter(regions.values())).rasters[0]
    found = {}
    for region, images in regions.items():
        rasters = [_ordered(request, raster, first) for raster in images.rasters]
        found[region] = replace(images, rasters=tuple(_on_one_origin(request, rasters)))
    return found


def _ordered(request: ImportRequest, raster: Raster, first: Raster) -> Raster:
    names, stated = raster.names, request.options.bands
    if raster.parts or raster.only or not all(names) or len({*names}) < len(names):
        return replace(raster, names=()) if stated and not raster.parts else raster
    wanted = stated or (first.names if {*first.names} == {*names} else names)
    known = [name for name in wanted if name in names]
    if len(known) == len(wanted):
        only = tuple(names.index(name) + 1 for name in wanted)
        plain = only == tuple(range(1, raster.bands + 1))
        return raster if plain else replace(raster, bands=len(only), names=wanted, only=only)
    moved = [name for name in known if wanted.index(name) != names.index(name)]
    if moved:
        raise InputError(
            f"--bands {','.join(wanted)}",
            f"{raster.path.name} names its bands {', '.join(names)}: {moved[0]} is its band "
            f"{names.index(moved[0]) + 1}, and it has no "
            f"{next(name for name in wanted if name not in names)}",
            "Name bands of the file, in any order, or give all of them other names, in its order",
        )
    return replace(raster, names=())


def _on_one_origin(request: ImportRequest, rasters: Sequence[Raster]) -> list[Raster]:
    """Return the images on the grid of the first, where their origins lie within the tolerance."""
    most = request.options.origin_tolerance
    if most is None:
        return list(rasters)
    if not 0 < most < 1:
        raise InputError(
            f"--origin-tolerance {most:g}", "it is not between 0 and 1 pixel", "Give e.g. 0.25"
        )
    grid, found = rasters[0].grid, []
    for raster in rasters:
        apart = pixels_apart(grid, raster.grid)
        if apart is None or raster.grid == grid or max(map(abs, apart)) > most + NEAR:
            found.append(raster)
        else:
            found.append(replace(raster, grid=grid, moved=apart))
    return found
