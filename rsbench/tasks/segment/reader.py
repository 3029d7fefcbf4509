"""Reading images and labels: the truth of a pixel is 1 for its class and 0 for the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from rsbench.models.api import Frames
from rsbench.tasks.base import Batch, Reading
from rsbench.tasks.classes import IGNORED, TARGET, UINT8, UNIT, Classes
from rsbench.tasks.frames import FrameReader
from rsbench.tasks.pairs import Image
from rsbench.tasks.segment.finer import FinerImages

if TYPE_CHECKING:
    from rsbench.store.read import Store


@dataclass(frozen=True, eq=False)
class LabelReader:
    """Reads images of the input sensor and their labels.

    Args:
        reading: store and protocol; its bands are the names of the classes.
        images: reads the input sensor.
        classes: the classes of the store.
        hidden: regions whose labels are not read: none of their pixels has a class.
        finer: reads the images that only training has.
    """

    reading: Reading
    images: FrameReader[Image]
    classes: Classes
    hidden: frozenset[str] = frozenset()
    finer: FinerImages | None = None

    def shape(self, sample: Image) -> tuple[Any, ...]:
        """Return the size of the window."""
        return (sample.window.height, sample.window.width)

    def assemble(self, samples: Sequence[Image]) -> Batch[Image]:
        """Return the batch of some samples: given the images, as truth their labels."""
        batch = self.images.assemble(samples)
        sensor = batch.sensor
        indices = np.stack([self._indices(sample) for sample in samples])
        seen = torch.from_numpy(indices != IGNORED)[:, None, None, None]
        flat = torch.from_numpy(np.where(indices == IGNORED, 0, indices).astype(np.int64))
        one_hot = torch.nn.functional.one_hot(flat, len(self.classes.names))
        values = one_hot.permute(0, 3, 1, 2)[:, None, None].float() * seen
        truth = Frames(
            values=values.contiguous(), valid=seen, times=batch.given[sensor].times[:, -1:].clone(),
            bands=self.classes.names, unit=UNIT, predicted=(False,), value_range=(0.0, 1.0),
        )  # fmt: skip
        grids = {**batch.grids, TARGET: batch.grids[sensor]}
        taught = self.finer.taught(samples) if self.finer else {}
        return replace(batch, sensor=TARGET, grids=grids, truth=truth, taught=taught)

    def usable(self, sample: Image) -> bool:
        """Return whether a pixel has a class; where no labels are read, whether it is valid."""
        if self.finer is not None and not self.finer.usable(sample):
            return False
        if not self.reading.labelled:
            return self.images.usable(sample)
        return bool((self._indices(sample) != IGNORED).any())

    def valid_share(self, sample: Image) -> float:
        """Return the share of pixels that have a class; of valid ones without labels."""
        if not self.reading.labelled:
            return self.images.valid_share(sample)
        return float((self._indices(sample) != IGNORED).mean())

    def class_pixels(self, sample: Image) -> npt.NDArray[np.int64]:
        """Return ``(K,)`` numbers of pixels of each class."""
        whole = np.bincount(self._indices(sample).ravel(), minlength=IGNORED + 1)
        return whole[: len(self.classes.names)]

    def _indices(self, sample: Image) -> UINT8:
        """Return ``(H, W)``: a pixel whose image is masked, or whose label is hidden, has none.

        Where the reading is not labelled, no label is read.
        """
        if not self.reading.labelled or sample.region in self.hidden:
            return np.full((sample.window.height, sample.window.width), IGNORED, np.uint8)
        store, sensor = self.reading.store, self.images.reading.sensor
        whole = _label_indices(store, sample.region, sensor)
        rows, columns = sample.window.slices
        _, valid = self.images.caches[sensor].patch(sample.region, sample.window, (sample.time,))
        found: UINT8 = np.where(valid[0], whole[sample.time, rows, columns], IGNORED)
        return found


@lru_cache(maxsize=256)
def _label_indices(store: Store, region: str, sensor: str) -> UINT8:
    """Return ``(T, H, W)`` class indices of a region."""
    classes = Classes.of(store.attributes(region, sensor, "labels"))
    return classes.indices(store.read(region, sensor, array="labels"), f"region {region}")
