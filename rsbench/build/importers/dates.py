"""Dates of files, from their names, a pattern or a list, and the step between them.

A date is understood wholly or refused. A year alone stands for its 1 July, a month for its first
day.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Container, Mapping, Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

from rsbench.build.importers.lacks import NotStatedError
from rsbench.core.errors import InputError, read_fault

# In file names: a date in full, with or without separators; one whose months and days may lack
# zeros; a year and month; a year. A number before "m" or "km" is a pixel size.
_END = r"(?!\d|k?m(?![A-Za-z]))"
_FULL = re.compile(rf"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01]){_END}")
_SHORT = re.compile(rf"(?<!\d)((?:19|20)\d\d)([-_.])(\d{{1,2}})\2(\d{{1,2}}){_END}")
_MONTH = re.compile(r"(?<!\d)((?:19|20)\d\d)-(0[1-9]|1[0-2])(?![-_.]?\d|[A-Za-z])")
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d\d)(?!\d)")

# Beside a year: what may be a month, a quarter, a week, a season or a day.
_NAMES = (
    r"jan(?:uary|uar|vier|eiro)?|j[äa]nner|feb(?:ruary|ruar)?|f[ée]vrier|fevereiro|febrero"
    r"|febbraio|m[äa]r(?:ch|z|s|zo|[çc]o)?|maerz|apr(?:il|ile)?|avril|abril|ma[yij]|mei|mayo|maio"
    r"|maggio|jun[ei]?|juin|junio|junho|giugno|jul[yi]?|juillet|julio|julho|luglio|aug(?:ust)?"
    r"|ao[ûu]t|agosto|sept?(?:ember|embre|iembre)?|setembro|settembre|o[ck]t(?:ober|obre)?|octubre"
    r"|outubro|ottobre|nov(?:ember|embre|iembre|embro)?|de[czs](?:ember|embre|embro)?|d[ée]cembre"
    r"|maart|augustus|янв(?:арь)?|фев(?:раль)?|март?|апр(?:ель)?|ма[йя]|ию[нл][ья]?|авг(?:уст)?"
    r"|(?:сен|окт)(?:тябрь|ябрь)?|(?:ноя|дек)(?:абрь|брь)?"
    r"|dic(?:iembre|embre)?|enero|gennaio|spring|summer|autumn|fall|winter|monsoon|wet|dry|rainy"
)
_COUNTED = (
    r"(?:y|q|quarter|trim|trimester|trimestre|w|wk|week|kw|semaine|semana|m|mo|month|d|day|doy|jour"
    r"|tag|h|half|sem|semester|semestre|season)"
)
_MARK = "[\u5e74\ub144]"
"""The word year of East Asia; a month stands behind it."""
_PART = (
    rf"(?:(?<![0-9A-Za-z])\d{{1,3}}(?![0-9A-Za-z])|(?<![^\W\d_])(?:{_NAMES})(?![^\W\d_])\d{{0,2}}"
    rf"|(?<![A-Za-z]){_COUNTED}[-_. ]?\d{{1,3}}(?!\d))"
)
_BEFORE = re.compile(rf"{_PART}[-_. ]?$", re.IGNORECASE)
_AFTER = re.compile(rf"^(?:{_MARK}|[-_. ]?{_PART}|-\d{{1,2}}{_END})", re.IGNORECASE)

_REMEDY = (
    "State it with --dates '(?P<year>\\d{4})-(?P<month>\\d+)-(?P<day>\\d+)' (a pattern; groups "
    "year, month, day or doy) or --dates FILE.csv (file,date)"
)


def file_dates(
    files: Sequence[Path], given: str | None, folder: Path | None = None
) -> dict[Path, date]:
    """Return the date of every file.

    Args:
        files: the rasters.
        given: a CSV file with the columns ``file`` and ``date``; a regular expression whose groups
            hold the date: ``year``, ``month``, ``day``, or ``year`` and ``doy`` (day of the year),
            or a single one; None to find the one date in each name, or in that of a folder above.
        folder: where the files are; without it two files may not have one date.

    Raises:
        InputError: if a file has no date, more than one, one that is not understood wholly, or the
            date of another file.
    """
    if given is not None and given.lower().endswith(".csv"):
        dates = _from_csv(files, Path(given), folder)
    elif given is not None:
        dates = _from_pattern(files, given, folder)
    else:
        dates = {file: _from_path(file, folder) for file in files}
    if folder is None:
        one_per_date(dates)
    return dates


def one_per_date(dates: Mapping[Path, date], for_bands: str = "") -> None:
    """Refuse two files of one date; ``for_bands``: what to type if they are bands of one image."""
    keep = f"If each is a band, type: {for_bands} ; else keep" if for_bands else "Keep"
    seen: dict[date, Path] = {}
    for file, when in dates.items():
        if when in seen:
            raise InputError(
                "dates of the series",
                f"{_told(seen[when], file)} and {_told(file, seen[when])} both have {when}",
                f"{keep} one file per date, or state dates with --dates FILE.csv",
            )
        seen[when] = file


def _told(file: Path, other: Path) -> str:
    """Return a file's name, with that of its folder where another file has the same name."""
    return file.name if file.name != other.name else f"{file.parent.name}/{file.name}"


