"""Reading what rasters say of themselves, and what a person must state of them."""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.read.raster import DRIVER, GDAL_ENV
from rsbench.core.errors import InputError, PixelError, unknown
from rsbench.core.grid import Grid, Window
from rsbench.store.layout import UNITS, SensorMeta

Pixels = npt.NDArray[Any]

SENSOR = "image"
_TYPES = {"uint8": "uint8", "uint16": "uint16", "int16": "int16", "float32": "float32",
          "float64": "float32"}  # fmt: skip
_METRES_PER_DEGREE = 111_320.0
PLAUSIBLE = {"reflectance": (-0.2, 2.0), "kelvin": (150.0, 400.0)}
RANGES = {"reflectance": (0.0, 1.0), "kelvin": (200.0, 350.0)}


@dataclass(frozen=True)
class Raster:
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


# Files ----------------------------------------------------------------------------------


def open_all(folder: Path, crs: str | None) -> list[Raster]:
    """Return what every GeoTIFF of a folder says of itself, sorted by name."""
    if not folder.is_dir():
        raise InputError(f"importing {folder}", "there is no such folder", "Give a folder")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".tif", ".tiff"))
    if not files:
        raise InputError(
            f"importing {folder}", "it holds no GeoTIFF", "Give a folder of .tif files"
        )
    return [describe(path, crs) for path in files]


