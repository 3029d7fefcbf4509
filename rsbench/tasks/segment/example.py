"""Made-up images and labels for the contract of segmentation models."""

from __future__ import annotations

from dataclasses import replace

import torch

from rsbench.models.api import Card, Frames
from rsbench.models.contract_data import SENSOR, SERIES, Samples, Shape
from rsbench.tasks.classes import TARGET, UNIT

CLASSES = ("low", "middle", "high")
LIMITS = (0.25, 0.45)
FINE = "contract-fine"
RATIO = 4


class ImageExample:
    """One image; the class of a pixel is the range in which its mean over bands lies."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows: one image, and one answer."""
        whole = SERIES.shape(card, samples, leads, bands)
        return replace(whole, context=1, leads=1, classes=len(CLASSES))

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
        taught = {FINE: _finer(image, seed)} if shape.taught else {}
        return Samples(replace(plain.given, taught=taught), want, truth)


def _finer(image: Frames, seed: int) -> Frames:
    """Return an image of pixels of a quarter of the side, whose area mean is the image."""
    values = image.values.repeat_interleave(RATIO, -2).repeat_interleave(RATIO, -1)
    height, width = image.values.shape[-2:]
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.rand(*values.shape[:-2], height, 1, width, 1, generator=generator)
    sign = torch.tensor([1.0, -1.0]).repeat(RATIO // 2)
    checked = pattern * 0.1 * sign[:, None, None] * sign
    return replace(
        image, values=values + checked.reshape(values.shape),
        valid=image.valid.repeat_interleave(RATIO, -2).repeat_interleave(RATIO, -1),
    )  # fmt: skip


EXAMPLE = ImageExample()