def is_dated(name: str) -> bool:
    """Return whether the name of a folder holds a date."""
    try:
        _from_name(Path(f"{name}.x"))
    except InputError:
        return False
    return True


def year_alone(name: str) -> bool:
    """Return whether the date in a name is a year without month and day."""
    return not (_FULL.search(name) or _SHORT.search(name) or _MONTH.search(name))


def date_in(text: str, where: str) -> date:
    """Return the one date in a part of a name; ``where`` is the file, for errors."""
    try:
        return _from_name(Path(f"{text}.x"))
    except InputError as error:
        asked = f"the date of {where}"
        if not isinstance(error, NotStatedError):
            raise InputError(asked, error.found, error.remedy) from error
        raise NotStatedError(
            asked, error.found, error.remedy, lacks=asked, assumed=error.assumed
        ) from error


def _from_path(file: Path, folder: Path | None) -> date:
    """Return the date in a file's name, else in that of the nearest folder that has one."""
    if folder is not None and not is_dated(file.stem):
        for part in reversed(file.relative_to(folder).parts[:-1]):
            if is_dated(part):
                return _from_name(Path(f"{part}.x"))
    return _from_name(file)


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


# Names ----------------------------------------------------------------------------------


def _from_name(file: Path) -> date:
    stem = file.stem
    whole = {parse_parts(m[1], m[2], m[3]) for m in _FULL.finditer(stem)}
    whole |= {parse_parts(m[1], m[3], m[4]) for m in _SHORT.finditer(stem)}
    found = whole or {parse_parts(m[1], m[2], "01") for m in _MONTH.finditer(stem)}
    if not found:
        years = list(_YEAR.finditer(stem))
        for match in years:
            _require_alone(file, match)
        found = {date(int(m[1]), 7, 1) for m in years}
    if len(found) != 1:
        raise NotStatedError(
            f"the date of {file.name}",
            f"its name holds {'no date' if not found else f'{len(found)} dates'}",
            _REMEDY,
            lacks=f"the date of {file.name}",
            assumed={"dates": "FILE.csv"},
        )
    return found.pop()


def _require_alone(file: Path, year: re.Match[str]) -> None:
    """Refuse a year beside something that may be its month or day."""
    before, after = year.string[: year.start()], year.string[year.end() :]
    beside = _BEFORE.search(before) or _AFTER.search(after)
    if beside is not None:
        raise NotStatedError(
            f"the date of {file.name}",
            f"its name holds the year {year[1]} beside {beside[0].strip('-_. ')!r}, which may be a "
            "part of the date",
            _REMEDY,
            lacks=f"the date of {file.name}",
            assumed={"dates": "FILE.csv"},
        )


# Patterns -------------------------------------------------------------------------------


def _from_pattern(files: Sequence[Path], pattern: str, folder: Path | None) -> dict[Path, date]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--dates {pattern!r}", f"it is no regular expression ({error})", "Correct it"
        ) from error
    dates = {}
    for file in files:
        match = compiled.search(file.name)
        if match is None and folder is not None:
            match = compiled.search(file.relative_to(folder).as_posix())
        if match is None:
            raise InputError(
                f"the date of {file.name}",
                f"{pattern!r} does not match its name",
                "Correct --dates",
            )
        dates[file] = match_date(match, file.name)
    return dates


