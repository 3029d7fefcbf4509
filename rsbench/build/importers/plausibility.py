"""Whether stored numbers can be what is stated: medians, and the share outside a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rsbench.build.importers.raster import Mask, Pixels, Raster
from rsbench.core.errors import InputError
from rsbench.store.layout import SensorMeta
from rsbench.store.plausible import PlausibleRange, Seen

DARK = 0.01
_THINNED = 8
"""One pixel in so many tells how dark a file is."""


class Plausibility:
    """What the valid numbers of a sensor's files say, window by window."""

    def __init__(self, files: Sequence[Raster], meta: SensorMeta) -> None:
        self.files = tuple(files)
        self.meta = meta
        self._range = PlausibleRange.of(meta)
        self._dark: list[list[float]] = [[] for _ in self.files]
        self._medians: list[list[float]] = [[] for _ in self.files]
        self._seen = [Seen() for _ in self.files]

    def add(self, number: int, pixels: Pixels, valid: Mask) -> None:
        """Take one window ``(C, h, w)`` of a file, valid at ``(h, w)``."""
        if not valid.any():
            return
        chosen = pixels[:, valid]
        self._medians[number].append(float(np.median(chosen)))
        self._dark[number].append(float(np.quantile(chosen[:, ::_THINNED], DARK, method="lower")))
        self._seen[number] += self._range.seen(pixels, valid)

    def median(self) -> float:
        """Return the median of all files, in the sensor's unit."""
        every = [value for file in self._medians for value in file]
        return self._range.value(float(np.median(every)))

    def dark(self, number: int) -> float | None:
        """Return the darkest hundredth of a file, in the sensor's unit; None without a pixel."""
        found = self._dark[number]
        return self._range.value(float(np.median(found))) if found else None

    def notes(self) -> list[str]:
        """Return one line per file that has some numbers outside, below the share refused."""
        return [
            f"{raster.path.name}: {self._range.described(seen)}"
            for raster, seen in zip(self.files, self._seen, strict=True)
            if seen.outside
        ]

    def require(self) -> None:
        """Refuse files whose numbers cannot be what is stated.

        Raises:
            InputError: naming the first file whose median, or too many of whose numbers, are not
                plausible in the unit.
        """
        for number, (raster, seen) in enumerate(zip(self.files, self._seen, strict=True)):
            self._require_median(number, raster)
            if seen.excessive:
                extreme, times = seen.extremes[0]
                fill = f"If {extreme:g} stands for missing pixels, state it with --nodata; else "
                raise InputError(
                    f"importing {raster.path} as {self.meta.unit}",
                    self._range.described(seen),
                    (fill if 2 * times > seen.outside else "")
                    + "state the true unit, scale or --value-range",
                )

    def _require_median(self, number: int, raster: Raster) -> None:
        if not self._medians[number]:
            return
        stored, (low, high) = float(np.median(self._medians[number])), self._range.stored
        if low <= stored <= high:
            return
        others = [r.path.name for r in self.files if r is not raster][:1]
        raise InputError(
            f"importing {raster.path} as {self.meta.unit}",
            f"its median is {self._range.value(stored):g} with scale {self.meta.scale:g} and "
            f"offset {self.meta.offset:g}" + (f", unlike in {others[0]}" if others else ""),
            "State the true scale; if the files have different units, bring them to one",
        )
