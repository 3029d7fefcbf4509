"""The finer images of pairs, which only training has: their sensor, bands and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rsbench.core.errors import InputError
from rsbench.core.grid import Window, nesting
from rsbench.core.progress import Advance, silent
from rsbench.models.api import Frames
from rsbench.tasks.base import Reading
from rsbench.tasks.frames import FrameReader
from rsbench.tasks.pairs import Image, image_reader, partners, require_pairs

if TYPE_CHECKING:
    from rsbench.store.read import Store


def finer_sensor(store: Store, sensor: str) -> str:
    """Return the sensor of a store whose pixels are parts of those of ``sensor``.

    Raises:
        InputError: if there is none, or several.
    """
    size = store.sensor(sensor).gsd
    finer = [name for name in sorted(store.meta.sensors) if store.sensor(name).gsd < size]
    if len(finer) != 1:
        raise InputError(
            f"training with images finer than {sensor} on {store.path}",
            f"its finer sensors are {', '.join(finer) or 'none'}, and one is needed",
            "Take a preset that needs no finer images, or a store of kind pairs",
        )
    return finer[0]


def paired_bands(store: Store, sensor: str, finer: str) -> tuple[str, ...]:
    """Return the bands of the finer sensor in the order of those of ``sensor``.

    Raises:
        InputError: if a band has no partner.
    """
    asked = f"training with images of {finer} beside {sensor} on {store.path}"
    return partners(store, sensor, store.sensor(sensor).bands, finer, asked)


@dataclass(frozen=True, eq=False)
class FinerImages:
    """Reads the images of the finer sensor over the ground of samples.

    Args:
        sensor: whose pixels the windows of the samples count.
        images: reads the finer sensor.
    """

    sensor: str
    images: FrameReader[Image]

    @classmethod
    def open(cls, reading: Reading, sensor: str, advance: Advance = silent) -> Self:
        """Open the cache of the sensor that is finer than ``sensor``.

        Raises:
            InputError: if there is no such sensor, or its images are not paired with the others.
        """
        finer = finer_sensor(reading.store, sensor)
        bands = paired_bands(reading.store, sensor, finer)
        asked = f"training with images of {finer} beside {sensor} on {reading.store.path}"
        remedy = "Take a preset that needs no finer images, or a store of kind pairs"
        require_pairs(reading.store, sensor, finer, asked, remedy)
        return cls(sensor, image_reader(reading, finer, bands, advance))

    def taught(self, samples: Sequence[Image]) -> dict[str, Frames]:
        """Return the finer frames ``(B, 1, 1, C, k·H, k·W)``, k of their pixels along one side."""
        moved = [self._moved(sample) for sample in samples]
        asked = [self.images.requests(sample).truth for sample in moved]
        return {self.images.reading.sensor: self.images.frames(moved, asked)}

    def usable(self, sample: Image) -> bool:
        """Return whether a finer pixel is valid."""
        return self.images.usable(self._moved(sample))

    def _moved(self, sample: Image) -> Image:
        grids = self.images.reading.store.region(sample.region).grids
        ratio = nesting(grids[self.images.reading.sensor], grids[self.sensor], sample.region)
        part = sample.window
        numbers = (part.y, part.x, part.height, part.width)
        return sample.at(Window(*(ratio * number for number in numbers)))
