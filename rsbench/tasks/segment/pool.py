"""The images of the regions of a split, in windows and as whole regions for training crops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rsbench.tasks.labels import labelled_regions
from rsbench.tasks.pairs import Image, ImagePool
from rsbench.tasks.windows import windows_of

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store
    from rsbench.tasks.base import Reading


def images_of(store: Store, protocol: Protocol, sensor: str, split: str) -> Iterator[Image]:
    """Yield the windows of a split's images, of training those whose labels may be used."""
    for region in _regions(store, protocol, split):
        entry = store.region(region)
        areas = windows_of(
            region, entry.grids[sensor], window=protocol.window, stride=protocol.stride
        )
        for time in range(len(entry.times[sensor])):
            yield from (Image(region, area, time) for area in areas)


def rules_of(reading: Reading) -> Protocol:
    """Return the protocol; without a share of labels where no labels are read."""
    rules = reading.protocol
    return rules if reading.labelled else rules.model_copy(update={"labels": None})


def _regions(store: Store, protocol: Protocol, split: str) -> tuple[str, ...]:
    """Return the regions of a split, of training those whose labels may be used."""
    return labelled_regions(store, protocol) if split == "train" else store.split(split)


def pool_of(reading: Reading, split: str) -> ImagePool:
    """Return the images of a split, from which training crops are cut."""
    return ImagePool(reading, _regions(reading.store, rules_of(reading), split))
