"""A small UPerNet: pyramid pooling over the last map of tokens, joined with three earlier ones.

T. Xiao et al., "Unified perceptual parsing for scene understanding", ECCV 2018, arXiv 1807.10221,
with 128 channels, depthwise 3×3 convolutions and group norms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench import InputError

CHANNELS = 128
BINS = (1, 2, 3, 6)
SCALES = (4.0, 2.0, 1.0, 0.5)
"""Sides of the four maps over those of the tokens, first map first."""
GROUPS = 8


class UPerNet(nn.Module):
    """The head; below half a million weights for tokens of 384 features.

    Args:
        width: features D of a token.
        classes: K.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.pooled = nn.ModuleList(_point(width, CHANNELS // len(BINS)) for _ in BINS)
        self.bottom = _near(width + CHANNELS, CHANNELS)
        self.sides = nn.ModuleList(_point(width, CHANNELS) for _ in SCALES[:-1])
        self.smooth = nn.ModuleList(_near(CHANNELS, CHANNELS) for _ in SCALES[:-1])
        self.join = _near(len(SCALES) * CHANNELS, CHANNELS)
        self.classify = nn.Conv2d(CHANNELS, classes, 1)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Map four token maps ``(B, D, h, w)`` to logits ``(B, K, H, W)``.

        Raises:
            InputError: for another number of maps.
        """
        if len(maps) != len(SCALES):
            raise InputError(
                "head=upernet",
                f"it reads {len(SCALES)} maps of tokens, and the encoder gives {len(maps)}",
                "Use head=lda, knn, linear or linear.p2",
            )
        scaled = [resized(x, _sides(x, scale)) for x, scale in zip(maps, SCALES, strict=True)]
        levels = [side(x) for side, x in zip(self.sides, scaled[:-1], strict=True)]
        levels.append(self.bottom(self._pyramid(scaled[-1])))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resized(levels[i], _shape(levels[i - 1]))
        levels[:-1] = [smooth(x) for smooth, x in zip(self.smooth, levels[:-1], strict=True)]
        joined = self.join(torch.cat([resized(x, _shape(levels[0])) for x in levels], dim=1))
        return resized(self.classify(joined), size)

    def _pyramid(self, x: Tensor) -> Tensor:
        parts = [
            resized(point(F.adaptive_avg_pool2d(x, bins)), _shape(x))
            for bins, point in zip(BINS, self.pooled, strict=True)
        ]
        return torch.cat([x, *parts], dim=1)


def _point(inputs: int, outputs: int) -> nn.Sequential:
    layers = nn.Conv2d(inputs, outputs, 1, bias=False), nn.GroupNorm(GROUPS, outputs), nn.ReLU()
    return nn.Sequential(*layers)


def _near(inputs: int, outputs: int) -> nn.Sequential:
    around = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(around, *_point(inputs, outputs))


def _sides(x: Tensor, scale: float) -> tuple[int, int]:
    rows, columns = (max(int(side * scale), 1) for side in x.shape[-2:])
    return rows, columns


def _shape(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(B, C, h, w)`` bilinearly; values of that size are unchanged."""
    if _shape(x) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
