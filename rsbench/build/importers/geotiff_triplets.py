"""Import two folders of dated GeoTIFFs, fine and coarse, of one place as a store of triplets.

The source holds ``fine/`` (or ``landsat/``) and ``coarse/`` (or ``modis/``). Both sensors have one
unit and one list of bands; their grids nest, or the coarse images were resampled to the fine grid
before, and then the size of a true coarse pixel is stated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rsbench.build.importers.alike import require_alike
from rsbench.build.importers.api import (
    ALIKE_REASONS,
    COARSE_OPTIONS,
    GATE_OPTIONS,
    LAYOUT_OPTIONS,
    SENSOR_OPTIONS,
    STEP_OPTIONS,
    ImportRequest,
    SensorOptions,
)
from rsbench.build.importers.common import brought_together
from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.layout import Images, images_of
from rsbench.build.importers.offsets import one_offset
from rsbench.build.importers.onto import require_way
from rsbench.build.importers.raster import Raster, open_all
from rsbench.build.importers.sensor_files import dated_files
from rsbench.build.importers.stacks import require_bands
from rsbench.build.importers.stated import SensorIdentity, grid_gsd, stated_of
from rsbench.build.importers.triplet_store import COARSE, FINE, PreparedTriplets, prepare_triplets
from rsbench.build.importers.validity import may_differ
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, nesting

FOLDERS = {FINE: ("fine", "landsat"), COARSE: ("coarse", "modis")}
_GSD_TOLERANCE = 0.01


class GeoTiffTriplets:
    """Two folders of GeoTIFFs; one region to test on, or blocks where a size is stated."""

    title = "folders fine/ and coarse/ of GeoTIFFs of one place"
    takes = SENSOR_OPTIONS.union(COARSE_OPTIONS, GATE_OPTIONS, LAYOUT_OPTIONS)
    reasons = MappingProxyType(
        {
            "split": "its split follows from places or dates",
            **dict.fromkeys(STEP_OPTIONS, "triplets are of any dates"),
            **ALIKE_REASONS,
        }
    )

    def prepare(self, request: ImportRequest) -> PreparedTriplets:
        """See :class:`rsbench.build.importers.api.Importer`."""
        folder, options = request.folder(), request.options
        given = (options.sensor(), options.coarse())
        if options.offset_from is not None:
            given = (replace(given[0], offset=None), given[1])
        fine = _images(request, FINE, given[0])
        low = _images(request, COARSE, given[1], fine.rasters[0])
        if options.coarse_resampling is not None:
            require_way(options.coarse_resampling)
            low = _onto(low, fine.rasters[0].grid)
        firsts = fine.rasters[0], low.rasters[0]
        _require_one_kind(folder, *firsts)
        stated = [stated_of(request, f, t) for f, t in zip(firsts, given, strict=True)]
        ratio = _ratio(request, *firsts)
        gsd = _coarse_gsd(firsts[1], ratio, options.coarse_gsd)
        pair = (
            dated_files(request, fine, stated[0], given[0], SensorIdentity(name=FINE)),
            dated_files(request, low, stated[1], given[1], SensorIdentity(name=COARSE, gsd=gsd)),
        )
        if gsd < 1.5 * pair[0].meta.gsd:
            raise InputError(
                f"importing {folder}",
                f"a coarse pixel measures {gsd:g} m, a fine one {pair[0].meta.gsd:g} m",
                "State the true size of a coarse pixel with --coarse-gsd, in metres",
            )
        return prepare_triplets(request, pair)


def _images(
    request: ImportRequest, sensor: str, given: SensorOptions, fine: Raster | None = None
) -> Images:
    """Find one sensor's folder and describe its images, which are of one place."""
    folder = request.folder()
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir()]
    found = [p for p in inside if p.name.lower() in FOLDERS[sensor]]
    if len(found) != 1:
        names = " or ".join(f"{name}/" for name in FOLDERS[sensor])
        raise InputError(
            f"importing {folder}",
            f"it holds {len(found)} folders named {names} for the {sensor} images; there are "
            f"{', '.join(p.name for p in inside) or 'no folders'}",
            "Put the fine images into fine/ and the coarse ones into coarse/",
        )
    rasters = open_all(found[0], request.options)
    if fine is not None:
        rasters = [_own_pixels(request, raster, fine) for raster in rasters]
    places = brought_together(request, images_of(request, found[0], rasters))
    if sensor == FINE:
        places = one_offset(request, places)
    if len(places) > 1:
        raise InputError(
            f"importing {found[0]}",
            f"it holds the regions {', '.join(list(places)[:4])}; triplets are of one place",
            "Import each region by itself",
        )
    images = next(iter(places.values()))
    if request.options.dates_in_file is None:
        require_bands(request, images.rasters)
    require_alike(images.rasters, but=may_differ(given), request=request)
    return images


