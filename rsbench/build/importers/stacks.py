"""Several dates in one file: stated, or refused where bands look like dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.dates import date_in, is_dated, parse_date, year_alone
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.regular import parse_step
from rsbench.core.errors import InputError

BY_NAMES = "names"
MANY = 12
"""From so many bands without names on, they may be dates, as the months of a year."""
MANY_ALONE = 5
"""Likewise of a file that is alone."""
_STEP = re.compile(r"[Pp]?\d+[DdMmYy]")
_MONTH = re.compile(
    r"(?:.*[-_. ])?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*(?:[-_. ].*)?",
    re.IGNORECASE,
)


def dates_are_in_files(stated: str | None) -> bool:
    """Return whether dates are stated without the help of file names."""
    return stated is not None and not _STEP.fullmatch(stated)


def unstacked(
    request: ImportRequest, raster: Raster, day: date | None
) -> list[tuple[Raster, date]]:
    """Return the images of a file with several dates, each with its date.

    Args:
        request: the import; ``dates_in_file`` is ``names`` (of the bands), a step from the file's
            own date on, or the dates separated by commas.
        raster: the file; its bands go date by date.
        day: the file's own date, where a step is stated.

    Raises:
        InputError: if the bands are no whole number of dates.
    """
    stated = str(request.options.dates_in_file)
    apart = "{band}" in (request.options.layout or "")  # each file holds one band
    names = None if apart else request.options.bands
    if stated == BY_NAMES:
        days = [date_in(name, f"band {name!r} of {raster.path.name}") for name in raster.names]
        count = len(dict.fromkeys(days))
    elif day is not None:
        count = raster.bands // len(names or ("one",))
        first = date(day.year, 1, 1) if year_alone(raster.path.stem) else day
        step = parse_step(stated)
        listed = [step.after(first, at) for at in range(count)]
    else:
        listed = [parse_date(text, f"--dates-in-file {stated}") for text in stated.split(",")]
        count = len(listed)
    each = raster.bands // count if count else 0
    if not each or each * count != raster.bands or (names and len(names) != each):
        raise InputError(
            f"--dates-in-file {stated}",
            f"{raster.path.name} has {raster.bands} bands, {count} dates"
            + (f" of {len(names)} bands" if names else ""),
            "State the dates, and with --bands the bands of each",
        )
    if stated == BY_NAMES:
        listed = days[::each]
        _require_runs(raster, days, each)
    return [
        (replace(raster, bands=each, names=("",) * each, only=_numbers(at, each)), when)
        for at, when in enumerate(listed)
    ]


def _numbers(at: int, each: int) -> tuple[int, ...]:
    return tuple(range(at * each + 1, (at + 1) * each + 1))


def _require_runs(raster: Raster, days: Sequence[date], each: int) -> None:
    """Refuse bands whose names do not go date by date."""
    if any(len(set(days[at : at + each])) > 1 for at in range(0, len(days), each)):
        raise InputError(
            f"--dates-in-file {BY_NAMES}",
            f"the bands of {raster.path.name} do not go date by date",
            "Write all bands of a date one after the other",
        )


def require_bands(request: ImportRequest, rasters: Sequence[Raster]) -> None:
    """Refuse files whose bands may be dates, unless something is stated.

    Raises:
        InputError: if names of bands are dates or months, or many bands have no name.
    """
    first, options = rasters[0], request.options
    if options.bands is not None or first.parts or first.bands < 2:
        return
    dated = all(is_dated(name) for name in first.names)
    months = all(name and _MONTH.fullmatch(name) for name in first.names)
    unnamed = not all(first.names)
    many = first.bands >= (MANY_ALONE if len(rasters) == 1 else MANY)
    if not (dated or months or (unnamed and many)):
        return
    shown = f"named {first.names[0]}, {first.names[1]} …" if not unnamed else "without names"
    dates = request.command(dates_in_file=BY_NAMES if dated else "1m")
    bands = request.command(bands=tuple(f"b{n + 1}" for n in range(first.bands)))
    raise InputError(
        f"importing {first.path}",
        f"it has {first.bands} bands {shown}, which may be dates",
        f"If they are dates, type: {dates} ; if they are bands, type: {bands} with the true names",
    )