def describe(
    path: Path, crs: str | None, *, nominal: Callable[[int, int], Grid] | None = None
) -> Raster:
    """Return what a GeoTIFF says of itself.

    Args:
        crs: coordinate system of a file that states none.
        nominal: makes a grid of height and width for a file that states no place at all.

    Raises:
        InputError: if it cannot be read, placed, or is of several types.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with (
            # Told below, as an error.
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            rasterio.Env(**GDAL_ENV),
            rasterio.open(path, driver=DRIVER) as data,
        ):
            if nominal is not None and not data.crs:
                grid = nominal(data.height, data.width)
            else:
                grid = _grid(path, data, crs)
            return Raster(
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


def _grid(path: Path, data: Any, crs: str | None) -> Grid:
    crs_text = _crs(path, data.crs, crs)
    a, b, c, d, e, f = (float(v) for v in tuple(data.transform)[:6])
    if b or d or e >= 0 or a <= 0:
        raise InputError(
            f"importing {path}", "its grid is rotated or flipped", "Warp it to north-up"
        )
    return Grid(crs_text, (a, b, c, d, e, f), data.height, data.width)


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


def require_alike(rasters: Sequence[Raster]) -> None:
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
class Stated:
    """How stored numbers are to be read: ``value = stored · scale + offset`` in ``unit``."""

    unit: str
    scale: float
    offset: float


def stated_of(
    folder: Path,
    out: Path,
    first: Raster,
    unit: str | None,
    scale: float | None,
    offset: float | None,
    *,
    kind: str = "geotiff-series",
    prefix: str = "",
) -> Stated:
    """Return unit, scale and offset as stated; refuse what is not, with the command to type.

    Args:
        kind: kind of import, for the command.
        prefix: what the options of this sensor begin with, e.g. ``coarse-``.
    """
    if unit is None:
        shown = f"{first.dtype} numbers in {first.path.name}"
        raise InputError(
            f"importing {folder}",
            f"no unit is stated for the {shown}",
            f"If they are display values, type: {_command(folder, out, 'display', None, kind)} ; "
            f"if they are reflectance, type: "
            f"{_command(folder, out, 'reflectance', _usual(first), kind, prefix)} "
            "with the scale that is true",
        )
    if unit not in UNITS:
        raise unknown("unit", unit, UNITS)
    tagged = (first.scale, first.offset) != (1.0, 0.0)
    for name, mine, theirs in (("scale", scale, first.scale), ("offset", offset, first.offset)):
        if tagged and mine is not None and not math.isclose(mine, theirs, rel_tol=1e-9):
            raise InputError(
                f"--{prefix}{name} {mine:g}",
                f"the files state {theirs:g}",
                f"Leave --{prefix}{name} out",
            )
    if scale is None and not tagged and unit != "display" and not _is_float(first):
        raise InputError(
            f"importing {folder} as {unit}",
            f"no scale is stated for the {first.dtype} numbers in {first.path.name}",
            "Type, with the scale that is true: "
            f"{_command(folder, out, unit, _usual(first), kind, prefix)}",
        )
    return Stated(
        unit,
        first.scale if scale is None else float(scale),
        first.offset if offset is None else float(offset),
    )


def _is_float(raster: Raster) -> bool:
    return raster.dtype.startswith("float")


def _usual(raster: Raster) -> float | None:
    return None if _is_float(raster) else 0.0001


def _command(
    folder: Path, out: Path, unit: str, scale: float | None, kind: str, prefix: str = ""
) -> str:
    parts = ["rsbench", "import-dataset", kind, str(folder), "--out", str(out), "--unit", unit]
    parts += [f"--{prefix}scale", f"{scale:g}"] if scale is not None else []
    return shlex.join(parts)


def meta_of(
    folder: Path,
    first: Raster,
    stated: Stated,
    nodata: float | None,
    bands: Sequence[str] | None,
    *,
    name: str = SENSOR,
    gsd: float | None = None,
) -> SensorMeta:
    """Return a sensor's metadata; ``gsd`` in metres where it is not the grid's."""
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
        name=name,
        bands=names,
        unit=stated.unit,
        dtype=dtype,
        scale=stated.scale,
        offset=stated.offset,
        nodata=_stored_nodata(dtype, nodata if nodata is not None else first.nodata),
        gsd=grid_gsd(first.grid) if gsd is None else gsd,
        value_range=_value_range(folder, dtype, stated),
        display=(rgb[0], rgb[1], rgb[2]) if len(rgb) == 3 else _first_three(names),
    )


def _first_three(names: tuple[str, ...]) -> tuple[str, str, str] | None:
    return (names[0], names[1], names[2]) if len(names) >= 3 else None


def _band_names(first: Raster, bands: Sequence[str] | None) -> tuple[str, ...]:
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


def _value_range(folder: Path, dtype: str, stated: Stated) -> tuple[float, float]:
    if stated.unit in RANGES:
        return RANGES[stated.unit]
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


def grid_gsd(grid: Grid) -> float:
    """Return the pixel height in metres (of a degree of latitude where the grid is in degrees)."""
    from pyproj import CRS

    crs = CRS.from_user_input(grid.crs)
    size = -grid.transform[4]
    if crs.is_geographic:
        return size * _METRES_PER_DEGREE
    return size * float(crs.axis_info[0].unit_conversion_factor)


# Pixels ---------------------------------------------------------------------------------


def read_part(raster: Raster, window: Window) -> Pixels:
    """Return the stored numbers ``(C, h, w)`` of a window."""
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window as Part

    part = Part(window.x, window.y, window.width, window.height)
    try:
        with rasterio.Env(**GDAL_ENV), rasterio.open(raster.path, driver=DRIVER) as data:
            return np.asarray(data.read(window=part))
    except RasterioError as error:
        raise InputError(
            f"reading {raster.path}", f"it is damaged ({type(error).__name__})", "Repair it"
        ) from error


def valid_part(declared: float | None, raster: Raster, pixels: Pixels) -> npt.NDArray[np.bool_]:
    """Return where all bands hold a number; a NaN must be declared as nodata."""
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


def require_plausible(
    files: Sequence[Raster], meta: SensorMeta, middle: Sequence[Sequence[float]]
) -> None:
    """Refuse numbers that cannot be what is stated, as two units in one folder would be.

    Args:
        middle: per file, medians of its valid stored numbers.
    """
    limits = PLAUSIBLE.get(meta.unit)
    if limits is None:
        return
    low, high = limits
    for raster, medians in zip(files, middle, strict=True):
        if not medians:
            continue
        value = float(np.median(medians)) * meta.scale + meta.offset
        if not low <= value <= high:
            others = [r.path.name for r in files if r is not raster][:1]
            raise InputError(
                f"importing {raster.path} as {meta.unit}",
                f"its median is {value:g} with scale {meta.scale:g} and offset "
                f"{meta.offset:g}" + (f", unlike in {others[0]}" if others else ""),
                "State the true scale; if the files have different units, bring them to one",
            )
