"""Bringing one's own rasters in: a folder of dated GeoTIFFs becomes a store.

Units are stated or refused, never guessed. All files share grid, bands and type; a NaN that no
nodata value declares, a raster without CRS, and two units in one folder are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from rsbench.build.engine.builder import BuildResult
from rsbench.build.engine.staging import place
from rsbench.build.importers.blocks import Block, cut
from rsbench.build.importers.dates import file_dates, step_between
from rsbench.build.importers.raster import (
    SENSOR,
    Raster,
    meta_of,
    open_all,
    read_part,
    require_alike,
    require_plausible,
    stated_of,
    valid_part,
)
from rsbench.core.digest import sha256_file
from rsbench.core.grid import Grid
from rsbench.store.export.card import write_card
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.write import finalise, write_region

COMPOSITOR = "import@1"


@dataclass(frozen=True)
class _Series:
    """A checked folder: files in order of time and how their numbers are to be read."""

    files: tuple[Raster, ...]
    times: tuple[date, ...]
    grid: Grid
    meta: SensorMeta
    nodata: float | None


def import_geotiff_series(
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
) -> BuildResult:
    """Make a store from a folder of GeoTIFFs of one place, one file per date.

    Args:
        source: folder of ``.tif`` files.
        out: folder of the store; absent or empty.
        unit: ``reflectance``, ``kelvin`` or ``display``: ``value = stored · scale + offset``.
        scale: needed for integer reflectance and kelvin unless the files state it.
        offset: likewise; 0 where nothing is stated.
        nodata: stored number of missing pixels, instead of what the files state.
        bands: names of the bands, in the files' order.
        dates: pattern or CSV file, see :func:`rsbench.build.importers.dates.file_dates`.
        crs: coordinate system of files that state none.
        region_size: pixels of a block; by default as large as leaves 8 test blocks.

    Raises:
        InputError: if something is not stated, or two files do not fit together.
    """
    folder, target = Path(source), Path(out)
    rasters = open_all(folder, crs)
    require_alike(rasters)
    first = rasters[0]
    stated = stated_of(folder, target, first, unit, scale, offset)
    when = file_dates([r.path for r in rasters], dates)
    ordered = tuple(sorted(rasters, key=lambda r: when[r.path]))
    meta = meta_of(folder, first, stated, nodata, bands)
    series = _Series(
        files=ordered,
        times=tuple(when[r.path] for r in ordered),
        grid=first.grid,
        meta=meta,
        nodata=nodata if nodata is not None else first.nodata,
    )
    blocks = cut(first.grid.height, first.grid.width, region_size)
    with place(target) as root:
        digest = _write(series, folder, root, blocks)
    return BuildResult(target, digest, complete=True)


# Writing --------------------------------------------------------------------------------


def _write(series: _Series, folder: Path, root: Path, blocks: Sequence[Block]) -> str:
    prefix = "".join(c if c.isalnum() or c in "_.-" else "-" for c in folder.resolve().name)
    written = []
    middle: list[list[float]] = [[] for _ in series.files]
    for block in blocks:
        arrays = _read(series, block, middle)
        if not arrays.valid.any():
            continue
        name = f"{prefix}-r{block.row:02d}c{block.column:02d}"
        record = RegionRecord(name, block.split, {}, series.times)
        write_region(root, record, {SENSOR: arrays}, {SENSOR: series.meta})
        written.append(name)
    require_plausible(series.files, series.meta, middle)
    meta = StoreMeta(
        kind="series",
        recipe={
            "name": prefix,
            "importer": "geotiff-series",
            "unit": series.meta.unit,
            "scale": series.meta.scale,
            "offset": series.meta.offset,
            "nodata": None if series.nodata is None else str(series.nodata),
            "bands": list(series.meta.bands),
            "region_size": blocks[0].window.height,
            "files": {r.path.name: sha256_file(r.path) for r in series.files},
        },
        lock_digest=None,
        compositor=COMPOSITOR,
        simulated=False,
        complete=True,
        missing=(),
        step=step_between(series.times),
        default_preset="fixed",
        default_protocol="year7",
        sensors={SENSOR: series.meta},
    )
    digest = finalise(root, meta, regions=written)
    write_card(root)
    return digest


def _read(series: _Series, block: Block, middle: list[list[float]]) -> SensorArrays:
    """Read one block of every file; note the median of its valid numbers per file."""
    w = block.window
    shape = (len(series.files), len(series.meta.bands), w.height, w.width)
    values = np.empty(shape, series.meta.dtype)
    valid = np.empty((shape[0], *shape[2:]), np.bool_)
    for t, raster in enumerate(series.files):
        pixels = read_part(raster, w)
        valid[t] = valid_part(series.nodata, raster, pixels)
        values[t] = np.where(valid[t], pixels, series.meta.nodata)
        if valid[t].any():
            middle[t].append(float(np.median(pixels[:, valid[t]])))
    count = valid.astype(np.uint16)
    return SensorArrays(values, valid, count, series.times, series.grid.window(w))
