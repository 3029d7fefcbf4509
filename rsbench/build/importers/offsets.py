"""Files of one sensor with several offsets: brought to the lowest of them, or refused.

Sentinel-2 products of processing baseline 04.00, in use since 25 January 2022, add 1000 to every
number. A store has one offset, so that a number is added to those of other files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from rsbench.build.importers.api import ImportRequest, SensorOptions
from rsbench.build.importers.dates import parse_date
from rsbench.build.importers.layout import Images
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.sensor_files import SensorFiles
from rsbench.core.errors import InputError, PixelError

SINCE = date(2022, 1, 25)
"""First day of processing baseline 04.00 of Sentinel-2."""
OFFSET = -0.1
_JUMP = (0.07, 0.13)
_WHOLE = 1e-3


def _stated(request: ImportRequest, images: Images, given: SensorOptions) -> Images:
    """Return the images with the offset that is stated for those from a date on.

    Raises:
        InputError: if the files state offsets themselves.
    """
    stated = request.options.offset_from
    if stated is None:
        return images
    since = parse_date(stated[0], "--offset-from")
    before = given.offset or 0.0
    for raster in images.rasters:
        if raster.offset != 0.0:
            raise InputError(
                f"--offset-from {stated[0]} {stated[1]:g}",
                f"{raster.path.name} states the offset {raster.offset:g}",
                "Leave --offset-from out",
            )
    rasters = tuple(
        _offset(raster, given.scale or raster.scale, stated[1] if day >= since else before)
        for raster, day in zip(images.rasters, images.times, strict=True)
    )
    return replace(images, rasters=rasters)


def _offset(raster: Raster, scale: float, offset: float) -> Raster:
    parts = tuple(_offset(part, scale, offset) for part in raster.parts)
    return replace(raster, scale=scale, offset=offset, parts=parts)


def one_offset(request: ImportRequest, regions: Mapping[str, Images]) -> dict[str, Images]:
    """Return images of several offsets with the lowest one, and what is added to their numbers.

    Raises:
        InputError: if an offset is stated for files that have their own, or the difference of two
            is no whole number of an integer type.
    """
    given = request.options.sensor()
    stated = {name: _stated(request, images, given) for name, images in regions.items()}
    every = [raster for images in stated.values() for raster in images.rasters]
    brought = iter(_brought(every, given.scale))
    return {
        name: replace(images, rasters=tuple(next(brought) for _ in images.rasters))
        for name, images in stated.items()
    }


def _brought(rasters: Sequence[Raster], scale: float | None) -> tuple[Raster, ...]:
    offsets = {raster.offset for raster in rasters}
    if len(offsets) < 2 or len({raster.scale for raster in rasters}) > 1:
        return tuple(rasters)
    step = scale or rasters[0].scale
    common = min(offsets) if step > 0 else max(offsets)
    found = []
    for raster in rasters:
        added = (raster.offset - common) / step
        if not raster.dtype.startswith("float") and abs(added - round(added)) > _WHOLE:
            raise InputError(
                f"importing {raster.path}",
                f"its offset {raster.offset:g} and {common:g} of others are no whole number of "
                f"steps of {step:g} apart",
                "Bring all files to one offset first",
            )
        whole = added if raster.dtype.startswith("float") else round(added)
        found.append(replace(raster, offset=common, added=whole))
    return tuple(found)


def require_one_offset(
    request: ImportRequest, series: SensorFiles, found: Plausibility, *, coarse: bool = False
) -> None:
    """Refuse reflectance that rises with Sentinel-2's baseline 04.00 while no offset is stated.

    The darkest numbers of the files before and from 25 January 2022 on are compared, since they
    change little from date to date.

    Raises:
        PixelError: if they rise by about 0.1; names both ways to state what is true.
    """
    given = request.options.coarse() if coarse else request.options.sensor()
    stated = given.offset is not None or request.options.offset_from is not None
    meta = series.meta
    if stated or meta.unit != "reflectance" or meta.dtype == "float32" or meta.offset != 0.0:
        return
    dark = [found.dark(number) for number in range(len(series.files))]
    known = [(d, day) for d, day in zip(dark, series.times, strict=True) if d is not None]
    before = [value for value, day in known if day < SINCE]
    after = [value for value, day in known if day >= SINCE]
    if not before or not after:
        return
    low, high = float(np.median(before)), float(np.median(after))
    if not _JUMP[0] <= high - low <= _JUMP[1]:
        return
    name = f"{given.prefix}offset".replace("-", "_")
    told = request.command(offset_from=(str(SINCE), OFFSET))
    raise PixelError(
        f"importing {request.source} as reflectance",
        f"the darkest numbers rise from {low:.3g} to {high:.3g} in the files from {SINCE} on, as "
        "in Sentinel-2 of processing baseline 04.00, which adds 0.1",
        f"If it was not taken off, type: {told} ; if all files have one offset, type: "
        f"{request.command(**{name: 0.0})}",
    )
