"""Variables of NetCDF files as bands, and the dates along their time."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from rsbench.core.errors import InputError

DRIVER = "netCDF"
SUFFIXES = (".nc", ".nc4")
_SINCE = re.compile(
    r"(day|hour|minute|second)s? since (\d{1,4}-\d{1,2}-\d{1,2})(?:[T ](\d\d:\d\d))?.*"
)
_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")
_LISTED = 12


def sources(path: Path, inside: Sequence[str], asked: Sequence[str] | None) -> dict[str, str]:
    """Return variable → name under which GDAL opens it, of the variables that are bands.

    Args:
        path: the file.
        inside: names of its variables, as GDAL lists them; empty where it has a single one.
        asked: names of the bands, as stated.

    Raises:
        InputError: if there are several variables and none are stated, or one is not there.
    """
    held = {name.rpartition(":")[2]: name for name in inside}
    if not held:
        return {(asked or ("",))[0]: str(path)}
    if asked is None and len(held) > 1:
        shown = ", ".join(list(held)[:_LISTED]) + (" …" if len(held) > _LISTED else "")
        raise InputError(
            f"importing {path}",
            f"it is not stated which of its variables are bands; there are {shown}",
            f"Name them with --bands, e.g. --bands {next(iter(held))}",
        )
    absent = [name for name in asked or () if name not in held]
    if absent:
        raise InputError(
            f"--bands {','.join(asked or ())}",
            f"{path.name} has no variable {absent[0]}; there are {', '.join(list(held)[:_LISTED])}",
            "Name variables of the file",
        )
    return {name: held[name] for name in asked or held}


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
