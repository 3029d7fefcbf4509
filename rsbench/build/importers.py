"""Bringing one's own rasters in: a folder of dated GeoTIFFs becomes a store.

Units are stated or refused, never guessed. All files share grid, bands and type; a NaN that no
nodata value declares, a raster without CRS, and two units in one folder are refused by name.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.builder import BuildResult
from rsbench.build.importers_blocks import Block, cut
from rsbench.build.importers_dates import file_dates, step_between
from rsbench.build.journal import full_disk_is_named
from rsbench.build.source import DRIVER, GDAL_ENV
from rsbench.digest import sha256_file
from rsbench.errors import InputError, PixelError, unknown
from rsbench.spec import Grid
from rsbench.store.export_card import write_card
from rsbench.store.layout import UNITS, RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.write import finalise, write_region

Pixels = npt.NDArray[Any]

SENSOR = "image"
COMPOSITOR = "import@1"
_TYPES = {"uint8": "uint8", "uint16": "uint16", "int16": "int16", "float32": "float32",
          "float64": "float32"}  # fmt: skip
_METRES_PER_DEGREE = 111_320.0
_PLAUSIBLE = {"reflectance": (-0.2, 2.0), "kelvin": (150.0, 400.0)}
_RANGES = {"reflectance": (0.0, 1.0), "kelvin": (200.0, 350.0)}


@dataclass(frozen=True)
class _Raster:
    """What a file says of itself."""

    path: Path
    grid: Grid
    bands: int
    dtype: str
    nodata: float | None
    names: tuple[str, ...]
    scale: float
    offset: float
    unit: str


@dataclass(frozen=True)
class _Series:
    """A checked folder: files in order of time and how their numbers are to be read."""

    files: tuple[_Raster, ...]
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
        dates: pattern or CSV file, see :func:`rsbench.build.importers_dates.file_dates`.
        crs: coordinate system of files that state none.
        region_size: pixels of a block; by default as large as leaves 8 test blocks.

    Raises:
        InputError: if something is not stated, or two files do not fit together.
    """
    folder, target = Path(source), Path(out)
    rasters = _open_all(folder, crs)
    _require_alike(rasters)
    first = rasters[0]
    stated = _stated(folder, target, first, unit, scale, offset)
    when = file_dates([r.path for r in rasters], dates)
    ordered = tuple(sorted(rasters, key=lambda r: when[r.path]))
    meta = _meta(folder, first, stated, nodata, bands)
    series = _Series(
        files=ordered,
        times=tuple(when[r.path] for r in ordered),
        grid=first.grid,
        meta=meta,
        nodata=nodata if nodata is not None else first.nodata,
    )
    blocks = cut(first.grid.height, first.grid.width, region_size)
    with _place(target) as root:
        digest = _write(series, folder, root, blocks)
    return BuildResult(target, digest, complete=True)


# Files ----------------------------------------------------------------------------------


def _open_all(folder: Path, crs: str | None) -> list[_Raster]:
    if not folder.is_dir():
        raise InputError(f"importing {folder}", "there is no such folder", "Give a folder")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".tif", ".tiff"))
    if not files:
        raise InputError(
            f"importing {folder}", "it holds no GeoTIFF", "Give a folder of .tif files"
        )
    return [_describe(path, crs) for path in files]


def _describe(path: Path, crs: str | None) -> _Raster:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with (
            # Told below, as an error.
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            rasterio.Env(**GDAL_ENV),
            rasterio.open(path, driver=DRIVER) as data,
        ):
            crs_text = _crs(path, data.crs, crs)
            a, b, c, d, e, f = (float(v) for v in tuple(data.transform)[:6])
            if b or d or e >= 0 or a <= 0:
                raise InputError(
                    f"importing {path}", "its grid is rotated or flipped", "Warp it to north-up"
                )
            grid = Grid(crs_text, (a, b, c, d, e, f), data.height, data.width)
            return _Raster(
                path=path,
                grid=grid,
                bands=int(data.count),
                dtype=_one(path, "types", data.dtypes),
                nodata=None if data.nodata is None else float(data.nodata),
                names=tuple(name or "" for name in data.descriptions),
                scale=_one(path, "scales", data.scales),
                offset=_one(path, "offsets", data.offsets),
                unit=_one(path, "units", tuple(u or "" for u in data.units)),
            )
    except RasterioError as error:
        raise InputError(
            f"importing {path}",
            f"it cannot be read as GeoTIFF ({type(error).__name__})",
            "Remove it from the folder, or repair it",
        ) from error


