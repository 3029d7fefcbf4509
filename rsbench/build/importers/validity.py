"""Which pixels of a file are valid: one rule for every importer.

A pixel is missing where any band holds the nodata number of the file or the one that is stated,
where any band is NaN or infinite, and where the file's mask or alpha band says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rsbench.build.importers.api import SensorOptions
from rsbench.build.importers.raster import Mask, Pixels, Raster, read_part
from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window

Read = Callable[[Raster, Window], tuple[Pixels, Mask]]
"""Stored numbers ``(C, h, w)`` of a window of a file, and where they are valid ``(h, w)``."""


def declared_nodata(given: SensorOptions, first: Raster) -> float | None:
    """Return the stored number of missing pixels: as stated, else as the files state it.

    Args:
        given: what is stated of the sensor.
        first: a file of the sensor; all are alike.

    Raises:
        InputError: if it is no number that the files can hold.
    """
    if given.nodata is not None:
        if not _can_hold(first.dtype, given.nodata):
            raise InputError(
                f"--{given.prefix}nodata {given.nodata:g}",
                f"{first.path.name} holds {first.dtype} numbers, which cannot be {given.nodata:g}",
                "State a number that occurs in the files",
            )
        return given.nodata
    if first.nodata is not None and not _can_hold(first.dtype, first.nodata):
        raise InputError(
            f"importing {first.path}",
            f"its nodata tag is {first.nodata:g}, which {first.dtype} numbers cannot be",
            f"State the number of missing pixels with --{given.prefix}nodata, or repair the tag",
        )
    return first.nodata


def may_differ(given: SensorOptions) -> tuple[str, ...]:
    """Return the fields in which files of a sensor may differ: their tags, if nodata is stated."""
    return () if given.nodata is None else ("nodata",)


def _can_hold(dtype: str, number: float) -> bool:
    kind = np.dtype(dtype)
    if kind.kind not in "iu":
        return True
    info = np.iinfo(kind)
    return math.isfinite(number) and number == int(number) and info.min <= number <= info.max


def valid_reader(stated: float | None) -> Read:
    """Return a reader of pixels and of where they are valid.

    Args:
        stated: stored number of missing pixels, beside what each file states.
    """

    def read(raster: Raster, window: Window) -> tuple[Pixels, Mask]:
        pixels, present = read_part(raster, window)
        return pixels, valid_pixels(raster, pixels, present, stated)

    return read


def valid_pixels(raster: Raster, pixels: Pixels, present: Mask, stated: float | None) -> Mask:
    """Return where all bands hold a number ``(h, w)``.

    Args:
        raster: the file.
        pixels: its stored numbers ``(C, h, w)``.
        present: ``(h, w)``, false where its mask or alpha band says that nothing is there.
        stated: stored number of missing pixels, beside what the file states.

    Raises:
        PixelError: if a pixel is NaN or infinite, and neither nodata nor a mask marks it.
    """
    declared = {number for number in (raster.nodata, stated) if number is not None}
    good = np.broadcast_to(present, pixels.shape).copy()
    for number in declared:
        if not math.isnan(number):
            good &= pixels != (pixels.dtype.type(number) if pixels.dtype.kind == "f" else number)
    if pixels.dtype.kind == "f":
        finite = np.isfinite(pixels)
        bad = ~finite & good
        if bad.any() and not any(map(math.isnan, declared)):
            raise PixelError(
                f"importing {raster.path}",
                f"it holds NaN or infinite pixels in band {int(np.argwhere(bad)[0][0]) + 1} and "
                "declares no such nodata",
                "State it with --nodata nan, or mask these pixels",
            )
        good &= finite
    return np.asarray(good.all(axis=0))
