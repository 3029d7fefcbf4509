"""Whether stored numbers can be what is stated: medians, and the share outside a range."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from rsbench.build.importers.raster import Mask, Pixels, Raster
from rsbench.core.errors import InputError
from rsbench.store.layout import SensorMeta

PLAUSIBLE = {"reflectance": (-0.2, 2.0), "kelvin": (150.0, 400.0), "index": (-1.0, 1.0)}
"""Values that the ground may have, by unit; display values may lie anywhere in their range."""
MOST_OUTSIDE = 0.01
"""From this share of numbers outside on, a file is refused."""
_KEPT = 16
DARK = 0.01
_THINNED = 8
"""One pixel in so many tells how dark a file is."""


class Plausibility:
    """What the valid numbers of a sensor's files say, window by window."""

    def __init__(self, files: Sequence[Raster], meta: SensorMeta) -> None:
        self.files = tuple(files)
        self.meta = meta
        self._range = PLAUSIBLE.get(meta.unit, meta.value_range)
        ends = [(value - meta.offset) / meta.scale for value in self._range]
        slack = 1e-9 * max(map(abs, ends))
        self._low, self._high = min(ends) - slack, max(ends) + slack
        self._dark: list[list[float]] = [[] for _ in self.files]
        self._medians: list[list[float]] = [[] for _ in self.files]
        self._outside: list[Counter[float]] = [Counter() for _ in self.files]
        self._counts = np.zeros((len(self.files), 2), np.int64)

    def add(self, number: int, pixels: Pixels, valid: Mask) -> None:
        """Take one window ``(C, h, w)`` of a file, valid at ``(h, w)``."""
        if not valid.any():
            return
        chosen = pixels[:, valid]
        self._medians[number].append(float(np.median(chosen)))
        self._dark[number].append(float(np.quantile(chosen[:, ::_THINNED], DARK, method="lower")))
        outside = chosen[(chosen < self._low) | (chosen > self._high)]
        self._counts[number] += outside.size, chosen.size
        values, counts = np.unique(outside, return_counts=True)
        for i in np.argsort(counts)[-_KEPT:]:
            self._outside[number][float(values[i])] += int(counts[i])

    def median(self) -> float:
        """Return the median of all files, in the sensor's unit."""
        return self._value(float(np.median([value for file in self._medians for value in file])))

    def dark(self, number: int) -> float | None:
        """Return the darkest hundredth of a file, in the sensor's unit; None without a pixel."""
        found = self._dark[number]
        return self._value(float(np.median(found))) if found else None

    def notes(self) -> list[str]:
        """Return one line per file that has some numbers outside, below the share refused."""
        return [
            f"{raster.path.name}: {self._described(number)}"
            for number, raster in enumerate(self.files)
            if self._counts[number, 0]
        ]

    def require(self) -> None:
        """Refuse files whose numbers cannot be what is stated.

        Raises:
            InputError: naming the first file whose median, or too many of whose numbers, are not
                plausible in the unit.
        """
        for number, raster in enumerate(self.files):
            self._require_median(number, raster)
            outside, count = self._counts[number]
            if outside > MOST_OUTSIDE * count:
                extreme, times = self._outside[number].most_common(1)[0]
                fill = f"If {extreme:g} stands for missing pixels, state it with --nodata; else "
                raise InputError(
                    f"importing {raster.path} as {self.meta.unit}",
                    self._described(number),
                    (fill if 2 * times > outside else "")
                    + "state the true unit, scale or --value-range",
                )

    def _require_median(self, number: int, raster: Raster) -> None:
        if not self._medians[number]:
            return
        stored = float(np.median(self._medians[number]))
        if self._low <= stored <= self._high:
            return
        others = [r.path.name for r in self.files if r is not raster][:1]
        raise InputError(
            f"importing {raster.path} as {self.meta.unit}",
            f"its median is {self._value(stored):g} with scale {self.meta.scale:g} and offset "
            f"{self.meta.offset:g}" + (f", unlike in {others[0]}" if others else ""),
            "State the true scale; if the files have different units, bring them to one",
        )

    def _value(self, stored: float) -> float:
        return stored * self.meta.scale + self.meta.offset

    def _described(self, number: int) -> str:
        outside, count = self._counts[number]
        extreme, times = self._outside[number].most_common(1)[0]
        low, high = self._range
        share = outside / count
        digits = max(1, 1 - math.floor(math.log10(100 * share)))
        return (
            f"{share:.{digits}%} of its numbers lie outside {low:g} … {high:g} "
            f"{self.meta.unit}, most often {extreme:g} ({self._value(extreme):g}; {times} times)"
        )
