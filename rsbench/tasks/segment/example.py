"""Made-up images and labels for the contract of segmentation models."""

from __future__ import annotations

from dataclasses import replace

import torch

from rsbench.models.api import Card, Given
from rsbench.models.contract_data import SENSOR, SERIES, Samples, Shape
from rsbench.tasks.segment.samples import TARGET, UNIT

CLASSES = ("low", "middle", "high")
LIMITS = (0.25, 0.45)


class ImageExample:
    """One image; the class of a pixel is the range in which its mean over bands lies."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows: one image, and one answer."""
        return replace(SERIES.shape(card, samples, leads, bands), context=1, leads=1)

    def make(self, shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
        """Return samples; ``masked`` marks a share of the given pixels as invalid."""
        whole = replace(shape, context=1, leads=1, made=None)
        plain = SERIES.make(whole, seed=seed, masked=masked, members=members)
        clear = SERIES.make(whole, seed=seed, masked=False, members=members)
        image = clear.given.frames[SENSOR]
        mean = image.values.mean(dim=3)
        codes = torch.bucketize(mean, torch.tensor(LIMITS))
        values = torch.nn.functional.one_hot(codes, len(CLASSES)).movedim(-1, 3).float()
        truth = replace(
            image, values=values.contiguous(), valid=torch.ones_like(values[:, :, :, :1]).bool(),
            bands=CLASSES, unit=UNIT,
        )  # fmt: skip
        want = replace(
            plain.want, sensor=TARGET, bands=CLASSES, times=image.times.clone(), context="once"
        )
        return Samples(
            Given(plain.given.frames, plain.given.grids, plain.given.samples), want, truth
        )


EXAMPLE = ImageExample()
