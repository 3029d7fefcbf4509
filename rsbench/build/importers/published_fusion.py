"""Import CIA, LGC and AHB, published pairs of Landsat and MODIS, from their known layouts.

Known layouts: one folder per date (``2004_107_Apr16/20040416_TM.npy`` beside
``MOD09GA_A2004107.sur_refl.npy``), one folder per pair of dates, and one folder per sensor
(``Landsat/L_2015-6-21.tif``, ``MODIS/M_2015-6-21.tif``); files are GeoTIFFs, flat binaries with an
ENVI header, or NumPy arrays. Dates are those of the published lists. Landsat files of CIA carry
the UTC date, which is the day before, so images are paired by the list and not by name.
The scale must be stated: copies exist in bytes and in reflectance × 10000.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from types import MappingProxyType

import numpy as np

from rsbench.build.importers.alike import require_alike
from rsbench.build.importers.api import (
    ALIKE_REASONS,
    COARSE_OPTIONS,
    COMMON_REASONS,
    GATE_OPTIONS,
    ImportOptions,
    ImportRequest,
)
from rsbench.build.importers.dates import match_date
from rsbench.build.importers.pixels import read_part
from rsbench.build.importers.raster import (
    SUFFIXES,
    Known,
    Mask,
    Pixels,
    Raster,
    describe,
    has_header,
)
from rsbench.build.importers.sensor_files import SensorFiles
from rsbench.build.importers.stated import SensorIdentity, Stated, meta_of, stated_of
from rsbench.build.importers.triplet_store import COARSE, FINE, PreparedTriplets, prepare_triplets
from rsbench.build.importers.validity import Read, declared_nodata, may_differ, valid_pixels
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")


@dataclass(frozen=True)
class Published:
    """What is known of one set.

    Args:
        crs, pixel: grid of files that state none; its place is then not known.
        coarse_gsd: metres that a pixel of MODIS measures.
        dates: local dates of the pairs.
        utc: whether Landsat files may carry the date in UTC, a day before the local one.
    """

    crs: str
    pixel: float
    coarse_gsd: float
    dates: tuple[date, ...]
    utc: bool = False

    def nominal(self, height: int, width: int) -> Grid:
        """Return a grid of the right pixel size whose place is not known."""
        size = self.pixel
        return Grid(self.crs, (size, 0.0, 0.0, 0.0, -size, size * height), height, width)


def _days(text: str) -> tuple[date, ...]:
    return tuple(date.fromisoformat(day) for day in text.split())


PUBLISHED = {
    "cia": Published(
        "EPSG:32755", 25.0, 500.0,
        _days(
            "2001-10-08 2001-10-17 2001-11-02 2001-11-09 2001-11-25 2001-12-04 2002-01-05 "
            "2002-01-12 2002-02-13 2002-02-22 2002-03-10 2002-03-17 2002-04-02 2002-04-11 "
            "2002-04-18 2002-04-27 2002-05-04"
        ),
        utc=True,
    ),
    "lgc": Published(
        "EPSG:4283", 0.00025, 500.0,
        _days(
            "2004-04-16 2004-05-02 2004-07-05 2004-08-06 2004-08-22 2004-10-25 2004-11-26 "
            "2004-12-12 2004-12-28 2005-01-13 2005-01-29 2005-02-14 2005-03-02 2005-04-03"
        ),
    ),
    "ahb": Published(
        "EPSG:32650", 30.0, 500.0,
        _days(
            "2013-05-30 2014-02-10 2014-04-15 2014-09-06 2015-02-13 2015-03-17 2015-05-04 "
            "2015-06-21 2015-07-07 2015-09-25 2016-01-31 2016-04-20 2016-06-07 2016-08-26 "
            "2016-10-13 2017-02-18 2017-05-25 2017-06-10 2017-07-28 2017-08-29 2018-01-04 "
            "2018-02-05 2018-03-25 2018-05-12 2018-10-03 2018-10-19 2018-12-06"
        ),
    ),
}  # fmt: skip

_COARSE_NAME = re.compile(r"^(MOD|MYD)\d\d|^M[-_]\d|MODIS", re.IGNORECASE)
_FINE_NAME = re.compile(r"^L[-_]?\d|^L[TECO]\d|LANDSAT|_(TM|ETM|OLI)(?![A-Za-z])", re.IGNORECASE)
_BY_DOY = re.compile(r"A(?P<year>(?:19|20)\d\d)(?P<doy>\d{3})(?!\d)")
_SCENE = re.compile(r"^L\d{8}_\d{3}(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)(?!\d)")
_SHORT = re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)-(?P<month>\d{1,2})-(?P<day>\d{1,2})(?!\d)")
_WHOLE = re.compile(r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)(?!\d)")
_FOLDER = re.compile(r"^(?P<year>(?:19|20)\d\d)_(?P<doy>\d{3})_[A-Z][a-z]{2}\d\d$")


class PublishedSet:
    """One published set; a pixel with a band outside 0 … 1 reflectance is not valid."""

    takes = frozenset({"unit", "scale", "offset", "nodata", "region_size", *GATE_OPTIONS})
    reasons = MappingProxyType(
        {
            **COMMON_REASONS,
            **ALIKE_REASONS,
            **dict.fromkeys(
                ("bands", "rgb", "dates", "crs"),
                "unit, bands, dates and grid of this set are known; import other files as "
                "geotiff-triplets",
            ),
            **dict.fromkeys(COARSE_OPTIONS, "one scale and one nodata hold for both sensors"),
            "split": "its split follows from places or dates",
            "value_range": "reflectance lies in 0 … 1",
        }
    )

    def __init__(self, title: str, known: Published) -> None:
        self.title = title
        self.known = known

    def prepare(self, request: ImportRequest) -> PreparedTriplets:
        """See :class:`rsbench.build.importers.api.Importer`; any known layout is read.

        Dates of the set may be missing. ``scale``, ``offset`` and ``nodata`` hold for both sensors.

        Raises:
            InputError: if a file's sensor or date is not known, the scale is not stated, or images
                do not lie on one grid.
        """
        given = replace(request.options.sensor(), unit="reflectance")
        if request.options.unit not in (None, "reflectance"):
            raise InputError(
                f"import-dataset {request.importer} --unit {request.options.unit}",
                "this set is reflectance",
                "Leave --unit out",
            )
        found = _sorted(request, self.known)
        sensors = []
        for name in (FINE, COARSE):
            files = [_describe(path, self.known) for path in found[name].values()]
            require_alike(files, but=may_differ(given))
            stated = stated_of(request, files[0], given)
            nodata = declared_nodata(given, files[0])
            gsd = self.known.coarse_gsd if name == COARSE else None
            identity = SensorIdentity(name=name, bands=BANDS, gsd=gsd)
            meta = meta_of(request, files[0], stated, nodata, identity)
            read = _reader(stated, given.nodata)
            sensors.append(SensorFiles(tuple(files), tuple(found[name]), meta, nodata, read))
        return prepare_triplets(request, (sensors[0], sensors[1]))


# Files and dates ------------------------------------------------------------------------


def _sorted(request: ImportRequest, known: Published) -> dict[str, dict[date, Path]]:
    """Return the file of every date of both sensors; one image met twice is taken once."""
    folder, kind = request.folder(), request.importer
    found: dict[str, dict[date, Path]] = {FINE: {}, COARSE: {}}
    for path in _images(folder):
        sensor = sensor_of(path)
        day = _in_list(kind, path, date_of(path), sensor, known)
        first = found[sensor].setdefault(day, path)
        if first != path and sha256_file(first) != sha256_file(path):
            raise InputError(
                f"importing {folder} as {kind}",
                f"{first.relative_to(folder)} and {path.relative_to(folder)} both are the "
                f"{sensor} image of {day} and differ",
                "Keep one of them",
            )
    for sensor, dated in found.items():
        if not dated:
            raise InputError(
                f"importing {folder} as {kind}",
                f"no file is a {sensor} image",
                "Name the folder that holds Landsat and MODIS files",
            )
    return {sensor: dict(sorted(dated.items())) for sensor, dated in found.items()}


def _images(folder: Path) -> Iterator[Path]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        suffix = path.suffix.lower()
        if suffix in (*SUFFIXES, ".npy") or (suffix != ".hdr" and has_header(path)):
            yield path


def sensor_of(path: Path) -> str:
    """Return which sensor a file is of, by its name or the folder it lies in.

    Raises:
        InputError: if neither identifies it.
    """
    for text in (path.name, path.parent.name):
        coarse, fine = bool(_COARSE_NAME.search(text)), bool(_FINE_NAME.search(text))
        if coarse != fine:
            return COARSE if coarse else FINE
    raise InputError(
        f"importing {path}",
        "neither its name nor its folder says whether it is Landsat or MODIS",
        "Put it into a folder called Landsat or MODIS",
    )


def date_of(path: Path) -> date:
    """Return the date in a file's name, else that in the name of a folder of one date.

    Raises:
        InputError: if there is none.
    """
    tries = [(p, path.stem) for p in (_BY_DOY, _SCENE, _SHORT, _WHOLE)]
    for pattern, text in (*tries, (_FOLDER, path.parent.name)):
        match = pattern.search(text)
        if match is None:
            continue
        with suppress(InputError):  # a number that is no date, e.g. of a path and row
            return match_date(match, path.name)
    raise InputError(
        f"importing {path}",
        "neither its name nor its folder holds a date",
        "Name it as in the published layouts, or use geotiff-triplets with --dates",
    )


def _in_list(kind: str, path: Path, day: date, sensor: str, known: Published) -> date:
    if day in known.dates:
        return day
    after = day + timedelta(days=1)
    if known.utc and sensor == FINE and after in known.dates:
        return after
    near = min(known.dates, key=lambda other: abs((other - day).days))
    raise InputError(
        f"importing {path} as {kind}",
        f"{day} is none of the {len(known.dates)} dates of {kind}; the nearest is {near}",
        "Leave it out, or use geotiff-triplets for other dates",
    )


# Pixels ---------------------------------------------------------------------------------


def _describe(path: Path, known: Published) -> Raster:
    return describe(path, ImportOptions(), known=Known(len(BANDS), known.nominal))


def _reader(stated: Stated, nodata: float | None) -> Read:
    low, high = -stated.offset / stated.scale, (1.0 - stated.offset) / stated.scale

    def read(raster: Raster, window: Window) -> tuple[Pixels, Mask]:
        pixels, present = read_part(raster, window)
        inside = np.isfinite(pixels) & (pixels >= low) & (pixels <= high)
        # Some copies have 0 in all bands for missing; no surface has 0 in all.
        present &= inside.all(axis=0) & (pixels != 0).any(axis=0)
        return pixels, valid_pixels(raster, pixels, present, nodata)

    return read


CIA = PublishedSet("the published set CIA, as released", PUBLISHED["cia"])
LGC = PublishedSet("the published set LGC, as released", PUBLISHED["lgc"])
AHB = PublishedSet("the published set AHB, as released", PUBLISHED["ahb"])
