"""Made-up triplets for the contract of fusion models."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from rsbench.models.api import Card, Frames, Given
from rsbench.models.contract_data import SENSOR, SERIES, Samples, Shape

COARSE = "contract-coarse"
FOOTPRINT = 8


class TripletExample:
    """A series whose block means are the coarse images, the target between two references."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows: whole coarse pixels, and one target date."""
        unit = math.lcm(card.multiple_of, FOOTPRINT)
        side = card.fixed_size or -(-32 // unit) * unit
        references = max(card.min_context, min(2, card.max_context or 2))
        return Shape(samples, references, 1, bands, side)

    def make(self, shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
        """Return samples; ``masked`` marks a share of the given pixels as invalid."""
        return _triplets(replace(shape, leads=1), seed=seed, masked=masked, members=members)


TRIPLETS = TripletExample()


def _triplets(shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
    """Make a series, and show its blocks' means as the coarse sensor of every date."""
    K = shape.context
    plain = SERIES.make(shape, seed=seed, masked=False, members=members)
    context, truth = plain.given.frames[SENSOR], plain.truth
    series = torch.cat([context.values, truth.values], dim=2)
    times = torch.cat([context.times, truth.times], dim=1)
    # The target lies between two references, or after a single one.
    order = [0, 2, 1] if K == 2 else [0, 1]
    series = series[:, :, order]
    blocks = torch.nn.functional.avg_pool2d(series.flatten(0, 3)[:, None], FOOTPRINT)
    coarse = torch.nn.functional.interpolate(blocks, scale_factor=FOOTPRINT).view(series.shape)
    at, refs = [K - 1 if K == 2 else K], [0, K] if K == 2 else [0]
    generator = torch.Generator().manual_seed(seed + 1)

    def shown(values: Tensor, dates: list[int], share: float) -> Frames:
        picked = values[:, :, dates].clone()
        valid = torch.ones_like(picked[:, :, :, :1], dtype=torch.bool)
        if masked:
            valid = torch.rand(valid.shape, generator=generator) > share
            picked = torch.where(valid, picked, 0)
        return replace(
            context, values=picked, valid=valid, times=times[:, dates].clone(),
            predicted=(False,) * len(dates),
        )  # fmt: skip

    fine = shown(series, refs, 0.1)
    low = replace(shown(coarse, list(range(K + 1)), 0.05), footprint=FOOTPRINT)
    grids = plain.want.grids
    given = Given({SENSOR: fine, COARSE: low}, {SENSOR: grids, COARSE: grids}, plain.given.samples)
    target = series[:, :, at].clone()
    answer = replace(truth, values=target, valid=torch.ones_like(target[:, :, :, :1]).bool())
    answer = replace(answer, times=times[:, at].clone())
    want = replace(plain.want, times=answer.times.clone(), context="each")
    return Samples(given, want, answer)
