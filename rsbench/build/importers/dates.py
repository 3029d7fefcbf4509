"""Dates of files: from their names or a list, and the step between them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

from rsbench.core.errors import InputError

# A date in full, with or without dashes, one whose months and days carry no zeros, or a year that
# stands alone.
_FULL = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?(0[1-9]|1[0-2])[-_]?(0[1-9]|[12]\d|3[01])(?!\d)")
_SHORT = re.compile(r"(?<!\d)((?:19|20)\d\d)-(\d{1,2})-(\d{1,2})(?!\d)")
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")


def file_dates(files: Sequence[Path], given: str | None) -> dict[Path, date]:
    """Return the date of every file.

    Args:
        files: the rasters.
        given: a CSV file with the columns ``file,date``; a regular expression whose groups hold
            the date: ``year``, ``month``, ``day``, or ``year`` and ``doy`` (day of the year), or a
            single one; None to find the one date in each name. A year alone stands for its 1 July.

    Raises:
        InputError: if a file has no date, more than one, or the date of another file.
    """
    if given is not None and given.lower().endswith(".csv"):
        dates = _from_csv(files, Path(given))
    elif given is not None:
        dates = _from_pattern(files, given)
    else:
        dates = {file: _from_name(file) for file in files}
    seen: dict[date, Path] = {}
    for file, when in dates.items():
        if when in seen:
            raise InputError(
                "dates of the series",
                f"{seen[when].name} and {file.name} both have {when}",
                "Keep one file per date, or state dates with --dates FILE.csv",
            )
        seen[when] = file
    return dates


def step_between(dates: Sequence[date]) -> str:
    """Return the time between ascending dates as ISO 8601, or ``irregular``.

    Whole years and months come before days, as years and months differ in length.
    """
    if len(dates) < 2:
        return "P1Y"
    pairs = list(pairwise(dates))
    months = {(b.year - a.year) * 12 + b.month - a.month for a, b in pairs}
    if len({d.day for d in dates}) == 1 and len(months) == 1:
        count = months.pop()
        return f"P{count // 12}Y" if count % 12 == 0 else f"P{count}M"
    days = {(b - a).days for a, b in pairs}
    return f"P{days.pop()}D" if len(days) == 1 else "irregular"


def _from_name(file: Path) -> date:
    matches = [m for form in (_FULL, _SHORT) for m in form.finditer(file.stem)]
    whole = {_parse(*m.groups()) for m in matches}
    found = whole or {date(int(m[1]), 7, 1) for m in _YEAR.finditer(file.stem)}
    if len(found) != 1:
        raise InputError(
            f"the date of {file.name}",
            f"its name holds {'no date' if not found else f'{len(found)} dates'}",
            "State it with --dates '(?P<year>\\d{4})' (a pattern) or --dates FILE.csv (file,date)",
        )
    return found.pop()


def _from_pattern(files: Sequence[Path], pattern: str) -> dict[Path, date]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--dates {pattern!r}", f"it is no regular expression ({error})", "Correct it"
        ) from error
    dates = {}
    for file in files:
        match = compiled.search(file.name)
        if match is None:
            raise InputError(
                f"the date of {file.name}", f"{pattern!r} does not meet its name", "Correct --dates"
            )
        dates[file] = _from_match(file, match)
    return dates


def _from_match(file: Path, match: re.Match[str]) -> date:
    named = match.groupdict()
    if named.get("doy"):
        return _ordinal(named["year"], named["doy"], file.name)
    if named.get("year"):
        month, day = named.get("month"), named.get("day")
        return _parse(named["year"], month or ("07" if not day else "01"), day or "01")
    text = match.group(1) if match.re.groups else match.group(0)
    return parse_date(text, file.name)


def _ordinal(year: str, doy: str, where: str) -> date:
    try:
        return datetime.strptime(f"{year}-{doy}", "%Y-%j").date()
    except ValueError as error:
        raise InputError(
            f"the date of {where}", f"there is no day {doy} in {year}", "Correct --dates"
        ) from error


def parse_date(text: str, where: str) -> date:
    """Read ``YYYY``, ``YYYY-MM``, ``YYYY-MM-DD`` or ``YYYYMMDD``."""
    match = re.fullmatch(r"(\d{4})(?:[-_]?(\d\d))?(?:[-_]?(\d\d))?", text.strip())
    if match is None:
        raise InputError(
            f"the date of {where}", f"{text!r} is no date", "Write 1985, 1985-07 or 1985-07-01"
        )
    return _parse(match[1], match[2] or "07", match[3] or "01")


def _parse(year: str, month: str, day: str) -> date:
    try:
        return date(int(year), int(month), int(day))
    except ValueError as error:
        raise InputError(
            f"the date {year}-{month}-{day}", "there is no such day", "Correct --dates"
        ) from error


def _from_csv(files: Sequence[Path], path: Path) -> dict[Path, date]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["file"]: row["date"] for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"--dates {path}",
            f"it cannot be read ({type(error).__name__})",
            "Give a CSV file with the columns file,date",
        ) from error
    absent = [file.name for file in files if file.name not in rows]
    if absent:
        raise InputError(
            f"--dates {path}", f"it has no row for {', '.join(absent[:3])}", "Add the rows"
        )
    return {file: parse_date(rows[file.name], file.name) for file in files}
