"""Which tokens an encoder sees and which are predicted; every draw is from a generator passed in.

Indices count tokens row by row; ``(B, n)``: n tokens of each of B images. Images that draw
different numbers of tokens keep a random part as large as the smallest number, so that no part
of the grid is seen less than another.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rsbench_baselines._vit import block_size

TARGETS = 4
TARGET_SCALE = (0.15, 0.2)
TARGET_ASPECT = (0.75, 1.5)
CONTEXT_SCALE = (0.85, 1.0)
LEAST = 10
TRIES = 200
BLOCK_SIDE = (0.4, 0.7)
BLOCK_ASPECT = (0.5, 2.0)


@dataclass(frozen=True)
class Masks:
    """Tokens seen ``context (B, n)``, and blocks to predict ``targets (B, 4, m)``."""

    context: Tensor
    targets: Tensor


def least_context(grid: int) -> int:
    """Return the fewest tokens of a context: 10 as published, on small grids a sixth of all."""
    return min(LEAST, max(grid * grid // 6, 1))


def multi_block(batch: int, grid: int, generator: Generator) -> Masks:
    """Draw the masks of I-JEPA: four blocks to predict, and a large block without them.

    Sizes are drawn once per batch, offsets per image. An image whose context is smaller than
    ``least_context`` is drawn again.

    Args:
        grid: tokens along a side, 4 at least.

    Raises:
        ValueError: where no draw leaves enough context.
    """
    sides = (grid, grid)
    target = block_size(sides, TARGET_SCALE, TARGET_ASPECT, _uniform(generator))
    context = block_size(sides, CONTEXT_SCALE, (1.0, 1.0), _uniform(generator))
    blocks = torch.empty(batch, TARGETS, grid * grid, dtype=torch.bool)
    seen = torch.zeros(batch, grid * grid, dtype=torch.bool)
    again = torch.arange(batch)
    for _ in range(TRIES):
        blocks[again] = _placed((len(again), TARGETS), grid, target, generator)
        whole = _placed((len(again),), grid, context, generator)
        seen[again] = whole & ~blocks[again].any(dim=1)
        again = (seen.sum(dim=1) < least_context(grid)).nonzero()[:, 0]
        if not len(again):
            indices = blocks.nonzero()[:, 2].reshape(batch, TARGETS, -1)
            return Masks(subsample(seen, generator), indices)
    raise ValueError(f"four blocks leave no context on a grid of {grid}×{grid} tokens")


def visible_subset(
    batch: int, count: int, visible: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw visible tokens at random, as LatentMIM does.

    Args:
        count: tokens of an image.
        visible: of them to be seen.

    Returns:
        The visible tokens ``(B, visible)``, and the others ``(B, count − visible)``.
    """
    order = torch.rand(batch, count, generator=generator).argsort(dim=1)
    return order[:, :visible], order[:, visible:]


def rectangle(batch: int, grid: int, generator: Generator) -> Tensor:
    """Draw one rectangle per image, ``(B, n)``.

    The area is uniform between the squares of 0.4 and 0.7 of the side, the aspect ratio between
    1/2 and 2; sides are whole tokens between 0.4 and 0.7 of the grid's.
    """
    low, high = (max(int(share * grid), 1) for share in BLOCK_SIDE)
    masks = []
    for _ in range(batch):
        area = low**2 + _uniform(generator) * (high**2 - low**2)
        aspect = BLOCK_ASPECT[0] + _uniform(generator) * (BLOCK_ASPECT[1] - BLOCK_ASPECT[0])
        sides = ((area / aspect) ** 0.5, (area * aspect) ** 0.5)
        height, width = (min(max(int(side), low), high) for side in sides)
        masks.append(_placed((1,), grid, (height, width), generator))
    return subsample(torch.cat(masks), generator)


def subsample(masks: Tensor, generator: Generator) -> Tensor:
    """Return tokens of each mask ``(B, N)`` bool, as many as the smallest has, drawn at random."""
    count = int(masks.sum(dim=1).min())
    keys = torch.rand(masks.shape, generator=generator).masked_fill(~masks, 2.0)
    return keys.argsort(dim=1)[:, :count].sort(dim=1).values


def _placed(
    shape: tuple[int, ...], grid: int, size: tuple[int, int], generator: Generator
) -> Tensor:
    """Return blocks of one size at random places: ``(*shape, grid²)`` bool."""
    inside = []
    for side in size:
        start = torch.randint(0, grid - side + 1, (*shape, 1), generator=generator)
        place = torch.arange(grid)
        inside.append((place >= start) & (place < start + side))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(-2)


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))
