"""Block masks over a grid of tokens: one context and one target block per image.

Sizes are drawn once per batch and offsets once per image, from torch's global generator, which the
trainer seeds at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rsbench_baselines._vit import block_size

CONTEXT_SCALE = (0.7, 1.0)
TARGET_SCALE = (0.2, 0.5)
TARGET_ASPECT = (0.75, 1.5)
LEAST = 6


@dataclass(frozen=True)
class Masks:
    """Indices of tokens, row by row: inputs ``context (B, n)``, to predict ``target (B, m)``."""

    context: Tensor
    target: Tensor


def draw(batch: int, grid: tuple[int, int], *, whole: bool, device: torch.device) -> Masks:
    """Draw masks.

    Args:
        grid: rows and columns of tokens.
        whole: let blocks reach every position. As published, offsets are drawn below ``rows −
            height``, so the last row and column are never used in training.
    """
    context = _size(grid, CONTEXT_SCALE, (1.0, 1.0))
    target = _size(grid, TARGET_SCALE, TARGET_ASPECT)
    return Masks(
        torch.stack([_block(grid, context, whole) for _ in range(batch)]).to(device),
        torch.stack([_block(grid, target, whole) for _ in range(batch)]).to(device),
    )


def _size(
    grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float]
) -> tuple[int, int]:
    return block_size(grid, scale, aspect, float(torch.rand((), device="cpu")), LEAST + 1)


def _block(grid: tuple[int, int], size: tuple[int, int], whole: bool) -> Tensor:
    places = [_offset(side - part + whole) for side, part in zip(grid, size, strict=True)]
    y = torch.arange(places[0], places[0] + size[0], device="cpu")
    x = torch.arange(places[1], places[1] + size[1], device="cpu")
    return (y[:, None] * grid[1] + x).reshape(-1)


def _offset(room: int) -> int:
    return int(torch.randint(0, max(room, 1), (), device="cpu"))
