"""Bringing one's own fine and coarse rasters in: two folders of dated GeoTIFFs become a store.

The folder holds ``fine/`` (or ``landsat/``) and ``coarse/`` (or ``modis/``). Both sensors have one
unit and one list of bands; their grids nest, or the coarse images were brought to the fine grid
before, and then the size of a true coarse pixel is stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.engine.builder import BuildResult
from rsbench.build.engine.staging import place
from rsbench.build.importers.dates import file_dates
from rsbench.build.importers.raster import (
    Raster,
    Stated,
    grid_gsd,
    meta_of,
    open_all,
    read_part,
    require_alike,
    stated_of,
    valid_part,
)
from rsbench.build.importers.triplet_store import (
    COARSE,
    FINE,
    SensorFiles,
    require_common,
    write_pair,
)
from rsbench.core.errors import InputError
from rsbench.core.grid import Window, nesting

KIND = "geotiff-triplets"
FOLDERS = {FINE: ("fine", "landsat"), COARSE: ("coarse", "modis")}
_GSD_TOLERANCE = 0.01


@dataclass(frozen=True)
class CoarseStated:
    """What is stated of the coarse images; ``gsd`` in metres where they lie on the fine grid."""

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    gsd: float | None = None


def import_geotiff_triplets(
    source: Path | str,
    out: Path | str,
    *,
    unit: str | None,
    scale: float | None = None,
    offset: float | None = None,
    nodata: float | None = None,
    bands: Sequence[str] | None = None,
    dates: str | None = None,
    crs: str | None = None,
    region_size: int | None = None,
    coarse: CoarseStated | None = None,
) -> BuildResult:
    """Make a store of a fine and a coarse sensor from two folders of GeoTIFFs of one place.

    Args:
        source: folder that holds ``fine/`` and ``coarse/``.
        out: folder of the store; absent or empty.
        unit: unit of both sensors: ``reflectance``, ``kelvin`` or ``display``.
        scale, offset, nodata: of the fine images, see
            :func:`rsbench.build.importers.geotiff_series.import_geotiff_series`.
        bands: names of the bands of both sensors, in the files' order.
        dates: pattern or CSV file for both folders.
        crs: coordinate system of files that state none.
        region_size: cut the image into blocks of so many fine pixels, split into train, val and
            test; by default the whole image is one region to test on.
        coarse: what is stated of the coarse images.

    Raises:
        InputError: if something is not stated, or the two sensors do not fit together.
        PixelError: if a coarse image has no valid pixel, or a NaN is not declared.
    """
    folder, target = Path(source), Path(out)
    stated = coarse or CoarseStated()
    fine_files = _files(folder, FINE, crs)
    low_files = _files(folder, COARSE, crs)
    _require_one_kind(folder, fine_files[0], low_files[0])
    how = stated_of(folder, target, fine_files[0], unit, scale, offset, kind=KIND)
    low_how = stated_of(
        folder, target, low_files[0], unit, stated.scale, stated.offset,
        kind=KIND, prefix="coarse-",
    )  # fmt: skip
    ratio = nesting(fine_files[0].grid, low_files[0].grid, str(folder))
    gsd = _coarse_gsd(low_files[0], ratio, stated.gsd)
    pair = (
        _sensor(folder, fine_files, how, nodata, bands, dates, FINE, None),
        _sensor(folder, low_files, low_how, stated.nodata, bands, dates, COARSE, gsd),
    )
    if gsd < 1.5 * pair[0].meta.gsd:
        raise InputError(
            f"importing {folder}",
            f"a coarse pixel measures {gsd:g} m, a fine one {pair[0].meta.gsd:g} m",
            "State the true size of a coarse pixel with --coarse-gsd, in metres",
        )
    require_common(folder, pair)
    with place(target) as root:
        digest = write_pair(folder, root, pair, kind=KIND, ratio=ratio, region_size=region_size)
    return BuildResult(target, digest, complete=True)


def _files(folder: Path, sensor: str, crs: str | None) -> list[Raster]:
    """Find one sensor's folder and describe its files."""
    if not folder.is_dir():
        raise InputError(f"importing {folder}", "there is no such folder", "Give a folder")
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
    rasters = open_all(found[0], crs)
    require_alike(rasters)
    return rasters


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
    own = grid_gsd(low.grid)
    if ratio == 1:
        if given is None:
            raise InputError(
                "the size of a coarse pixel",
                f"{low.path.name} lies on the fine grid, which does not tell what it measured",
                "State it in metres, e.g. --coarse-gsd 500",
            )
        return given
    if given is not None and abs(given - own) > _GSD_TOLERANCE * own:
        raise InputError(
            f"--coarse-gsd {given:g}", f"the coarse grid has {own:g} m", "Leave --coarse-gsd out"
        )
    return own


def _sensor(
    folder: Path,
    rasters: Sequence[Raster],
    how: Stated,
    nodata: float | None,
    bands: Sequence[str] | None,
    dates: str | None,
    name: str,
    gsd: float | None,
) -> SensorFiles:
    when = file_dates([r.path for r in rasters], dates)
    ordered = tuple(sorted(rasters, key=lambda r: when[r.path]))
    declared = nodata if nodata is not None else rasters[0].nodata

    def read(raster: Raster, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        pixels = read_part(raster, window)
        return pixels, valid_part(declared, raster, pixels)

    return SensorFiles(
        files=ordered,
        times=tuple(when[r.path] for r in ordered),
        meta=meta_of(folder, rasters[0], how, nodata, bands, name=name, gsd=gsd),
        nodata=declared,
        read=read,
    )
