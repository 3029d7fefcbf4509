"""Reading pairs: the coarse image is given on its own grid, the fine one is the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from rsbench.core.progress import Advance, silent
from rsbench.models.api import Frames, SampleRef
from rsbench.tasks.base import Batch, Reading
from rsbench.tasks.frames import FrameReader
from rsbench.tasks.pairs import Image, image_reader
from rsbench.tasks.superresolve.samples import SensorPair, coarser, given_bands, sensor_pair


@dataclass(frozen=True, eq=False)
class PairReader:
    """Reads pairs; windows of samples count pixels of the fine sensor.

    Args:
        fine, coarse: read the images of one sensor each.
    """

    pair: SensorPair
    fine: FrameReader[Image]
    coarse: FrameReader[Image]

    @classmethod
    def open(cls, reading: Reading, advance: Advance = silent) -> Self:
        """Open the caches of both sensors."""
        pair = sensor_pair(reading.store)
        bands = given_bands(reading.store, pair, reading.bands)
        fine = image_reader(reading, pair.fine, reading.bands, advance)
        return cls(pair, fine, image_reader(reading, pair.coarse, bands, advance))

    def shape(self, sample: Image) -> tuple[Any, ...]:
        """Return the size of the window."""
        return (sample.window.height, sample.window.width)

    def assemble(self, samples: Sequence[Image]) -> Batch[Image]:
        """Return the batch of some samples; frames given are ``(B, 1, 1, C, H / k, W / k)``."""
        low = [self._coarse(sample) for sample in samples]
        refs = tuple(SampleRef(s.region, self.fine.requests(s).key, s.window) for s in samples)
        parts = ((self.fine, samples), (self.coarse, low))
        grids = {
            reader.reading.sensor: tuple(
                reader.reading.store.region(s.region).grids[reader.reading.sensor].window(s.window)
                for s in own
            )
            for reader, own in parts
        }
        truth, given = (_frames(reader, own) for reader, own in parts)
        return Batch(tuple(samples), refs, self.pair.fine, grids, {self.pair.coarse: given}, truth)

    def usable(self, sample: Image) -> bool:
        """Return whether both images have a valid pixel."""
        return self.fine.usable(sample) and self.coarse.usable(self._coarse(sample))

    def valid_share(self, sample: Image) -> float:
        """Return the share of valid pixels of the fine image."""
        return self.fine.valid_share(sample)

    def _coarse(self, sample: Image) -> Image:
        return sample.at(coarser(sample.window, self.pair.ratio))


def _frames(reader: FrameReader[Image], samples: Sequence[Image]) -> Frames:
    return reader.frames(samples, [reader.requests(sample).truth for sample in samples])
