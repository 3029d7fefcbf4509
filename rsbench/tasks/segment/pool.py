"""The images of the regions of a split, in windows and as whole regions for training crops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsbench.tasks.pairs import Image
from rsbench.tasks.segment.labelled import labelled_regions
from rsbench.tasks.windows import whole_window, windows_of

if TYPE_CHECKING:
    from numpy.random import Generator

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


@dataclass(frozen=True)
class Images:
    """The images of a split's regions, from which training crops are cut."""

    reading: Reading
    regions: tuple[str, ...]
    lattice: int = 1

    @classmethod
    def of(cls, reading: Reading, split: str) -> Images:
        """Return the images of a split."""
        return cls(reading, _regions(reading.store, rules_of(reading), split))

    def longest(self, leads: int) -> int:
        """Return 1: every sample has one image."""
        return 1

    def fitting(self, context: int, leads: int) -> tuple[str, ...]:
        """Return all regions."""
        return self.regions

    def draw(self, rng: Generator, region: str, context: int, leads: int) -> Image:
        """Return a whole image of a region."""
        entry, sensor = self.reading.store.region(region), self.reading.sensor
        time = int(rng.integers(len(entry.times[sensor])))
        return Image(region, whole_window(entry.grids[sensor]), time)
