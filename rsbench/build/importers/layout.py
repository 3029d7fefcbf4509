"""How the files of a folder are laid out: which region, date and band each of them is.

Without a stated layout, the date is in a file's name or in that of a folder above it, a folder
without a date is a region, and a file holds all bands. A layout says otherwise, as
``{date}/{band}.tif``: ``{region}``, ``{date}`` and ``{band}`` stand for what names say, ``*`` for
anything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from rsbench.build.importers.alike import same_grid
from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.dates import date_in, file_dates, is_dated, one_per_date
from rsbench.build.importers.mask_files import core, masked, with_masks
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.stacks import dates_are_in_files, unstacked
from rsbench.core.errors import InputError

PARTS = ("region", "date", "band")


@dataclass(frozen=True)
class Named:
    """A file, and what its name and folders say of it."""

    raster: Raster
    region: str
    day: date
    band: str = ""


@dataclass(frozen=True)
class Images:
    """The images of one region in order of time; several files may be bands of one image."""

    rasters: tuple[Raster, ...]
    times: tuple[date, ...]
    folder: Path


def images_of(request: ImportRequest, folder: Path, rasters: Sequence[Raster]) -> dict[str, Images]:
    """Return the images of every region; the name of a single place is empty.

    Args:
        request: the import, whose options ``layout`` and ``dates`` count.
        folder: where the files are.
        rasters: what they say of themselves.

    Raises:
        InputError: if a file has no date, files do not follow the layout, two are of one date, or
            it is not known whether folders are regions or bands.
    """
    layout = request.options.layout
    rasters = with_masks(request, rasters)
    along = [r for r in rasters if r.times]
    for raster in along:
        _require_dates(raster)
    rasters = [r for r in rasters if not r.times]
    named = _by_layout(request, folder, rasters) if layout else _by_name(request, folder, rasters)
    if request.options.dates_in_file is not None:
        own = not dates_are_in_files(request.options.dates_in_file)
        named = [
            Named(image, one.region, day, one.band)
            for one in named
            for image, day in unstacked(request, one.raster, one.day if own else None)
        ]
    named += [
        Named(
            replace(r, bands=1, only=(r.only[at] if r.only else at + 1,), names=("",)),
            _region(r.path, folder),
            day,
            r.variable,
        )
        for r in along
        for at, day in enumerate(r.times)
    ]
    regions: dict[str, dict[date, list[Named]]] = defaultdict(lambda: defaultdict(list))
    for one in named:
        regions[one.region][one.day].append(one)
    if not layout:
        _require_plain(request, folder, regions)
    found = {}
    for region, days in sorted(regions.items()):
        times = tuple(sorted(days))
        stacked = tuple(_stacked(request, region, days[day]) for day in times)
        found[region] = Images(stacked, times, folder)
    return found


def _by_name(request: ImportRequest, folder: Path, rasters: Sequence[Raster]) -> list[Named]:
    if dates_are_in_files(request.options.dates_in_file):
        return [Named(r, _region(r.path, folder), date.min) for r in rasters]
    when = _dates(request, rasters, folder)
    return [Named(r, _region(r.path, folder), when[r.path], r.variable) for r in rasters]


def _require_dates(raster: Raster) -> None:
    """Refuse a variable with two images of one date."""
    for day in raster.times:
        if raster.times.count(day) > 1:
            raise InputError(
                f"importing {raster.path}",
                f"{raster.variable or 'it'} has {raster.times.count(day)} images of {day}",
                "Keep one of each date, or composite them first, e.g. with xarray: "
                "cube.resample(time='1D').first()",
            )


def _dates(request: ImportRequest, rasters: Sequence[Raster], folder: Path) -> Mapping[Path, date]:
    """Return the date of every file; where they are not known, examples."""
    if "dates" in request.assumed:
        return {r.path: date(2000, 1, 1) + timedelta(at) for at, r in enumerate(rasters)}
    return file_dates([r.path for r in rasters], request.options.dates, folder)


def _region(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).parts[:-1]
    return "-".join(part for part in parts if not is_dated(part))


def _by_layout(request: ImportRequest, folder: Path, rasters: Sequence[Raster]) -> list[Named]:
    layout = str(request.options.layout)
    pattern = compiled(layout)
    dated = "{date}" in layout
    when = {} if dated else _dates(request, rasters, folder)
    named = []
    for raster in rasters:
        shown = raster.path.relative_to(folder).as_posix()
        match = pattern.fullmatch(shown)
        if match is None:
            raise InputError(
                f"--layout {layout}", f"{shown} does not follow it", "Correct it, or move the file"
            )
        said = match.groupdict()
        day = date_in(said["date"], shown) if dated else when[raster.path]
        named.append(Named(raster, said.get("region") or "", day, said.get("band") or ""))
    return named


def compiled(layout: str) -> re.Pattern[str]:
    """Return a layout as a regular expression with the groups region, date and band.

    Raises:
        InputError: if it has other names in braces, or one twice.
    """
    pieces = re.split(r"(\{[^{}]*\}|\*)", layout)
    names = [piece[1:-1] for piece in pieces if piece.startswith("{")]
    if not names or set(names) - set(PARTS) or len(set(names)) != len(names):
        raise InputError(
            f"--layout {layout}",
            f"it names {', '.join(names) or 'nothing'} in braces",
            "Write {region}, {date} and {band}, each once, and * for the rest",
        )
    text = "".join(
        rf"(?P<{piece[1:-1]}>[^/]+?)"
        if piece.startswith("{")
        else "[^/]*?"
        if piece == "*"
        else re.escape(piece)
        for piece in pieces
    )
    return re.compile(text)


# Bands in files of their own ------------------------------------------------------------


def _stacked(request: ImportRequest, region: str, held: Sequence[Named]) -> Raster:
    """Return the files of one date as one image, its bands in the order stated or sorted."""
    if len(held) == 1 and not held[0].band:
        return held[0].raster
    by_band = {one.band: one.raster for one in held}
    if request.options.mask is not None:
        end = core(request.options.mask)
        mask = next((by_band.pop(band) for band in list(by_band) if band.lower() == end), None)
        bands = [one for one in held if one.band in by_band]
        return masked(request, _bands(request, region, bands), mask)
    return _bands(request, region, held)


def _bands(request: ImportRequest, region: str, held: Sequence[Named]) -> Raster:
    by_band = {one.band: one.raster for one in held}
    asked = request.options.bands or tuple(sorted(by_band))
    if len(by_band) != len(held) or set(asked) != set(by_band):
        where = f" of region {region}" if region else ""
        raise InputError(
            f"the bands of {held[0].day}{where}",
            f"its files are of the bands {', '.join(one.band or '?' for one in held)}; "
            f"{', '.join(asked)} are asked",
            "Add the files, or leave the date out",
        )
    parts = [by_band[name] for name in asked]
    for part in parts:
        if part.bands != 1:
            raise InputError(
                f"importing {part.path}",
                f"it is the file of one band, but holds {part.bands}",
                "Leave {band} out of --layout if each file holds all bands",
            )
        for what in ("dtype", "nodata", "scale", "offset", "unit"):
            if repr(getattr(part, what)) != repr(getattr(parts[0], what)):
                raise InputError(
                    f"importing {part.path}",
                    f"its {what} is {getattr(part, what)}, that of {parts[0].path.name} "
                    f"{getattr(parts[0], what)}",
                    "Bring all bands to one",
                )
        if not same_grid(part.grid, parts[0].grid):
            raise InputError(
                f"importing {part.path}",
                f"its grid is not that of {parts[0].path.name}",
                "Bring all bands to one grid first, e.g. those of 20 m to 10 m",
            )
    return replace(parts[0], bands=len(parts), names=asked, parts=tuple(parts))


# What is not plain ----------------------------------------------------------------------


def _require_plain(
    request: ImportRequest, folder: Path, regions: Mapping[str, Mapping[date, Sequence[Named]]]
) -> None:
    """Refuse two files of one date, and folders that may be bands; tell what to type."""
    for days in regions.values():
        if any(len(held) > 1 and not held[0].band for held in days.values()):
            files = {one.raster.path: one.day for held in days.values() for one in held}
            one_per_date(files, _for_bands(request, folder, files))
    several = [days for name, days in regions.items() if name]
    first = several[0] if several else {}
    if len(several) < 2 or not all(set(days) == set(first) for days in several):
        return
    grids = [next(iter(days.values()))[0].raster.grid for days in several]
    if all(same_grid(grid, grids[0]) for grid in grids):
        bands = request.command(layout=_folders(folder, several, "band"))
        raise InputError(
            f"importing {folder}",
            f"its {len(several)} folders hold images of one grid and the same dates",
            f"If the folders are bands, type: {bands} ; if they are sensors, import the fine and "
            "the coarse one as geotiff-triplets",
        )


def _folders(folder: Path, regions: Sequence[Mapping[date, Sequence[Named]]], part: str) -> str:
    path = next(iter(regions[0].values()))[0].raster.path.relative_to(folder)
    return "/".join([f"{{{part}}}", *["*"] * (len(path.parts) - 2), f"*{path.suffix}"])


def _for_bands(request: ImportRequest, folder: Path, files: Mapping[Path, date]) -> str:
    """Return what to type if several files of one date are its bands; empty if they cannot be."""
    layout = band_layout({path.relative_to(folder).as_posix(): day for path, day in files.items()})
    return request.command(layout=layout) if layout else ""


def band_layout(files: Mapping[str, date]) -> str | None:
    """Return the layout in which names differ by one part within a date; None if there is none.

    Args:
        files: path below the folder → date.
    """
    split = {name: re.split(r"([/_.\- ])", name) for name in files}
    sizes = {len(parts) for parts in split.values()}
    if len(sizes) != 1:
        return None
    columns = list(zip(*split.values(), strict=True))
    days = list(files.values())
    within = [at for at, column in enumerate(columns) if _varies(column, days)]
    if len(within) != 1:
        return None
    shown = [
        "{band}" if at == within[0] else column[0] if len(set(column)) == 1 else "*"
        for at, column in enumerate(columns)
    ]
    return "".join(shown)


def _varies(column: Sequence[str], days: Sequence[date]) -> bool:
    """Return whether a part of names differs within some date."""
    known: dict[date, str] = {}
    return any(known.setdefault(day, part) != part for day, part in zip(days, column, strict=True))
