"""Variables of Zarr cubes as bands: their dates, grid, scale, nodata and stored numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.importers.placing import AXES, place_of
from rsbench.core.errors import InputError, first_line
from rsbench.core.grid import Window

ZARR = "zarr"
"""Stands for the driver of a cube."""
_MARKS = ("zarr.json", ".zgroup", ".zmetadata")


def is_cube(path: Path) -> bool:
    """Return whether a folder is a Zarr group."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


@dataclass(frozen=True)
class Cube:
    """What a variable of a cube says of one band.

    Args:
        dtype: type of its stored numbers.
        times: dates along its time; empty without one.
        shape: rows and columns.
        place: affine transform, of the file's first row on; None where it states none.
        crs: well-known text; empty where it states none.
        scale, offset: ``value = stored * scale + offset``; 1 and 0 where it states none.
        nodata: number of missing pixels; None where it states none.
        unit: its own text.
    """

    dtype: str
    times: tuple[date, ...]
    shape: tuple[int, int]
    place: tuple[float, ...] | None
    crs: str
    scale: float
    offset: float
    nodata: float | None
    unit: str


def bands_of(path: Path) -> dict[str, str]:
    """Return band → variable; of a variable with a dimension of bands, each of them.

    Raises:
        InputError: if no variable has rows and columns.
    """
    found: dict[str, str] = {}
    for name, variable in _opened(path).data_vars.items():
        if _axis(variable, "X") is None or _axis(variable, "Y") is None:
            continue
        extra = _extra(variable)
        labels = [str(label) for label in variable[extra].values] if extra else [str(name)]
        found |= dict.fromkeys(labels, str(name))
    if not found:
        raise InputError(
            f"importing {path}",
            "it has no variable with dimensions x and y",
            "Give a Zarr group as xarray writes it",
        )
    return found


def describe_band(path: Path, variable: str) -> Cube:
    """Return what a variable says of itself.

    Raises:
        InputError: if its coordinates are uneven or mirrored, its times are no dates, or it states
            two numbers of missing pixels.
    """
    data = _opened(path)[variable]
    attributes = data.attrs
    if str(attributes.get("_Unsigned", "false")).lower() == "true":
        raise InputError(
            f"importing {path}", f"{variable} holds unsigned numbers as signed ones (_Unsigned)",
            "Write it with its true type",
        )  # fmt: skip
    mapping = _mapping(path, data)
    return Cube(
        dtype=str(data.dtype),
        times=_times(path, data),
        shape=(data.sizes[_axis(data, "Y")], data.sizes[_axis(data, "X")]),
        place=_place(path, data, mapping),
        crs=_crs(path, data, mapping),
        scale=float(attributes.get("scale_factor", 1.0)),
        offset=float(attributes.get("add_offset", 0.0)),
        nodata=_nodata(path, variable, attributes),
        unit=str(attributes.get("units", "")),
    )


def read_band(
    path: Path, variable: str, band: str, at: int | None, window: Window
) -> npt.NDArray[Any]:
    """Return stored numbers ``(1, h, w)`` of a band.

    Args:
        path: the cube.
        variable: which one.
        band: its label along a dimension of bands, if it has one.
        at: number of the date, from 0; None without time.
        window: rows and columns in the order of the file.

    Raises:
        InputError: if the file is damaged.
    """
    data = _opened(path)[variable]
    rows, columns = window.slices
    chosen: dict[Any, Any] = {_axis(data, "Y"): rows, _axis(data, "X"): columns}
    if at is not None:
        chosen[_time(data)] = at
    if (extra := _extra(data)) is not None:
        chosen[extra] = [str(label) for label in data[extra].values].index(band)
    part = data.isel(chosen).transpose(_axis(data, "Y"), _axis(data, "X"))
    try:
        return np.asarray(part.values)[None]
    except Exception as error:
        raise InputError(
            f"reading {path}", f"{variable} is damaged ({first_line(error)})", "Repair it"
        ) from error


@lru_cache(maxsize=8)
def _opened(path: Path) -> Any:
    try:
        import xarray
    except ImportError as error:
        raise InputError(
            f"reading {path}", "xarray is not installed", "Type: pip install 'rsbench[build]'"
        ) from error
    consolidated = None if (path / ".zmetadata").is_file() else False
    try:
        return xarray.open_zarr(
            path, chunks=None, mask_and_scale=False, decode_coords=False, consolidated=consolidated
        )
    except Exception as error:
        raise InputError(
            f"reading {path}",
            f"xarray cannot open it ({first_line(error)})",
            "Give a Zarr group as xarray writes it",
        ) from error


