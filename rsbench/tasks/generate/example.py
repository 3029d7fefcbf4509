"""Made-up maps of classes and images for the contract of generation models."""

from __future__ import annotations

from dataclasses import replace

import torch

from rsbench.models.api import Card, Given
from rsbench.models.contract_data import SENSOR, SERIES, Samples, Shape
from rsbench.tasks.classes import TARGET, UNIT

CLASSES = ("lowest", "low", "middle", "high", "highest")
LEAST_SIDE = 16
LIMITS = (0.2, 0.27, 0.33, 0.4)


class ConditionExample:
    """A map of five classes; the class of a pixel is the range of its mean over bands."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows: one map, and one answer."""
        whole = SERIES.shape(card, samples, leads, bands)
        unit = card.multiple_of
        side = card.fixed_size or -(-max(LEAST_SIDE, 4 * card.halo) // unit) * unit
        return replace(whole, context=1, leads=1, side=side, classes=len(CLASSES))

    def make(self, shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
        """Return samples; ``masked`` marks a share of the map's pixels as without a class."""
        made = replace(shape, context=1, leads=1, made=None)
        clear = SERIES.make(made, seed=seed, masked=False, members=members)
        plain = SERIES.make(made, seed=seed, masked=masked, members=members)
        image = clear.given.frames[SENSOR]
        codes = torch.bucketize(image.values.mean(dim=3), torch.tensor(LIMITS))
        values = torch.nn.functional.one_hot(codes, len(CLASSES)).movedim(-1, 3).float()
        valid = plain.given.frames[SENSOR].valid
        given = replace(
            image, values=(values * valid).contiguous(), valid=valid, bands=CLASSES, unit=UNIT,
            value_range=(0.0, 1.0),
        )  # fmt: skip
        grids, refs = clear.given.grids[SENSOR], clear.given.samples
        texts = tuple(f"a satellite image, number {row}" for row in range(shape.samples))
        want = replace(
            plain.want, times=image.times.clone(), context="once", unit=image.unit,
            value_range=image.value_range,
        )  # fmt: skip
        return Samples(Given({TARGET: given}, {TARGET: grids}, refs, texts=texts), want, image)


EXAMPLE = ConditionExample()