def _one(path: Path, what: str, values: Sequence[Any]) -> Any:
    if len(set(values)) != 1:
        raise InputError(
            f"importing {path}",
            f"its bands have different {what}: {', '.join(map(str, values[:4]))}",
            "Bring all bands to one",
        )
    return values[0]


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
        raise InputError(
            f"importing {path}",
            "it has no CRS",
            "State it with --crs EPSG:code if you know it; without it nothing can be placed",
        )
    if held and stated is not None and held != stated:
        raise InputError(
            f"--crs {given}", f"{path.name} states {held.to_string()[:60]}", "Leave --crs out"
        )
    crs: Any = held or stated
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _require_alike(rasters: Sequence[_Raster]) -> None:
    """Refuse a folder whose files differ, naming the first two that do."""
    first = rasters[0]
    for other in rasters[1:]:
        for what in ("grid", "bands", "dtype", "nodata", "names", "scale", "offset", "unit"):
            mine, theirs = getattr(first, what), getattr(other, what)
            same = mine == theirs or (
                what == "nodata" and None not in (mine, theirs) and math.isnan(mine + theirs)
            )
            if not same:
                raise InputError(
                    f"importing {first.path.parent}",
                    f"{first.path.name} and {other.path.name} differ in {what}: "
                    f"{_shown(mine)} and {_shown(theirs)}",
                    "Bring all files to one grid, one set of bands and one unit first",
                )


def _shown(value: Any) -> str:
    if isinstance(value, Grid):
        a, _, c, _, e, f = value.transform
        name = value.crs if len(value.crs) < 20 else f"{value.crs[:20]}…"
        return f"{value.width}×{value.height} px of {a:g}×{e:g} at ({c:g}, {f:g}) in {name}"
    return str(value)


# What is stated -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stated:
    unit: str
    scale: float
    offset: float


def _stated(
    folder: Path,
    out: Path,
    first: _Raster,
    unit: str | None,
    scale: float | None,
    offset: float | None,
) -> _Stated:
    """Return unit, scale and offset as stated; refuse what is not, with the command to type."""
    if unit is None:
        shown = f"{first.dtype} numbers in {first.path.name}"
        raise InputError(
            f"importing {folder}",
            f"no unit is stated for the {shown}",
            f"If they are display values, type: {_command(folder, out, 'display', None)} ; "
            f"if they are reflectance, type: "
            f"{_command(folder, out, 'reflectance', _usual(first))} with the scale that is true",
        )
    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    tagged = (first.scale, first.offset) != (1.0, 0.0)
    for name, mine, theirs in (("scale", scale, first.scale), ("offset", offset, first.offset)):
        if tagged and mine is not None and not math.isclose(mine, theirs, rel_tol=1e-9):
            raise InputError(
                f"--{name} {mine:g}", f"the files state {theirs:g}", f"Leave --{name} out"
            )
    if scale is None and not tagged and unit != "display" and not _is_float(first):
        raise InputError(
            f"importing {folder} as {unit}",
            f"no scale is stated for the {first.dtype} numbers in {first.path.name}",
            f"Type, with the scale that is true: {_command(folder, out, unit, _usual(first))}",
        )
    return _Stated(
        unit,
        first.scale if scale is None else float(scale),
        first.offset if offset is None else float(offset),
    )


def _is_float(raster: _Raster) -> bool:
    return raster.dtype.startswith("float")


def _usual(raster: _Raster) -> float | None:
    return None if _is_float(raster) else 0.0001


def _command(folder: Path, out: Path, unit: str, scale: float | None) -> str:
    parts = ["rsbench", "import-dataset", "geotiff-series", str(folder), "--out", str(out)]
    parts += ["--unit", unit] + (["--scale", f"{scale:g}"] if scale is not None else [])
    return shlex.join(parts)


def _meta(
    folder: Path,
    first: _Raster,
    stated: _Stated,
    nodata: float | None,
    bands: Sequence[str] | None,
) -> SensorMeta:
    if first.dtype not in _TYPES:
        raise InputError(
            f"importing {folder}",
            f"{first.dtype} numbers",
            f"Convert the files to one of {', '.join(_TYPES)}",
        )
    dtype = _TYPES[first.dtype]
    names = _band_names(first, bands)
    low = {name.lower(): name for name in names}
    rgb = [low[c] for c in ("red", "green", "blue") if c in low]
    return SensorMeta(
        name=SENSOR,
        bands=names,
        unit=stated.unit,
        dtype=dtype,
        scale=stated.scale,
        offset=stated.offset,
        nodata=_stored_nodata(dtype, nodata if nodata is not None else first.nodata),
        gsd=_gsd(first.grid),
        value_range=_value_range(folder, dtype, stated),
        display=(rgb[0], rgb[1], rgb[2]) if len(rgb) == 3 else _first_three(names),
    )


def _first_three(names: tuple[str, ...]) -> tuple[str, str, str] | None:
    return (names[0], names[1], names[2]) if len(names) >= 3 else None