def match_date(match: re.Match[str], where: str) -> date:
    """Return the date in the groups of a match: named parts, or a single group, or all of it.

    Args:
        match: groups ``year`` with ``month`` and ``day``, with ``month``, with ``doy`` or alone.
        where: the file, for errors.

    Raises:
        InputError: if there is no such day, or a part is missing.
    """
    named = {name: text for name, text in match.groupdict().items() if text}
    if not named:
        return parse_date(match.group(1) if match.re.groups else match.group(0), where)
    if not re.fullmatch(r"\d{4}", named.get("year", "")) or ("day" in named) > ("month" in named):
        raise InputError(
            f"the date of {where}",
            f"the pattern finds {', '.join(f'{name} {text!r}' for name, text in named.items())}",
            "Let it find a year of four digits, with month and day, with month, with doy or alone",
        )
    if "doy" in named:
        return _ordinal(named["year"], named["doy"], where)
    if "month" not in named:
        return date(int(named["year"]), 7, 1)
    return parse_parts(named["year"], named["month"], named.get("day", "01"))


def _ordinal(year: str, doy: str, where: str) -> date:
    try:
        return datetime.strptime(f"{year}-{doy}", "%Y-%j").date()
    except ValueError as error:
        raise InputError(
            f"the date of {where}", f"there is no day {doy} in {year}", "Correct --dates"
        ) from error


def parse_date(text: str, where: str) -> date:
    """Read ``YYYY``, ``YYYY-MM``, ``YYYY-MM-DD``, ``YYYYMMDD`` or ``YYYY-M-D``.

    Raises:
        InputError: if it is none of these, or there is no such day.
    """
    match = re.fullmatch(r"(\d{4})(?:[-_]?(\d\d))?(?:[-_]?(\d\d))?", text.strip())
    match = match or re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", text.strip())
    if match is None:
        raise InputError(
            f"the date of {where}", f"{text!r} is no date", "Write 1985, 1985-07 or 1985-07-01"
        )
    return parse_parts(match[1], match[2] or "07", match[3] or "01")


def parse_parts(year: str, month: str, day: str) -> date:
    """Return the date of a year, month and day in digits.

    Raises:
        InputError: if there is no such day.
    """
    try:
        return date(int(year), int(month), int(day))
    except ValueError as error:
        raise InputError(
            f"the date {year}-{month}-{day}", "there is no such day", "Correct --dates"
        ) from error


# Lists ----------------------------------------------------------------------------------


def _from_csv(files: Sequence[Path], path: Path, folder: Path | None) -> dict[Path, date]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins a file with a mark
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"--dates {path}",
            f"it cannot be read ({read_fault(error)})",
            "Give a CSV file in UTF-8 with the columns file,date",
        ) from error
    names = [name.strip().lower() for name in lines[0]] if lines else []
    if not {"file", "date"} <= set(names):
        raise InputError(
            f"--dates {path}",
            f"its columns are {', '.join(names) or 'none'}",
            "Give a CSV file with the columns file,date",
        )
    rows: dict[str, str] = {}
    for line in lines[1:]:
        row = dict(zip(names, line, strict=False))
        name, when = row.get("file", "").strip(), row.get("date", "").strip()
        if rows.setdefault(name, when) != when:
            raise InputError(
                f"--dates {path}", f"it has {rows[name]} and {when} for {name}", "Keep one"
            )
    keys = {file: _key(file, folder, rows) for file in files}
    absent = [key for key in keys.values() if not rows.get(key)]
    if absent:
        raise InputError(
            f"--dates {path}", f"it has no row for {', '.join(absent[:3])}", "Add the rows"
        )
    return {file: parse_date(rows[key], file.name) for file, key in keys.items()}


def _key(file: Path, folder: Path | None, rows: Container[str]) -> str:
    """Return the path below the folder where a list has it, else the name."""
    below = file.name if folder is None else file.relative_to(folder).as_posix()
    return below if below in rows else file.name
