"""Whether stored numbers can be what the unit says: the share outside a plausible range."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from rsbench.store.layout import SensorArrays, SensorMeta
from rsbench.store.tree import Tree, provenance

PLAUSIBLE = {"reflectance": (-0.2, 2.0), "kelvin": (150.0, 400.0), "index": (-1.0, 1.0)}
"""Values that the ground may have, by unit; display values may lie anywhere in their range."""
MOST_OUTSIDE = 0.01
"""Where a larger share of numbers is outside, the image is refused."""
OUTSIDE = "outside"
"""Entry of a region's provenance: sensor → date → counts, only of dates with numbers outside."""
_KEPT = 16

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


class Radiometry(Protocol):
    """How the stored numbers of a sensor are read: ``value = stored · scale + offset``."""

    @property
    def unit(self) -> str:
        """The unit of values."""

    @property
    def scale(self) -> float:
        """Factor of stored numbers."""

    @property
    def offset(self) -> float:
        """Added to the product."""

    @property
    def value_range(self) -> tuple[float, float]:
        """The value range for metrics."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Counts of valid numbers.

    Args:
        count: all of them.
        outside: those outside the plausible range.
        extremes: the most common of these as stored, with their counts, the most common first.
    """

    count: int = 0
    outside: int = 0
    extremes: tuple[tuple[float, int], ...] = ()

    def __add__(self, other: Seen) -> Seen:
        both = Counter(dict(self.extremes))
        both.update(dict(other.extremes))
        return Seen(
            self.count + other.count, self.outside + other.outside, tuple(both.most_common(_KEPT))
        )

    @property
    def excessive(self) -> bool:
        """Whether an image with these numbers is refused."""
        return self.outside > MOST_OUTSIDE * self.count

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form: counts, and the most common number outside as stored."""
        extreme, times = self.extremes[0]
        return {"count": self.count, "outside": self.outside, "extreme": extreme, "times": times}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        extremes = ((float(value["extreme"]), int(value["times"])),)
        return cls(int(value["count"]), int(value["outside"]), extremes)


@dataclass(frozen=True, slots=True)
class PlausibleRange:
    """The values that the ground may have in a sensor's unit, and how stored numbers are read."""

    unit: str
    scale: float
    offset: float
    low: float
    high: float

    @classmethod
    def of(cls, sensor: Radiometry) -> Self:
        """Return the range of a sensor."""
        ends = PLAUSIBLE.get(sensor.unit, sensor.value_range)
        return cls(sensor.unit, sensor.scale, sensor.offset, *ends)

    @property
    def stored(self) -> tuple[float, float]:
        """The range in stored numbers, wider by rounding."""
        ends = [(value - self.offset) / self.scale for value in (self.low, self.high)]
        slack = 1e-9 * max(map(abs, ends))
        return min(ends) - slack, max(ends) + slack

    def value(self, stored: float) -> float:
        """Return a stored number in the unit."""
        return stored * self.scale + self.offset

    def seen(self, pixels: Pixels, valid: Mask) -> Seen:
        """Count the numbers ``(C, h, w)`` of an image, valid at ``(h, w)``."""
        count = int(np.count_nonzero(valid)) * len(pixels)
        low, high = self.stored
        if pixels.dtype.kind in "iu":
            limits = np.iinfo(pixels.dtype)
            low, high = math.ceil(low), math.floor(high)
            if low <= limits.min and high >= limits.max:
                return Seen(count)
            low, high = max(low, limits.min), min(high, limits.max)
        apart = ((pixels < low) | (pixels > high)) & valid
        values, times = np.unique(pixels[apart], return_counts=True)
        order = np.argsort(times, kind="stable")[::-1][:_KEPT]
        extremes = tuple((float(values[i]), int(times[i])) for i in order)
        return Seen(count, int(times.sum()), extremes)

    def described(self, seen: Seen) -> str:
        """Return what share is outside, and the most common number there; some must be outside."""
        extreme, times = seen.extremes[0]
        share = percent(seen.outside / seen.count)
        return (
            f"{share} of its numbers lie outside {self.low:g} … {self.high:g} "
            f"{self.unit}, most often {extreme:g} ({self.value(extreme):g}; {times} times)"
        )


def percent(share: float) -> str:
    """Return a share above 0 in percent, with two significant digits where it is small."""
    return f"{share:.{max(1, 1 - math.floor(math.log10(100 * share)))}%}"


def implausible(sensor: Radiometry, pixels: Pixels, valid: Mask) -> str:
    """Return why an image ``(C, h, w)`` cannot be what its unit says; empty where it can."""
    known = PlausibleRange.of(sensor)
    seen = known.seen(pixels, valid)
    return known.described(seen) if seen.excessive else ""


def outside_of(
    sensors: Mapping[str, SensorArrays], metas: Mapping[str, SensorMeta]
) -> dict[str, dict[str, Any]]:
    """Return sensor → date → counts in JSON form, of dates with numbers outside."""
    found: dict[str, dict[str, Any]] = {}
    for name, arrays in sorted(sensors.items()):
        known = PlausibleRange.of(metas[name])
        for day, pixels, valid in zip(arrays.times, arrays.values, arrays.valid, strict=True):
            seen = known.seen(pixels, valid)
            if seen.outside:
                found.setdefault(name, {})[day.isoformat()] = seen.to_json()
    return found


@dataclass(frozen=True, slots=True)
class Implausible:
    """An image of a store that has numbers outside the plausible range.

    Args:
        says: the share and the most common number, in words.
    """

    region: str
    sensor: str
    day: str
    seen: Seen
    says: str


def implausible_images(
    tree: Tree, regions: Sequence[str], metas: Mapping[str, SensorMeta]
) -> Iterator[Implausible]:
    """Yield the images of a store that have numbers outside, as its regions record them."""
    for region in regions:
        for sensor, days in provenance(tree, region).get(OUTSIDE, {}).items():
            known = PlausibleRange.of(metas[sensor])
            for day, value in sorted(days.items()):
                seen = Seen.from_json(value)
                yield Implausible(region, sensor, day, seen, known.described(seen))
