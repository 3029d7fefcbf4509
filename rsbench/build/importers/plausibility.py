"""Whether stored numbers can be what is stated: medians, and the share outside a range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from rsbench.build.importers.fills import MOST_FILLED, fills
from rsbench.build.importers.raster import Mask, Pixels, Raster
from rsbench.core.errors import InputError
from rsbench.store.layout import SensorMeta
from rsbench.store.plausible import PlausibleRange, Seen, percent

DARK = 0.01
_THINNED = 8
"""One pixel in so many tells how dark a file is."""


class Plausibility:
    """What the valid numbers of a sensor's files say, window by window."""

    def __init__(
        self,
        files: Sequence[Raster],
        meta: SensorMeta,
        *,
        nodata: float | None = None,
        prefix: str = "",
    ) -> None:
        """Begin with no window.

        Args:
            files: of the sensor.
            meta: how their numbers are read.
            nodata: what missing pixels hold, where it is stated or the first file states it.
            prefix: of the options of this sensor, e.g. ``coarse-``.
        """
        self.files = tuple(files)
        self.meta = meta
        self._nodata, self._option = nodata, f"--{prefix}nodata"
        self._fills: list[Counter[float]] = [Counter() for _ in self.files]
        self._all_valid = [True for _ in self.files]
        self._range = PlausibleRange.of(meta)
        self._dark: list[list[float]] = [[] for _ in self.files]
        self._medians: list[list[float]] = [[] for _ in self.files]
        self._seen = [Seen() for _ in self.files]

    def add(self, number: int, pixels: Pixels, valid: Mask) -> None:
        """Take one window ``(C, h, w)`` of a file, valid at ``(h, w)``."""
        self._all_valid[number] &= bool(valid.all())
        if not valid.any():
            return
        self._fills[number] += fills(pixels, valid)
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
        outside = [
            f"{raster.path.name}: {self._range.described(seen)}"
            for raster, seen in zip(self.files, self._seen, strict=True)
            if seen.outside
        ]
        filled = [
            f"{raster.path.name}: {said}. {self._stated(held)}"
            for number, raster in enumerate(self.files)
            for said, held in self._filled(number)
        ]
        return outside + filled

    def require(self) -> None:
        """Refuse files whose numbers cannot be what is stated.

        Raises:
            InputError: naming the first file whose median, or too many of whose numbers, are not
                plausible in the unit, or many of whose pixels may be missing ones.
        """
        for number, (raster, seen) in enumerate(zip(self.files, self._seen, strict=True)):
            self._require_median(number, raster)
            if seen.excessive:
                extreme, times = seen.extremes[0]
                fill = f"{self._stated(extreme)}; else "
                raise InputError(
                    f"importing {raster.path} as {self.meta.unit}",
                    self._range.described(seen),
                    (fill if 2 * times > seen.outside else "")
                    + "state the true unit, scale or --value-range",
                )
            self._require_no_fill(number, raster)

    def _stated(self, number: float) -> str:
        return f"If {number:g} stands for missing pixels, state it with {self._option} {number:g}"

    def _filled(self, number: int) -> Iterator[tuple[str, float]]:
        """Say which numbers many pixels of a file hold in every band, the most common first."""
        count = self._seen[number].count // len(self.meta.bands)
        for held, times in self._fills[number].most_common():
            if times > MOST_FILLED * count:
                yield f"{percent(times / count)} of its pixels are {held:g} in every band", held

    def _require_no_fill(self, number: int, raster: Raster) -> None:
        """Refuse a file that says nothing of missing pixels and may hold some.

        Black and white are common in display images, which are told of instead.
        """
        known = self._nodata is not None or raster.nodata is not None
        known |= not self._all_valid[number] or self.meta.unit == "display"
        found = [] if known else list(self._filled(number))
        if not found:
            return
        said, held = found[0]
        unused = np.iinfo(raster.dtype).max if np.dtype(raster.dtype).kind in "iu" else -9999
        raise InputError(
            f"importing {raster.path} as {self.meta.unit}",
            f"{said}, and neither a nodata tag nor a mask says what missing pixels hold",
            f"{self._stated(held)}; else state a number that no measured pixel holds, e.g. "
            f"{self._option} {unused:g}",
        )

    def _require_median(self, number: int, raster: Raster) -> None:
        if not self._medians[number]:
            return
        low, high = self._range.stored
        medians = [float(np.median(held)) if held else np.nan for held in self._medians]
        stored = medians[number]
        if low <= stored <= high:
            return
        paired = zip(self.files, medians, strict=True)
        others = [r.path.name for r, median in paired if low <= median <= high][:1]
        raise InputError(
            f"importing {raster.path} as {self.meta.unit}",
            f"its median is {self._range.value(stored):g} with scale {self.meta.scale:g} and "
            f"offset {self.meta.offset:g}" + (f", unlike in {others[0]}" if others else ""),
            "State the true scale; if the files have different units, bring them to one",
        )
