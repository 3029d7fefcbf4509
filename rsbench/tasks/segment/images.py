"""Reading the images of one sensor of a store with labels."""

from __future__ import annotations

from dataclasses import replace

from rsbench.core.progress import Advance, silent
from rsbench.store.cache import open_cache
from rsbench.tasks.base import Reading
from rsbench.tasks.frames import FrameReader, Request, Requests
from rsbench.tasks.segment.samples import Image


def image_reader(
    reading: Reading, sensor: str, bands: tuple[str, ...], advance: Advance = silent
) -> FrameReader[Image]:
    """Return what reads one image per sample of a sensor, on the sensor's own grid."""
    own = replace(reading, sensor=sensor, bands=bands)
    caches = {sensor: open_cache(reading.store, sensor, progress=advance)}
    return FrameReader(own, caches, lambda sample: requests(own, sample))


def requests(reading: Reading, sample: Image) -> Requests:
    """Return the image of a sample; it stands for the truth until the labels replace it."""
    day = reading.store.region(sample.region).times[reading.sensor][sample.time]
    frame = Request(reading.sensor, (sample.time,))
    return Requests(key=f"{sample.region}:{day.isoformat()}", given=(frame,), truth=frame)