# Dimensions -----------------------------------------------------------------------------


def _axis(data: Any, axis: str) -> str | None:
    """Return the dimension of columns (``X``) or rows (``Y``)."""
    for name in map(str, data.dims):
        about = data.coords[name].attrs if name in data.coords else {}
        told = {str(about.get(key, "")).lower() for key in ("standard_name", "long_name")}
        if about.get("axis") == axis or {name.lower(), *told} & {*AXES[axis]}:
            return name
    return None


def _time(data: Any) -> str | None:
    """Return the dimension of dates: its coordinates are moments, or it is called so."""
    for name in map(str, data.dims):
        moments = name in data.coords and data.coords[name].dtype.kind == "M"
        if moments or name.lower() in ("t", "time", "date"):
            return name
    return None


def _extra(data: Any) -> str | None:
    """Return the dimension of bands, the only one beside time, rows and columns.

    Raises:
        InputError: if there are several.
    """
    known = {_axis(data, "X"), _axis(data, "Y"), _time(data)}
    others = [str(name) for name in data.dims if str(name) not in known]
    if len(others) > 1:
        raise InputError(
            f"the variable {data.name}",
            f"it has the dimensions {', '.join(map(str, data.dims))}",
            "Write it with time, band, y and x",
        )
    return others[0] if others else None


def _times(path: Path, data: Any) -> tuple[date, ...]:
    name = _time(data)
    if name is None:
        return ()
    moments = data.coords[name].values if name in data.coords else np.array([])
    if moments.dtype.kind != "M" or np.isnat(moments).any():
        raise InputError(
            f"importing {path}",
            f"its {name} holds no dates of the standard calendar",
            "Write it with units such as days since 1970-01-01, or as datetime64",
        )
    return tuple(moment.astype("datetime64[D]").item() for moment in moments)


# Grid and numbers -----------------------------------------------------------------------


def _mapping(path: Path, data: Any) -> Mapping[str, Any]:
    """Return the attributes of the variable that states the grid; empty if there is none."""
    whole = _opened(path)
    for name in (data.attrs.get("grid_mapping"), "spatial_ref", "crs"):
        if name in whole.variables:
            return dict(whole.variables[name].attrs)
    return {}


def _crs(path: Path, data: Any, mapping: Mapping[str, Any]) -> str:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    whole = _opened(path).attrs
    named = [held.get(key) for held in (data.attrs, whole) for key in ("crs", "proj:code")]
    named += [f"EPSG:{held['proj:epsg']}" for held in (data.attrs, whole) if "proj:epsg" in held]
    try:
        if {"crs_wkt", "spatial_ref", "grid_mapping_name"} & set(mapping):
            return str(CRS.from_cf(dict(mapping)).to_wkt())
        text = next((str(name) for name in named if name), "")
        return str(CRS.from_user_input(text.removeprefix("+init=")).to_wkt()) if text else ""
    except (CRSError, KeyError) as error:
        raise InputError(
            f"importing {path}", f"its CRS cannot be read ({first_line(error)})", "Repair it"
        ) from error


def _place(path: Path, data: Any, mapping: Mapping[str, Any]) -> tuple[float, ...] | None:
    names = {axis: _axis(data, axis) for axis in ("X", "Y")}
    held = [data.coords[n].values if n in data.coords else None for n in names.values()]
    if held[0] is not None and held[1] is not None:
        return place_of(path, held[0], held[1])
    numbers = [float(n) for n in str(mapping.get("GeoTransform", "")).split()]
    if len(numbers) != 6:
        return None
    c, a, b, f, d, e = numbers
    return (a, b, c, d, e, f)


def _nodata(path: Path, variable: str, attributes: Mapping[str, Any]) -> float | None:
    keys = ("_FillValue", "missing_value", "nodata")
    held = {key: float(np.ravel(attributes[key])[0]) for key in keys if key in attributes}
    if len({repr(number) for number in held.values()}) > 1:
        told = ", ".join(f"{key} {number:g}" for key, number in held.items())
        raise InputError(
            f"importing {path}",
            f"{variable} states several numbers of missing pixels: {told}",
            "Keep one of them",
        )
    return next(iter(held.values()), None)
