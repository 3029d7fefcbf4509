"""Variables of NetCDF files, or their dimension of bands, as bands; the dates along their time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

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
_TIMES = ("t", "time", "date")
T = TypeVar("T")
Look = Callable[[str], tuple[int, Mapping[str, str]]]
"""Returns the number of rasters of a variable, and its tags, by the name it is opened under."""


@dataclass(frozen=True)
class Source:
    """What GDAL opens for a band, and the numbers of its rasters from 1 on; all where empty."""

    name: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stack:
    """A variable with a dimension of bands.

    Args:
        dimension: its name.
        labels: coordinates along it; empty where the file has none that GDAL reads.
        numbers: of each band, the rasters along time.
    """

    dimension: str
    labels: tuple[str, ...]
    numbers: tuple[tuple[int, ...], ...]

    def named(self, path: Path, asked: Sequence[str] | None) -> tuple[str, ...]:
        """Return the names of the bands: text along the dimension, or all of those stated.

        Numbers along the dimension are names where none are stated.
        """
        text = not all(map(_is_number, self.labels))
        if self.labels and (text or asked is None or {*asked} & {*self.labels}):
            return self.labels
        count = len(self.numbers)
        if asked is not None and len(asked) == count:
            return tuple(asked)
        raise NotStatedError(
            f"importing {path}",
            f"its {count} bands along {self.dimension} have no names",
            "Name all of them with --bands, in the order of the file",
            lacks=f"names of the {count} bands along {self.dimension} of {path.name}",
            assumed={"bands": tuple(f"B{number}" for number in range(1, count + 1))},
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def bands(
    path: Path, variables: Mapping[str, str], asked: Sequence[str] | None, look: Look
) -> dict[str, Source]:
    """Return band → source: every variable, or every band along its dimension of bands.

    Args:
        path: the file.
        variables: variable → name under which it is opened.
        asked: names of the bands, as stated.

    Raises:
        InputError: if a variable has several dimensions beside time, rows and columns, bands have
            no names, or two have the same.
    """
    stacks = {name: _stack(path, *look(source)) for name, source in variables.items()}
    along = {stack.dimension for stack in stacks.values() if stack}
    found: dict[str, Source] = {}
    for name, source in variables.items():
        stack = stacks[name]
        if stack is None:
            found |= {} if name in along else {name: Source(source)}
            continue
        for label, numbers in zip(stack.named(path, asked), stack.numbers, strict=True):
            if label in found:
                what = f"two of its variables have a band {label}"
                raise InputError(f"importing {path}", what, "Write a file without one of them")
            found[label] = Source(source, numbers)
    return found


def _stack(path: Path, count: int, tags: Mapping[str, str]) -> Stack | None:
    """Return how the rasters of a variable are bands; None for one without such a dimension."""
    names = _dimensions(tags)
    others = [name for name in names if not _is_time(name, tags)]
    if not others:
        return None
    if len(others) > 1 or len(names) > 2:
        raise InputError(
            f"importing {path}",
            f"beside rows and columns it has {', '.join(names)}",
            "Write it with time, band, y and x",
        )
    labels = _values(tags, others[0])
    size = len(labels) or count // max(1, *(len(_values(tags, n)) for n in names))
    place, repeats = (1, size) if names[0] != others[0] else (count // size, 1)
    numbers = tuple(
        tuple(band * place + at * repeats + 1 for at in range(count // size))
        for band in range(size)
    )  # fmt: skip
    return Stack(others[0], labels, numbers)


def _dimensions(tags: Mapping[str, str]) -> list[str]:
    """Return the dimensions of a variable beside rows and columns, the slowest first."""
    return [n for n in tags.get("NETCDF_DIM_EXTRA", "").strip("{}").split(",") if n]


def _is_time(name: str, tags: Mapping[str, str]) -> bool:
    return name.lower() in _TIMES or _SINCE.fullmatch(tags.get(f"{name}#units", "")) is not None


def _values(tags: Mapping[str, str], name: str) -> tuple[str, ...]:
    held = tags.get(f"NETCDF_DIM_{name}_VALUES", "").strip("{}")
    return tuple(text.strip() for text in held.split(",")) if held else ()


def sources(
    path: Path, held: Mapping[str, T], asked: Sequence[str] | None, mask: str | None = None
) -> dict[str, T]:
    """Return band → source of the variables that are bands, and of the mask among them.

    Args:
        path: the file.
        held: band → its source.
        asked: names of the bands, as stated.
        mask: name of the variable that is a mask, as stated.

    Raises:
        InputError: if there are several variables and none are stated, or one is not there.
    """
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
    """Return the dates along the time of a variable; empty if it has none.

    Args:
        path: the file, for errors.
        data: the variable, opened by rasterio.

    Raises:
        InputError: if its times are not understood.
    """
    tags = data.tags()
    names = [name for name in _dimensions(tags) if _is_time(name, tags)]
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
    texts = _values(tags, names[0]) or ("",)
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
