"""Variables of NetCDF files as bands, and the dates along their time."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.placing import AXES, place_of
from rsbench.core.errors import InputError

DRIVER = "netCDF"
ROWS = "netCDF rows"
"""Stands for the driver where rows are read in the order of the file: GDAL turns those of files
whose coordinates it does not understand."""
SUFFIXES = (".nc", ".nc4")
_SINCE = re.compile(
    r"(day|hour|minute|second)s? since (\d{1,4}-\d{1,2}-\d{1,2})(?:[T ](\d\d:\d\d))?.*"
)
_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")
_LISTED = 12


def sources(
    path: Path, held: Mapping[str, str], asked: Sequence[str] | None, mask: str | None = None
) -> dict[str, str]:
    """Return variable → source of the variables that are bands, and of the mask among them.

    Args:
        path: the file.
        held: variable → name under which it is opened; empty where there is a single one.
        asked: names of the bands, as stated.
        mask: name of the variable that is a mask, as stated.

    Raises:
        InputError: if there are several variables and none are stated, or one is not there.
    """
    if not held:
        return {(asked or ("",))[0]: str(path)}
    shown = ", ".join(list(held)[:_LISTED]) + (" …" if len(held) > _LISTED else "")
    if asked is None and len(held) > 1:
        raise NotStatedError(
            f"importing {path}",
            f"it is not stated which of its variables are bands; there are {shown}",
            f"Name them with --bands, e.g. --bands {next(iter(held))}",
            lacks=f"which variables of {path.name} are bands, of {shown}",
            assumed={"bands": (next(iter(held)),)},
        )
    absent = [name for name in asked or () if name not in held]
    if absent:
        raise InputError(
            f"--bands {','.join(asked or ())}",
            f"{path.name} has no variable {absent[0]}; there are {shown}",
            "Name variables of the file",
        )
    chosen = list(asked or held)
    if mask in held and mask not in chosen:
        chosen.append(str(mask))
    return {name: held[name] for name in chosen}


def times(path: Path, data: Any) -> tuple[date, ...]:
    """Return the dates along the only further dimension of a variable; empty if it has none.

    Args:
        path: the file, for errors.
        data: the variable, opened by rasterio.

    Raises:
        InputError: if it has other dimensions than time, or its times are not understood.
    """
    tags = data.tags()
    names = [n for n in tags.get("NETCDF_DIM_EXTRA", "").strip("{}").split(",") if n]
    if not names:
        return ()
    units = tags.get(f"{names[0]}#units", "")
    found = _SINCE.fullmatch(units)
    if len(names) > 1 or found is None:
        raise InputError(
            f"importing {path}",
            f"beside rows and columns it has {', '.join(names)}, in {units or 'no unit'}",
            "Write it with one dimension of time, in days since a date",
        )
    calendar = tags.get(f"{names[0]}#calendar", "")
    if calendar not in _CALENDARS:
        raise InputError(
            f"importing {path}", f"its calendar is {calendar}", "Write it in the standard calendar"
        )
    year, month, day = map(int, found[2].split("-"))
    first = datetime(year, month, day)
    if found[3]:
        first += timedelta(hours=int(found[3][:2]), minutes=int(found[3][3:]))
    texts = tags.get(f"NETCDF_DIM_{names[0]}_VALUES", "").strip("{}").split(",")
    return tuple(_moment(path, first, found[1], text) for text in texts)


def _moment(path: Path, first: datetime, unit: str, text: str) -> date:
    try:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(text)
        return (first + timedelta(**{f"{unit}s": number})).date()
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"importing {path}", f"{text!r} is no time", "Repair its dimension of time"
        ) from error


def place(path: Path, shape: tuple[int, int]) -> tuple[float, ...] | None:
    """Return the affine transform by the coordinates of a file that GDAL does not understand.

    Those are variables ``x`` and ``y``, or ``lon`` and ``lat``, without attributes of CF.

    Args:
        path: the file.
        shape: rows and columns of its images.

    Raises:
        InputError: if they do not go in even steps.
    """
    found = []
    for axis, size in (("X", shape[1]), ("Y", shape[0])):
        held = [_coordinate(path, name) for name in AXES[axis]]
        found += [values for values in held if len(values) == size][:1]
    return place_of(path, found[0], found[1]) if len(found) == 2 else None


def _coordinate(path: Path, name: str) -> Any:
    """Return the values of a variable of one dimension; none if there is no such variable."""
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    try:
        with rasterio.open(f"netcdf:{path}:{name}", driver=DRIVER) as data:
            return data.read(1).ravel() if min(data.shape) == 1 else ()
    except (RasterioError, CPLE_BaseError):
        return ()