def _band_names(first: _Raster, bands: Sequence[str] | None) -> tuple[str, ...]:
    if bands is None:
        named = first.names if all(first.names) and len(set(first.names)) == first.bands else ()
        return named or tuple(f"b{i + 1}" for i in range(first.bands))
    if len(bands) != first.bands:
        raise InputError(
            f"--bands {','.join(bands)}",
            f"it names {len(bands)} bands, {first.path.name} has {first.bands}",
            "Name every band once, in the files' order",
        )
    return tuple(bands)


def _value_range(folder: Path, dtype: str, stated: _Stated) -> tuple[float, float]:
    if stated.unit in _RANGES:
        return _RANGES[stated.unit]
    if dtype not in ("uint8", "uint16"):
        raise InputError(
            f"importing {folder} as display values",
            f"{dtype} numbers have no fixed range",
            "Convert the files to uint8, or state their true unit",
        )
    top = float(np.iinfo(dtype).max)
    return (stated.offset, top * stated.scale + stated.offset)


def _stored_nodata(dtype: str, nodata: float | None) -> float:
    """Return the number under invalid pixels of the store: the files' own where it can be."""
    if dtype == "float32":
        return -9999.0 if nodata is None or not math.isfinite(nodata) else float(np.float32(nodata))
    info = np.iinfo(dtype)
    if nodata is None or nodata != int(nodata) or not info.min <= nodata <= info.max:
        return float(info.min)
    return nodata


def _gsd(grid: Grid) -> float:
    """Return the pixel height in metres (of a degree of latitude where the grid is in degrees)."""
    from pyproj import CRS

    crs = CRS.from_user_input(grid.crs)
    size = -grid.transform[4]
    if crs.is_geographic:
        return size * _METRES_PER_DEGREE
    return size * float(crs.axis_info[0].unit_conversion_factor)


# Writing --------------------------------------------------------------------------------


@contextmanager
def _place(target: Path) -> Iterator[Path]:
    """Yield a folder beside the target that takes its place when all went well."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"importing into {target}", "something is there already", "Choose another --out"
        )
    root = target.parent / f".tmp-{target.name}-{uuid.uuid4().hex[:12]}"
    try:
        with full_disk_is_named(target):
            root.mkdir(parents=True)
            yield root
            if target.exists():
                target.rmdir()
            root.rename(target)
            handle = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        shutil.rmtree(root, ignore_errors=True)


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
    _require_plausible(series, middle)
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
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as Part

    w = block.window
    part = Part(w.x, w.y, w.width, w.height)
    shape = (len(series.files), len(series.meta.bands), w.height, w.width)
    values = np.empty(shape, series.meta.dtype)
    valid = np.empty((shape[0], *shape[2:]), np.bool_)
    for t, raster in enumerate(series.files):
        try:
            with rasterio.Env(**GDAL_ENV), rasterio.open(raster.path, driver=DRIVER) as data:
                pixels = data.read(window=part)
        except RasterioError as error:
            raise InputError(
                f"reading {raster.path}", f"it is damaged ({type(error).__name__})", "Repair it"
            ) from error
        valid[t] = _valid(series, raster, pixels)
        values[t] = np.where(valid[t], pixels, series.meta.nodata)
        if valid[t].any():
            middle[t].append(float(np.median(pixels[:, valid[t]])))
    count = valid.astype(np.uint16)
    return SensorArrays(values, valid, count, series.times, series.grid.window(w))


def _valid(series: _Series, raster: _Raster, pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Return where all bands hold a number; a NaN must be declared as nodata."""
    declared = series.nodata
    good = np.ones(pixels.shape, np.bool_)
    if declared is not None and not math.isnan(declared):
        wanted = pixels.dtype.type(declared) if pixels.dtype.kind == "f" else declared
        good &= pixels != wanted
    if pixels.dtype.kind == "f":
        finite = np.isfinite(pixels)
        bad = ~finite & good
        if bad.any() and not (declared is not None and math.isnan(declared)):
            raise PixelError(
                f"importing {raster.path}",
                f"it holds NaN or infinite pixels in band {int(np.argwhere(bad)[0][0]) + 1} and "
                "declares no such nodata",
                "State it with --nodata nan, or mask these pixels",
            )
        good &= finite
    return np.asarray(good.all(axis=0))


def _require_plausible(series: _Series, middle: Sequence[Sequence[float]]) -> None:
    """Refuse numbers that cannot be what is stated, as two units in one folder would be."""
    limits = _PLAUSIBLE.get(series.meta.unit)
    if limits is None:
        return
    low, high = limits
    for raster, medians in zip(series.files, middle, strict=True):
        if not medians:
            continue
        value = float(np.median(medians)) * series.meta.scale + series.meta.offset
        if not low <= value <= high:
            others = [r.path.name for r in series.files if r is not raster][:1]
            raise InputError(
                f"importing {raster.path} as {series.meta.unit}",
                f"its median is {value:g} with scale {series.meta.scale:g} and offset "
                f"{series.meta.offset:g}" + (f", unlike in {others[0]}" if others else ""),
                "State the true scale; if the files have different units, bring them to one",
            )
