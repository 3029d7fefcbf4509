"""Estimated cost of a build from a lock: scenes, requests, bytes, hours, and the emptiest units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rsbench.build.plan.href import is_web
from rsbench.build.plan.lock import Lock, LockItem
from rsbench.build.plan.omissions import described, totals


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a build will read, and what it leaves out.

    ``bytes`` and ``hours`` are estimates from the rates beside them. ``left``: see
    :func:`rsbench.build.plan.omissions.totals`.
    """

    recipe: str
    provider: str
    regions: int
    units: int
    empty_units: int
    scenes: int
    requests: int
    bytes: int
    hours: float
    rates: str
    by_year: Mapping[int, int] = field(default_factory=dict)
    fewest: tuple[tuple[str, int, int], ...] = ()
    left: tuple[Mapping[str, Any], ...] = ()

    def explain(self) -> str:
        """Return the summary, the scenes of every year and the units with the fewest scenes."""
        years = "  ".join(f"{year}: {count}" for year, count in sorted(self.by_year.items()))
        few = "  ".join(f"{region} {year}: {count}" for region, year, count in self.fewest)
        text = f"{self.head()}\nscenes by year  {years}\nfewest scenes   {few}"
        return "\n".join((text, *map(described, self.left)))

    def __str__(self) -> str:
        return "\n".join((self.head(), *map(described, self.left)))

    def head(self) -> str:
        """Return the totals as one line."""
        empty = f" ({self.empty_units} without any scene)" if self.empty_units else ""
        return (
            f"{self.recipe} from {self.provider}: {self.regions} regions, "
            f"{self.units} region-years{empty}, {self.scenes} scenes, {self.requests} requests, "
            f"{self.bytes / 1e9:.2f} GB, about {self.hours:.2f} hours ({self.rates})"
        )


# Measured on two cores: compressed bytes per pixel of 16-bit reflectance and of class bands,
# pixels decoded and composited per second; assumed: the network.
_BYTES_PER_PIXEL = 1.72
_MASK_BYTES_PER_PIXEL = 0.16
_PIXELS_PER_SECOND = 100e6
_NETWORK_BYTES_PER_SECOND = 50e6
_LATENCY = 0.05
_IN_FLIGHT = 24
_BLOCK = 512
_LABELS: Mapping[str, Any] = {"gsd": 10.0, "mask": {"gsd": None}}
"""A label layer is read as one more band; few of them make no difference to the estimate."""


def describe(lock: Lock) -> PlanSummary:
    """Return the scenes, requests, bytes and hours of a build from a lock."""
    each = Counter(dict.fromkeys(lock.units(), 0))
    years = Counter(dict.fromkeys(lock.years, 0))
    requests, pixels, size = 0, 0.0, 0.0
    for region, by_sensor in lock.regions.items():
        for name, by_year in by_sensor.items():
            side, mask_side = _sides(lock, region, name)
            for year, items in by_year.items():
                each[region, year] += len(items)
                years[year] += len(items)
                for item in items:
                    cost = _cost(item, side, mask_side)
                    requests, pixels, size = requests + cost[0], pixels + cost[1], size + cost[2]
    seconds, rates = _time(requests, pixels, size, web=is_web(lock.catalogue))
    fewest = sorted(each.items(), key=lambda unit: (unit[1], unit[0]))[:3]
    return PlanSummary(
        recipe=str(lock.recipe["name"]),
        provider=lock.provider,
        regions=len(lock.regions),
        units=len(each),
        empty_units=sum(count == 0 for count in each.values()),
        scenes=sum(each.values()),
        requests=int(requests),
        bytes=round(size),
        hours=round(seconds / 3600, 4),
        rates=rates,
        by_year=dict(years),
        fewest=tuple((*unit, count) for unit, count in fewest),
        left=totals(lock.left),
    )


def _sides(lock: Lock, region: str, name: str) -> tuple[float, float]:
    """Return the side of a region in pixels of a sensor, and of its quality layer."""
    sensors = {s["name"]: s for s in lock.recipe["sensors"]}
    place, sensor = lock.places[region], sensors.get(name, _LABELS)
    extent = place.size * place.gsd
    return extent / sensor["gsd"], extent / (sensor["mask"]["gsd"] or sensor["gsd"])


def _cost(item: LockItem, side: float, mask_side: float) -> tuple[int, float, float]:
    """Return requests, pixels and bytes of one scene."""
    pixels = side * side * len(item.assets)
    masks = mask_side * mask_side * len(item.masks)
    blocks = max(1, round(side / _BLOCK)) ** 2
    return (
        len(item.assets) * (2 + blocks) + len(item.masks) * 3,
        pixels,
        pixels * _BYTES_PER_PIXEL + masks * _MASK_BYTES_PER_PIXEL,
    )


def _time(requests: float, pixels: float, size: float, *, web: bool) -> tuple[float, str]:
    """Return the estimated seconds, and the rates they follow from."""
    seconds, rates = pixels / _PIXELS_PER_SECOND, f"{_PIXELS_PER_SECOND / 1e6:.0f} Mpx/s on 2 cores"
    if not web:
        return seconds, rates
    return max(seconds, size / _NETWORK_BYTES_PER_SECOND, requests * _LATENCY / _IN_FLIGHT), (
        f"{rates}, {_NETWORK_BYTES_PER_SECOND / 1e6:.0f} MB/s, "
        f"{_LATENCY * 1e3:.0f} ms per request, {_IN_FLIGHT} at a time"
    )
