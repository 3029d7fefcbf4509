"""What a lock will cost: scenes, requests, bytes and hours, and where it holds too few scenes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rsbench.build.plan.href import is_web
from rsbench.build.plan.lock import Lock


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """What a build will read. ``bytes`` and ``hours`` are estimates from the rates beside them."""

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

    def explain(self) -> str:
        """Return the summary, the scenes of every year and the units with the fewest scenes."""
        years = "  ".join(f"{year}: {count}" for year, count in sorted(self.by_year.items()))
        few = "  ".join(f"{region} {year}: {count}" for region, year, count in self.fewest)
        return f"{self}\nscenes by year  {years}\nfewest scenes   {few}"

    def __str__(self) -> str:
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
    sensors = {s["name"]: s for s in lock.recipe["sensors"]}
    scenes = requests = 0
    size = pixels = 0.0
    filled = set()
    years = Counter(dict.fromkeys(lock.years, 0))
    each = Counter(dict.fromkeys(lock.units(), 0))
    for region, by_sensor in lock.regions.items():
        place = lock.places[region]
        extent = place.size * place.gsd
        for name, by_year in by_sensor.items():
            sensor = sensors.get(name, _LABELS)
            side = extent / sensor["gsd"]
            mask_side = extent / (sensor["mask"]["gsd"] or sensor["gsd"])
            for year, items in by_year.items():
                years[year] += len(items)
                each[region, year] += len(items)
                filled.add((region, year))
                scenes += len(items)
                for item in items:
                    pixels += side * side * len(item.assets)
                    size += side * side * len(item.assets) * _BYTES_PER_PIXEL
                    size += mask_side * mask_side * len(item.masks) * _MASK_BYTES_PER_PIXEL
                    requests += len(item.assets) * (2 + max(1, round(side / _BLOCK)) ** 2)
                    requests += len(item.masks) * 3
    units = len(list(lock.units()))
    rates = f"{_PIXELS_PER_SECOND / 1e6:.0f} Mpx/s on 2 cores"
    seconds = pixels / _PIXELS_PER_SECOND
    if is_web(lock.catalogue):
        seconds = max(seconds, size / _NETWORK_BYTES_PER_SECOND, requests * _LATENCY / _IN_FLIGHT)
        rates += (
            f", {_NETWORK_BYTES_PER_SECOND / 1e6:.0f} MB/s, "
            f"{_LATENCY * 1e3:.0f} ms per request, {_IN_FLIGHT} at a time"
        )
    return PlanSummary(
        recipe=str(lock.recipe["name"]),
        provider=lock.provider,
        regions=len(lock.regions),
        units=units,
        empty_units=units - len(filled),
        scenes=scenes,
        requests=requests,
        bytes=round(size),
        hours=round(seconds / 3600, 4),
        rates=rates,
        by_year=dict(years),
        fewest=tuple(
            (*unit, count) for unit, count in sorted(each.items(), key=lambda u: (u[1], u[0]))[:3]
        ),
    )
