"""Reading conditions and images: the map of classes is given, the image is the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rsbench.store.texts import has_texts, text_of
from rsbench.tasks.base import Batch
from rsbench.tasks.classes import TARGET
from rsbench.tasks.generate.texts import caption
from rsbench.tasks.pairs import Image
from rsbench.tasks.segment.reader import LabelReader

if TYPE_CHECKING:
    from rsbench.store.layout import SensorMeta


@dataclass(frozen=True, eq=False)
class ConditionReader:
    """Reads maps of classes and texts as conditions, and images as the truth.

    Args:
        labels: reads images and their labels.
    """

    labels: LabelReader

    def shape(self, sample: Image) -> tuple[Any, ...]:
        """Return the size of the window."""
        return self.labels.shape(sample)

    def assemble(self, samples: Sequence[Image]) -> Batch[Image]:
        """Return the batch of some samples: given the labels, as truth the images."""
        batch = self.labels.assemble(samples)
        sensor = self.labels.images.reading.sensor
        meta = self.labels.reading.store.sensor(sensor)
        return replace(
            batch, sensor=sensor, given={TARGET: batch.truth}, truth=batch.given[sensor],
            texts=tuple(self._text(sample, meta) for sample in samples),
        )  # fmt: skip

    def _text(self, sample: Image, meta: SensorMeta) -> str:
        """Return the text of an image in a store with texts, else one by a template."""
        store = self.labels.reading.store
        if has_texts(store):
            return text_of(
                store, sample.region, store.region(sample.region).times[meta.name][sample.time]
            )
        return caption(self.labels.classes.names, self.labels.class_pixels(sample), meta.gsd)

    def usable(self, sample: Image) -> bool:
        """Return whether a pixel has a class and its image is valid there."""
        return self.labels.usable(sample)

    def valid_share(self, sample: Image) -> float:
        """Return the share of pixels that have a class and are valid."""
        return self.labels.valid_share(sample)

    def dominant(self, sample: Image) -> int:
        """Return the index of the most frequent class, the first of equal ones."""
        return int(torch.from_numpy(self.labels.class_pixels(sample)).argmax())
