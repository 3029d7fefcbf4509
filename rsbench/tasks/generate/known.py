"""Entries known without a model: the real images, and training images of the same class."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rsbench.tasks.classes import TARGET
from rsbench.tasks.pairs import Image

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.models.api import SampleRef
    from rsbench.tasks.base import Case
    from rsbench.tasks.generate.reader import ConditionReader


def real(case: Case, index: int) -> Tensor:
    """Return the truth itself."""
    return case.truth[:, index]


@dataclass(frozen=True, eq=False)
class TrainImages:
    """Answers with a training image whose most frequent class is that of the condition.

    The image is chosen by a hash of seed and sample. Where no training image has that class, it is
    any of them. Invalid pixels get the mean of the image's valid ones in each band.

    Args:
        reader: reads conditions and images.
        by_class: index of a class → windows of the training split where it is the most frequent.
    """

    reader: ConditionReader
    by_class: dict[int, list[Image]]
    seed: int

    @classmethod
    def of(cls, reader: ConditionReader, samples: Sequence[Image], seed: int) -> TrainImages:
        """Return the answers from windows of the training split."""
        found: dict[int, list[Image]] = defaultdict(list)
        for sample in samples:
            if reader.usable(sample):
                found[reader.dominant(sample)].append(sample)
        return cls(reader, dict(found), seed)

    def __call__(self, case: Case, index: int) -> Tensor:
        """Return ``(B, C, H, W)`` in the sensor's unit."""
        shares = case.given.frames[TARGET].values[:, 0, -1].sum((-1, -2))
        chosen = [
            self._chosen(int(row.argmax()), ref)
            for row, ref in zip(shares, case.samples, strict=True)
        ]
        truth = self.reader.assemble(chosen).truth
        values, valid = truth.values[:, 0, 0], truth.valid[:, 0, 0]
        mean = (values * valid).sum((-1, -2)) / valid.sum((-1, -2)).clamp(min=1)
        return torch.where(valid, values, mean[..., None, None])

    def _chosen(self, label: int, ref: SampleRef) -> Image:
        every = [sample for one in self.by_class.values() for sample in one]
        own = self.by_class.get(label, every)
        text = f"{self.seed} {ref.key} {ref.window.y} {ref.window.x}"
        return own[int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % len(own)]
