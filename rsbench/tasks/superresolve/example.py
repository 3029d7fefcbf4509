"""Made-up pairs for the contract of super-resolution models."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from rsbench.core.grid import Grid
from rsbench.models.api import Card, Given
from rsbench.models.contract_data import SENSOR, SERIES, Samples, Shape

COARSE = "contract-coarse"
RATIO = 4
GAIN, OFFSET = 0.8, 0.05
DETAIL = 0.1


class PairExample:
    """A smooth image with a checkered detail; its area mean, scaled and shifted, is given."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows: whole coarse pixels, one image and one answer."""
        unit = math.lcm(card.multiple_of, RATIO)
        side = card.fixed_size or -(-max(32, 4 * card.halo) // unit) * unit
        return Shape(samples, 1, 1, bands, side)

    def make(self, shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
        """Return samples; ``masked`` marks a share of the given pixels as invalid."""
        plain = SERIES.make(
            replace(shape, context=1, leads=1, made=None), seed=seed, masked=False, members=members
        )
        smooth = plain.given.frames[SENSOR]
        sign = torch.tensor([1.0, -1.0])
        checks = (sign[:, None] * sign).repeat(shape.side // 2, shape.side // 2)
        values = smooth.values * (1 + DETAIL * checks)
        truth = replace(smooth, values=values, valid=torch.ones_like(smooth.valid))
        low = torch.nn.functional.avg_pool2d(values.flatten(0, 3)[:, None], RATIO)
        shown = (GAIN * low + OFFSET).reshape(*values.shape[:4], *low.shape[-2:])
        valid = torch.ones_like(shown[:, :, :, :1], dtype=torch.bool)
        if masked:
            generator = torch.Generator().manual_seed(seed + 1)
            valid = torch.rand(valid.shape, generator=generator) > 0.1
            shown = torch.where(valid, shown, 0)
        coarse = replace(truth, values=shown, valid=valid, times=truth.times.clone())
        grids = tuple(_coarser(grid) for grid in plain.want.grids)
        given = Given({COARSE: coarse}, {COARSE: grids}, plain.given.samples)
        want = replace(
            plain.want, times=truth.times.clone(), context="once", unit=truth.unit,
            value_range=truth.value_range,
        )  # fmt: skip
        return Samples(given, want, truth)


def _coarser(grid: Grid) -> Grid:
    a, b, c, d, e, f = grid.transform
    transform = (a * RATIO, b * RATIO, c, d * RATIO, e * RATIO, f)
    return Grid(grid.crs, transform, grid.height // RATIO, grid.width // RATIO)


EXAMPLE = PairExample()
