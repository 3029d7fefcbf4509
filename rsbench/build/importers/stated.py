"""Unit, scale, bands and value range: what is stated, checked against what the files state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rsbench.build.importers.api import ImportRequest, SensorOptions
from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.raster import Raster
from rsbench.build.read.radiometry import FLOAT32
from rsbench.core.band_colours import TRUE_COLOUR, bands_of
from rsbench.core.errors import InputError, unknown
from rsbench.core.grid import Grid
from rsbench.store.layout import UNITS, SensorMeta

SENSOR = "image"
"""Name of the only sensor of a store."""
RANGES = {"reflectance": (0.0, 1.0), "kelvin": (200.0, 350.0), "index": (-1.0, 1.0)}
_TYPES = {"uint8": "uint8", "uint16": "uint16", "int8": "int16", "int16": "int16",
          "int32": "float32", "uint32": "float32", "float32": "float32", "float64": "float32",
          }  # fmt: skip
"""Type of files → type of the store, which holds every number of the first exactly, or as float32;
integers of 32 bits above 2^24 are refused when they are read."""
_METRES_PER_DEGREE = 111_320.0
_USUAL_SCALE = 0.0001


@dataclass(frozen=True)
class Stated:
    """How stored numbers are to be read: ``value = stored · scale + offset`` in ``unit``."""

    unit: str
    scale: float
    offset: float


def stated_of(request: ImportRequest, first: Raster, given: SensorOptions) -> Stated:
    """Return unit, scale and offset, as stated or as the files state them.

    Args:
        request: the import; a refusal names the command to type.
        first: a file of the sensor; all are alike.
        given: what is stated of the sensor.

    Raises:
        InputError: if the unit, or a scale that is needed, is not stated, or a file states another.
        UnknownName: if there is no such unit.
    """
    if given.unit is None:
        index = request.command(unit="index", **_usual(first, given))
        usual = {"unit": "reflectance", **_usual(first, given)}
        reflectance = request.command(**usual)
        numbers = f"the {first.dtype} numbers in {first.path.name}"
        raise NotStatedError(
            f"importing {request.source}",
            f"no unit is stated for the {first.dtype} numbers in {first.path.name}",
            f"If they are display values, type: {request.command(unit='display')} ; "
            f"if they are reflectance, type: {reflectance} with the scale that is true; "
            f"if they are NDVI or another index, type: {index} with the scale that is true",
            lacks=f"unit and scale of {numbers}" if len(usual) > 1 else f"the unit of {numbers}",
            assumed=request.named(usual),
        )
    if given.unit not in UNITS:
        raise unknown("unit", given.unit, UNITS)
    tagged = has_scale(first)
    if tagged:
        _require_agreement(first, given)
    if given.scale is None and not tagged and given.unit != "display" and not _is_float(first):
        raise NotStatedError(
            f"importing {request.source} as {given.unit}",
            f"no scale is stated for the {first.dtype} numbers in {first.path.name}",
            f"Type, with the scale that is true: {request.command(**_usual(first, given))}",
            lacks=f"the scale of the {first.dtype} numbers in {first.path.name}",
            assumed=request.named(_usual(first, given)),
        )
    return Stated(
        given.unit,
        first.scale if given.scale is None else given.scale,
        first.offset if given.offset is None else given.offset,
    )


def has_scale(raster: Raster) -> bool:
    """Return whether a file states a scale or an offset."""
    return (raster.scale, raster.offset) != (1.0, 0.0)


def _require_agreement(first: Raster, given: SensorOptions) -> None:
    pairs = (("scale", given.scale, first.scale), ("offset", given.offset, first.offset))
    for name, mine, theirs in pairs:
        if mine is not None and not math.isclose(mine, theirs, rel_tol=FLOAT32):
            raise InputError(
                f"--{given.prefix}{name} {mine:g}",
                f"the files state {theirs:g}",
                f"Leave --{given.prefix}{name} out",
            )


def _is_float(raster: Raster) -> bool:
    return raster.dtype.startswith("float")


def _usual(raster: Raster, given: SensorOptions) -> dict[str, float]:
    """Return the scale to propose in a command, as the option of the sensor."""
    return {} if _is_float(raster) else {f"{given.prefix}scale".replace("-", "_"): _USUAL_SCALE}


# Metadata of the store ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SensorIdentity:
    """What a sensor is called in the store.

    Args:
        name: its name.
        bands: names of the bands, in the files' order; None for the files' own.
        gsd: metres that a pixel measures, where it is not the grid's.
    """

    name: str = SENSOR
    bands: Sequence[str] | None = None
    gsd: float | None = None


def meta_of(
    request: ImportRequest,
    first: Raster,
    stated: Stated,
    nodata: float | None,
    identity: SensorIdentity,
) -> SensorMeta:
    """Return a sensor's metadata.

    Args:
        request: the import, for refusals.
        first: a file of the sensor; all are alike.
        stated: how stored numbers are to be read.
        nodata: stored number of missing pixels, as stated or tagged; None where there is none.
        identity: what the sensor is called.

    Raises:
        InputError: if numbers are of a type that no store has, or have no known range.
    """
    dtype, names = _stored_type(request, first), _band_names(first, identity.bands)
    return SensorMeta(
        name=identity.name,
        bands=names,
        unit=stated.unit,
        dtype=dtype,
        scale=stated.scale,
        offset=stated.offset,
        nodata=_stored_nodata(dtype, nodata),
        gsd=grid_gsd(first.grid) if identity.gsd is None else identity.gsd,
        value_range=_value_range(request, first, stated),
        display=_display(request, first, stated, names),
    )


def _stored_type(request: ImportRequest, first: Raster) -> str:
    if first.dtype not in _TYPES:
        raise InputError(
            f"importing {request.source}",
            f"{first.dtype} numbers",
            f"Convert the files to one of {', '.join(_TYPES)}",
        )
    return _TYPES[first.dtype]


def _display(
    request: ImportRequest, first: Raster, stated: Stated, names: tuple[str, ...]
) -> tuple[str, str, str] | None:
    """Return red, green and blue as stated, as named, or as a picture's file marks its bands.

    None where nothing says which bands they are.
    """
    shown = request.options.rgb
    if shown is None:
        shown = bands_of(names, TRUE_COLOUR)
    elif len(set(shown)) != 3 or len(shown) != 3:
        raise InputError(
            f"--rgb {','.join(shown)}",
            f"it names {len(set(shown))} bands",
            "Name three bands: those shown as red, green and blue, in this order",
        )
    if shown is None and stated.unit == "display":  # reflectance files may carry a default mark
        marked = dict(zip(first.colours, names, strict=False))
        shown = tuple(marked[c] for c in TRUE_COLOUR) if {*TRUE_COLOUR} <= {*marked} else None
    if shown is None:
        return None
    for name in shown:
        if name not in names:
            raise unknown("band of the files", name, names)
    return (shown[0], shown[1], shown[2])


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


def _value_range(request: ImportRequest, first: Raster, stated: Stated) -> tuple[float, float]:
    """Return the range as stated, else that of the unit, of bytes or of the bits that are used."""
    if request.options.value_range is not None:
        return request.options.value_range
    if stated.unit in RANGES:
        return RANGES[stated.unit]
    bits = 8 if first.dtype == "uint8" and first.bits is None else first.bits
    if bits is None:
        usual = {"value_range": (0.0, 4095.0)}
        command = request.command(**usual)
        raise NotStatedError(
            f"importing {request.source} as display values",
            f"no file says which range the {first.dtype} numbers have",
            f"Type, with the range that is true: {command}",
            lacks=f"the value range of the {first.dtype} numbers in {first.path.name}",
            assumed=request.named(usual),
        )
    ends = (stated.offset, (2.0**bits - 1) * stated.scale + stated.offset)
    return (min(ends), max(ends))


def _stored_nodata(dtype: str, nodata: float | None) -> float:
    """Return the number under invalid pixels of the store: the files' own where it can be."""
    if dtype == "float32":
        return -9999.0 if nodata is None or not math.isfinite(nodata) else float(np.float32(nodata))
    info = np.iinfo(dtype)
    fits = nodata is not None and math.isfinite(nodata) and info.min <= nodata <= info.max
    return nodata if nodata is not None and fits and nodata == int(nodata) else float(info.min)


def grid_gsd(grid: Grid) -> float:
    """Return the pixel height in metres (of a degree of latitude where the grid is in degrees)."""
    from pyproj import CRS

    crs = CRS.from_user_input(grid.crs)
    size = -grid.transform[4]
    if crs.is_geographic:
        return size * _METRES_PER_DEGREE
    return size * float(crs.axis_info[0].unit_conversion_factor)
