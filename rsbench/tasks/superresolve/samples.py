"""The two sensors of a store of pairs, and windows that fall on whole pixels of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError
from rsbench.core.grid import Window, nesting
from rsbench.tasks.pairs import Image, partners, require_pairs
from rsbench.tasks.windows import windows_of

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store

HALVINGS = 8
"""Windows are multiples of it where they can be: networks with three levels then need no margin."""


@dataclass(frozen=True)
class SensorPair:
    """The sensors of a store of pairs; ``ratio`` fine pixels lie along one side of a coarse one."""

    fine: str
    coarse: str
    ratio: int


def sensor_pair(store: Store) -> SensorPair:
    """Return the finer and the coarser sensor of a store.

    Raises:
        InputError: if there are not two sensors of different pixel size, regions differ in the
            ratio of pixel sizes, or a region has more images of one of them.
    """
    asked = f"super-resolution on {store.path}"
    remedy = "Take a store of two sensors: rsbench build-dataset --recipe demo-pairs"
    metas = sorted(store.meta.sensors.values(), key=lambda meta: meta.gsd)
    if len(metas) != 2 or metas[0].gsd == metas[1].gsd:
        sizes = ", ".join(f"{meta.name} ({meta.gsd:g} m)" for meta in metas)
        raise InputError(asked, f"its sensors are {sizes}", remedy)
    fine, coarse = (meta.name for meta in metas)
    require_pairs(store, coarse, fine, asked, remedy)
    grids = {name: store.region(name).grids for name in store.regions}
    ratios = {
        nesting(own[fine], own[coarse], f"region {name}"): name for name, own in grids.items()
    }
    if len(ratios) > 1 or 1 in ratios:
        found = ", ".join(f"{ratio} in region {name}" for ratio, name in sorted(ratios.items()))
        raise InputError(
            asked,
            f"fine pixels along one side of a coarse pixel: {found}",
            "Put regions of one ratio above 1 into one store",
        )
    return SensorPair(fine, coarse, next(iter(ratios)))


def given_bands(store: Store, pair: SensorPair, bands: tuple[str, ...]) -> tuple[str, ...]:
    """Return the bands of the coarse sensor: first those of the wanted bands, then the others.

    Raises:
        InputError: if the coarse sensor lacks a wanted band.
    """
    asked = f"super-resolution of {', '.join(bands)} of {pair.fine} on {store.path}"
    remedy = "List bands that both have as `bands` in a protocol file, or build the store with them"
    first = partners(store, pair.fine, bands, pair.coarse, asked, remedy)
    return (*first, *(band for band in store.sensor(pair.coarse).bands if band not in first))


def fitted(protocol: Protocol, store: Store, pair: SensorPair) -> Protocol:
    """Return the protocol with windows that lie in all regions, on whole coarse pixels.

    Where window or stride change, the name says so.
    """
    grids = [store.region(name).grids[pair.fine] for name in store.regions]
    side = min(min(grid.height, grid.width) for grid in grids)
    unit = math.lcm(pair.ratio, HALVINGS)
    unit = unit if min(side, protocol.window) >= unit else pair.ratio

    def whole(size: int) -> int:
        return max(unit, min(side, size) // unit * unit)

    window, stride = whole(protocol.window), whole(protocol.stride)
    if (window, stride) == (protocol.window, protocol.stride):
        return protocol
    changes = {"name": f"{protocol.name}/w{window}", "window": window, "stride": stride}
    return protocol.model_copy(update=changes)


def images(store: Store, protocol: Protocol, sensor: str, split: str) -> Iterator[Image]:
    """Yield the windows of all images of a split's regions, in pixels of a sensor."""
    for region in store.split(split):
        entry = store.region(region)
        grid = entry.grids[sensor]
        areas = windows_of(region, grid, window=protocol.window, stride=protocol.stride)
        for time in range(len(entry.times[sensor])):
            yield from (Image(region, area, time) for area in areas)


def coarser(window: Window, ratio: int) -> Window:
    """Return a window of the fine grid in coarse pixels.

    Raises:
        InputError: if it does not fall on whole coarse pixels.
    """
    numbers = (window.y, window.x, window.height, window.width)
    if any(number % ratio for number in numbers):
        raise InputError(
            f"window {window.height}×{window.width} at row {window.y}, column {window.x}",
            f"a coarse pixel spans {ratio} fine pixels",
            f"Choose a window on multiples of {ratio}",
        )
    return Window(*(number // ratio for number in numbers))