def _own_pixels(request: ImportRequest, low: Raster, fine: Raster) -> Raster:
    """Return a coarse image without a place on a grid of the pixel size stated for it."""
    height, width = low.grid.height, low.grid.width
    if low.placed or (height, width) == (fine.grid.height, fine.grid.width):
        return low
    size = request.options.coarse_gsd
    if size is None:
        raise NotStatedError(
            f"importing {low.path}",
            f"it has no place, and {width}×{height} px, not those of {fine.path.name}",
            "State what its pixels measure in metres, e.g. --coarse-gsd 500",
            lacks=f"what a pixel of {low.path.name} measures",
            assumed={"coarse_gsd": fine.grid.transform[0] * fine.grid.width / width},
        )
    place = (size, 0.0, 0.0, 0.0, -size, size * height)
    return replace(low, grid=Grid(low.grid.crs, place, height, width))


def _onto(low: Images, fine: Grid) -> Images:
    """Return coarse images on the fine grid."""
    moved = (replace(raster, grid=fine, native=raster.grid) for raster in low.rasters)
    return replace(low, rasters=tuple(moved))


def _ratio(request: ImportRequest, fine: Raster, low: Raster) -> int:
    """Return the fine pixels along a coarse pixel; grids that do not nest need a statement."""
    try:
        return nesting(fine.grid, low.grid, str(request.source))
    except InputError as error:
        raise InputError(
            error.asked,
            error.found,
            "To give each fine pixel the coarse one in which it lies, type: "
            f"{request.command(coarse_resampling='nearest')}",
        ) from error


def _require_one_kind(folder: Path, fine: Raster, low: Raster) -> None:
    """Refuse two sensors whose files say that they hold different things."""
    if fine.unit and low.unit and fine.unit != low.unit:
        raise InputError(
            f"importing {folder}",
            f"the fine files say {fine.unit}, the coarse ones {low.unit}",
            "Bring both to one unit first",
        )
    if fine.bands != low.bands:
        raise InputError(
            f"importing {folder}",
            f"the fine images have {fine.bands} bands, the coarse ones {low.bands}",
            "Bring both to the same bands in one order first",
        )
    if all(fine.names) and all(low.names) and fine.names != low.names:
        raise InputError(
            f"importing {folder}",
            f"the files name their bands {', '.join(fine.names)} and {', '.join(low.names)}",
            "Bring both to the same bands in one order first",
        )


def _coarse_gsd(low: Raster, ratio: int, given: float | None) -> float:
    """Return the metres that a coarse pixel measures."""
    own = grid_gsd(low.native or low.grid)
    if ratio == 1 and low.native is None:
        if given is None:
            raise NotStatedError(
                "the size of a coarse pixel",
                f"{low.path.name} lies on the fine grid, which does not tell what it measured",
                "State it in metres, e.g. --coarse-gsd 500",
                lacks=f"what a coarse pixel of {low.path.name} measured",
                assumed={"coarse_gsd": 500.0},
            )
        return given
    if given is not None and abs(given - own) > _GSD_TOLERANCE * own:
        raise InputError(
            f"--coarse-gsd {given:g}", f"the coarse grid has {own:g} m", "Leave --coarse-gsd out"
        )
    return own


IMPORTER = GeoTiffTriplets()
