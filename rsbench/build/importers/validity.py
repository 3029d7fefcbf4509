"""Which pixels of a file are valid: one rule for every importer.

A pixel is missing where any band holds the nodata number of the file or the one that is stated,
where any band is NaN or infinite, and where the file's mask or alpha band says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rsbench.build.importers.api import SensorOptions
from rsbench.build.importers.pixels import read_part
from rsbench.build.importers.raster import Mask, Pixels, Raster
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


def valid_reader(stated: float | None, prefix: str = "") -> Read:
    """Return a reader of pixels and of where they are valid.

    Args:
        stated: stored number of missing pixels, beside what each file states.
        prefix: of the options of the sensor, e.g. ``coarse-``.
    """
    option = f"--{prefix}nodata"

    def read(raster: Raster, window: Window) -> tuple[Pixels, Mask]:
        pixels, present = read_part(raster, window)
        valid = valid_pixels(raster, pixels, present, stated, option)
        _require_exact(raster, pixels, valid, option)
        return _added(raster, pixels, valid), valid

    return read


def _require_exact(raster: Raster, pixels: Pixels, valid: Mask, option: str) -> None:
    """Refuse integers of 32 bits that float32, in which a store holds them, cannot be."""
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize < 4:
        return
    largest = np.abs(pixels[:, valid].astype(np.int64)).max(initial=0)
    if largest > 2**24:
        raise PixelError(
            f"importing {raster.path}",
            f"it holds {raster.dtype} numbers up to {largest}; a store holds such as float32, "
            f"exact to {2**24}",
            f"If they stand for missing pixels, state it with {option}; else write smaller numbers",
        )


def _added(raster: Raster, pixels: Pixels, valid: Mask) -> Pixels:
    """Return numbers with what is added to those of this file; invalid ones stay any number.

    Raises:
        PixelError: if a valid number leaves the range of its type.
    """
    if raster.added == 0.0:
        return pixels
    if pixels.dtype.kind == "f":
        return np.asarray(pixels + raster.added, pixels.dtype)
    wide = np.where(valid, pixels.astype(np.int64) + int(raster.added), 0)
    limits = np.iinfo(pixels.dtype)
    if wide.min() < limits.min or wide.max() > limits.max:
        raise PixelError(
            f"importing {raster.path}",
            f"with {raster.added:g} added, its numbers leave the range of {pixels.dtype}",
            "Bring all files to one offset first",
        )
    return np.asarray(wide.astype(pixels.dtype))


def valid_pixels(
    raster: Raster, pixels: Pixels, present: Mask, stated: float | None, option: str = "--nodata"
) -> Mask:
    """Return where all bands hold a number ``(h, w)``.

    Args:
        raster: the file.
        pixels: its stored numbers ``(C, h, w)``.
        present: ``(h, w)``, false where its mask or alpha band says that nothing is there.
        stated: stored number of missing pixels, beside what the file states.
        option: the one that states it, for messages.

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
                f"State it with {option} nan, or mask these pixels",
            )
        good &= finite
    return np.asarray(good.all(axis=0))
