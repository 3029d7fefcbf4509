"""Images of two sensors that show the same ground: samples, readers, and which bands are equal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from rsbench.core.errors import InputError
from rsbench.core.grid import Window
from rsbench.core.progress import Advance, silent
from rsbench.tasks.base import Reading
from rsbench.tasks.windows import whole_window

if TYPE_CHECKING:
    from numpy.random import Generator

    from rsbench.store.read import Store
    from rsbench.tasks.frames import FrameReader, Requests


@dataclass(frozen=True, slots=True)
class Image:
    """One window of one image of a region; ``time`` is the index of its date."""

    region: str
    window: Window
    time: int

    def at(self, window: Window) -> Self:
        """Return the sample with another window."""
        return replace(self, window=window)


@dataclass(frozen=True)
class ImagePool:
    """The images of a split's regions, from which training crops are cut.

    Args:
        reading: what is read.
        regions: of the split.
        lattice: crops begin at multiples of so many pixels.
    """

    reading: Reading
    regions: tuple[str, ...]
    lattice: int = 1

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


def whole_images(groups: Iterable[Iterable[Image]]) -> list[tuple[str, int]]:
    """Return region and date index of every image that windows are cut from, sorted."""
    return sorted({(sample.region, sample.time) for group in groups for sample in group})


def image_reader(
    reading: Reading, sensor: str, bands: tuple[str, ...], advance: Advance = silent
) -> FrameReader[Image]:
    """Return what reads one image per sample of a sensor, on the sensor's own grid."""
    from rsbench.store.cache import open_cache
    from rsbench.tasks.frames import FrameReader

    own = replace(reading, sensor=sensor, bands=bands)
    caches = {sensor: open_cache(reading.store, sensor, progress=advance)}
    return FrameReader(own, caches, lambda sample: _requests(own, sample))


def _requests(reading: Reading, sample: Image) -> Requests:
    """Return the image of a sample, as what is given and as the truth."""
    from rsbench.tasks.frames import Request, Requests

    day = reading.store.region(sample.region).times[reading.sensor][sample.time]
    frame = Request(reading.sensor, (sample.time,))
    return Requests(key=f"{sample.region}:{day.isoformat()}", given=(frame,), truth=frame)


def partners(
    store: Store, sensor: str, bands: Sequence[str], other: str, asked: str,
    remedy: str = "Build the store with bands that both sensors have",
) -> tuple[str, ...]:  # fmt: skip
    """Return the band of another sensor that is equal to each band of a sensor, in their order.

    Bands are the same where their common names are, or, in a store that does not state these,
    their names.

    Args:
        asked: what is asked for, in the error.
        remedy: what helps where a band has no partner.

    Raises:
        InputError: if a band has no partner, or several bands have one common name.
    """
    stated = {str(one["name"]): one["bands"] for one in store.meta.recipe.get("sensors", ())}
    common = {
        name: {str(band["name"]): str(band["common_name"]) for band in stated.get(name, ())}
        for name in (sensor, other)
    }
    every = [common[other].get(band, band) for band in store.sensor(other).bands]
    of = dict(zip(every, store.sensor(other).bands, strict=True))
    wanted = [common[sensor].get(band, band) for band in bands]
    if missing := [band for band in wanted if band not in of]:
        raise InputError(
            asked,
            f"{other} has no band {', '.join(missing)}; it has {', '.join(of)}",
            remedy,
        )
    if twice := sorted({band for band in wanted if max(wanted.count(band), every.count(band)) > 1}):
        raise InputError(
            asked,
            f"several bands of one of them are {', '.join(twice)}",
            "Build the store with one band of each common name",
        )
    return tuple(of[band] for band in wanted)


def require_pairs(store: Store, sensor: str, other: str, asked: str, remedy: str) -> None:
    """Refuse a store in which a region has more images of one of two sensors than of the other.

    Raises:
        InputError: names the region.
    """
    for region in store.regions:
        first, second = (len(store.region(region).times[name]) for name in (sensor, other))
        if first != second:
            found = f"region {region} has {second} and {first} of them, which are no pairs"
            raise InputError(asked, found, remedy)
