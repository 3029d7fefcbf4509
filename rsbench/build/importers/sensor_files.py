"""One sensor's files in order of time: pixels, validity and plausibility."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from rsbench.build.importers.raster import Mask, Pixels, Raster
from rsbench.build.importers.validity import Read
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.store.layout import SensorArrays, SensorMeta

PLAUSIBLE = {"reflectance": (-0.2, 2.0), "kelvin": (150.0, 400.0)}
"""Medians that a whole image may have, by unit."""


@dataclass(frozen=True)
class SensorFiles:
    """One sensor's files in order of time, and how their numbers are to be read."""

    files: tuple[Raster, ...]
    times: tuple[date, ...]
    meta: SensorMeta
    nodata: float | None
    read: Read

    def recipe(self) -> dict[str, Any]:
        """Return how the files were read, and their digests, as JSON values."""
        return {
            "scale": self.meta.scale,
            "offset": self.meta.offset,
            "nodata": None if self.nodata is None else str(self.nodata),
            "files": {r.path.name: sha256_file(r.path) for r in self.files},
        }


def in_order(dates: Mapping[Any, date], rasters: Sequence[Raster]) -> tuple[Raster, ...]:
    """Return rasters in order of the dates of their paths."""
    return tuple(sorted(rasters, key=lambda r: dates[r.path]))


class Medians:
    """Medians of valid stored numbers, per file and window."""

    def __init__(self, count: int) -> None:
        self.by_file: list[list[float]] = [[] for _ in range(count)]

    def add(self, number: int, pixels: Pixels, valid: Mask) -> None:
        """Take one window ``(C, h, w)`` of a file, valid at ``(h, w)``."""
        if valid.any():
            self.by_file[number].append(float(np.median(pixels[:, valid])))

    def overall(self, meta: SensorMeta) -> float:
        """Return the median of all, in the sensor's unit."""
        every = [value for file in self.by_file for value in file]
        return float(np.median(every)) * meta.scale + meta.offset


def read_block(sensor: SensorFiles, window: Window, medians: Medians) -> SensorArrays:
    """Return one window of every file; its medians are added to ``medians``.

    Args:
        sensor: the files.
        window: rows and columns on the files' grid.
        medians: of the sensor's files, over windows.
    """
    shape = (len(sensor.files), len(sensor.meta.bands), window.height, window.width)
    values = np.empty(shape, sensor.meta.dtype)
    valid = np.empty((shape[0], *shape[2:]), np.bool_)
    for t, raster in enumerate(sensor.files):
        pixels, valid[t] = sensor.read(raster, window)
        values[t] = np.where(valid[t], pixels, sensor.meta.nodata)
        medians.add(t, pixels, valid[t])
    grid = sensor.files[0].grid.window(window)
    return SensorArrays(values, valid, valid.astype(np.uint16), sensor.times, grid)


def require_plausible(sensor: SensorFiles, medians: Medians) -> None:
    """Refuse numbers that cannot be what is stated, as two units in one folder would be.

    Raises:
        InputError: naming the first file whose median is not plausible in the unit.
    """
    meta = sensor.meta
    low, high = PLAUSIBLE.get(meta.unit, (-math.inf, math.inf))
    for raster, found in zip(sensor.files, medians.by_file, strict=True):
        value = float(np.median(found)) * meta.scale + meta.offset if found else low
        if not low <= value <= high:
            others = [r.path.name for r in sensor.files if r is not raster][:1]
            raise InputError(
                f"importing {raster.path} as {meta.unit}",
                f"its median is {value:g} with scale {meta.scale:g} and offset "
                f"{meta.offset:g}" + (f", unlike in {others[0]}" if others else ""),
                "State the true scale; if the files have different units, bring them to one",
            )
