"""CIA, LGC and AHB: published pairs of Landsat and MODIS, from the layouts they come in.

Known layouts: one folder per date (``2004_107_Apr16/20040416_TM.npy`` beside
``MOD09GA_A2004107.sur_refl.npy``), one folder per pair of dates, and one folder per sensor
(``Landsat/L_2015-6-21.tif``, ``MODIS/M_2015-6-21.tif``); files are GeoTIFFs, flat binaries with an
ENVI header, or NumPy arrays. Dates are those of the published lists: Landsat files of CIA carry
the date in UTC, which is the day before, so both are paired through the list and never by name.
The scale is stated or refused: copies with bytes and with reflectance × 10000 are both about.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.engine.builder import BuildResult
from rsbench.build.engine.staging import place
from rsbench.build.importers.flat_files import FlatImage, header_of, open_flat, read_flat
from rsbench.build.importers.raster import (
    Raster,
    describe,
    meta_of,
    read_part,
    require_alike,
    stated_of,
)
from rsbench.build.importers.triplet_store import (
    COARSE,
    FINE,
    Read,
    SensorFiles,
    require_common,
    write_pair,
)
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window, nesting

BANDS = ("blue", "green", "red", "nir", "swir1", "swir2")
_RASTERS = (".tif", ".tiff")


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


def import_published(
    kind: str,
    source: Path | str,
    out: Path | str,
    *,
    scale: float | None = None,
    offset: float | None = None,
    nodata: float | None = None,
    region_size: int | None = None,
) -> BuildResult:
    """Make a store of a published set; a pixel with a band outside 0 … 1 is not valid.

    Args:
        kind: ``cia``, ``lgc`` or ``ahb``.
        source: folder of any of the known layouts; dates may be missing.
        out: folder of the store; absent or empty.
        scale, offset: ``reflectance = stored · scale + offset`` of both sensors.
        nodata: stored number of missing pixels of both.
        region_size: cut the image into blocks; one region where None.

    Raises:
        InputError: if a file's sensor or date is not known, the scale is not stated, or images do
            not lie on one grid.
    """
    folder, target = Path(source), Path(out)
    known = PUBLISHED[kind]
    found = _sorted(kind, folder, known)
    sensors = []
    for name in (FINE, COARSE):
        dated = found[name]
        files = [_describe(path, known) for path in dated.values()]
        require_alike(files)
        how = stated_of(folder, target, files[0], "reflectance", scale, offset, kind=kind)
        gsd = known.coarse_gsd if name == COARSE else None
        meta = meta_of(folder, files[0], how, nodata, BANDS, name=name, gsd=gsd)
        declared = nodata if nodata is not None else files[0].nodata
        reader = _reader(how.scale, how.offset, declared)
        sensors.append(SensorFiles(tuple(files), tuple(dated), meta, declared, reader))
    pair = (sensors[0], sensors[1])
    require_common(folder, pair)
    ratio = nesting(pair[0].files[0].grid, pair[1].files[0].grid, str(folder))
    with place(target) as root:
        digest = write_pair(folder, root, pair, kind=kind, ratio=ratio, region_size=region_size)
    return BuildResult(target, digest, complete=True)


# Files and dates ------------------------------------------------------------------------


def _sorted(kind: str, folder: Path, known: Published) -> dict[str, dict[date, Path]]:
    """Return the file of every date of both sensors; one image met twice is taken once."""
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
    if not folder.is_dir():
        raise InputError(f"importing {folder}", "there is no such folder", "Give a folder")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        suffix = path.suffix.lower()
        if suffix in (*_RASTERS, ".npy") or (suffix != ".hdr" and _has_header(path)):
            yield path


def _has_header(path: Path) -> bool:
    try:
        header_of(path)
    except InputError:
        return False
    return True


def sensor_of(path: Path) -> str:
    """Return which sensor a file is of, by its name or the folder it lies in.

    Raises:
        InputError: if neither tells.
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
        parts = match.groupdict()
        try:
            if "doy" in parts:
                return datetime.strptime(f"{parts['year']} {parts['doy']}", "%Y %j").date()
            return date(int(parts["year"]), int(parts["month"]), int(parts["day"]))
        except ValueError:
            continue
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
    if path.suffix.lower() in _RASTERS:
        raster = describe(path, None, nominal=lambda h, w: _nominal(known, h, w))
        if raster.bands != len(BANDS):
            raise InputError(
                f"importing {path}",
                f"it has {raster.bands} bands",
                f"The set has {len(BANDS)}: {', '.join(BANDS)}",
            )
        return raster
    image = _flat(path)
    grid = image.grid or _nominal(known, *image.pixels.shape[1:])
    dtype = image.pixels.dtype.newbyteorder("=").name
    return Raster(path, grid, len(BANDS), dtype, image.nodata, ("",) * len(BANDS), 1.0, 0.0, "")


def _nominal(known: Published, height: int, width: int) -> Grid:
    """Return a grid of the right pixel size whose place is not known."""
    size = known.pixel
    return Grid(known.crs, (size, 0.0, 0.0, 0.0, -size, size * height), height, width)


@lru_cache(maxsize=64)
def _flat(path: Path) -> FlatImage:
    return open_flat(path, len(BANDS))


def _reader(scale: float, offset: float, nodata: float | None) -> Read:
    low, high = -offset / scale, (1.0 - offset) / scale

    def read(raster: Raster, window: Window) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        if raster.path.suffix.lower() in _RASTERS:
            pixels = read_part(raster, window)
        else:
            pixels = read_flat(_flat(raster.path), window)
        good = np.isfinite(pixels) & (pixels >= low) & (pixels <= high)
        if nodata is not None:
            good &= pixels != nodata
        # Nothing on the ground is 0 in all bands: it is what some copies have for missing.
        return pixels, good.all(axis=0) & (pixels != 0).any(axis=0)

    return read
