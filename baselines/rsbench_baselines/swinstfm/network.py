"""SwinSTFM: two encoders of windowed attention, and a decoder that transfers the coarse change.

G. Chen and others, "SwinSTFM", IEEE TGRS 2022; wiring after the released code
(LouisChen0104/swinstfm, ``models/``). A level's map is taken before its window blocks: the first is
the embedding, the others come from merging. Each fusion layer has one norm for each of its three
maps. No norm stands behind an encoder's level or before the head.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from rsbench_baselines.swinstfm.sizes import Size
from rsbench_baselines.swinstfm.windows import FusionBlock, stack
from rsbench_baselines.tokens import Merging


class Enlarge(nn.Module):
    """3×3 convolution to four times the channels, spread over twice the sides."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, 2H, 2W, C)``."""
        x = pixel_shuffle(self.conv(x.permute(0, 3, 1, 2)), 2)
        return x.permute(0, 2, 3, 1)


class Encoder(nn.Module):
    """2×2 pixels to a token; window blocks and merging per level."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths = size.widths
        self.embed = nn.Conv2d(size.bands, widths[0], 2, stride=2)
        self.norm = nn.LayerNorm(widths[0])
        self.levels = nn.ModuleList(
            stack(width, depth, size.head, size.window)
            for width, depth in zip(widths[:-1], size.depths, strict=True)
        )
        self.merging = nn.ModuleList(Merging(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return maps ``(N, h, w, C)`` of ``(N, bands, H, W)``, the smallest last."""
        found = [self.norm(self.embed(x).permute(0, 2, 3, 1))]
        for level, merging in zip(self.levels, self.merging, strict=True):
            found.append(merging(level(found[-1])))
        return found


class Fusion(nn.Module):
    """Fusion blocks on the coarse change, to which the map of the fine reference is added.

    The norms of the three maps serve all blocks of the layer.
    """

    def __init__(self, width: int, depth: int, size: Size) -> None:
        super().__init__()
        self.norm_c0 = nn.LayerNorm(width)
        self.norm_f0 = nn.LayerNorm(width)
        self.norm_c1 = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            FusionBlock(width, size.head, size.window, shifted=i % 2 == 1, released=size.released)
            for i in range(depth)
        )

    def forward(self, c0: Tensor, f0: Tensor, c1: Tensor) -> Tensor:
        """Return ``(N, h, w, C)`` from maps of that shape."""
        change = c1 - c0
        maps = self.norm_c0(c0), self.norm_f0(f0), self.norm_c1(c1)
        for block in self.blocks:
            change = block(change, *maps)
        return change + f0


class UpLevel(nn.Module):
    """Joins coarse target, fused map and the map from below, then window blocks."""

    def __init__(self, width: int, outputs: int, depth: int, size: Size, *, last: bool) -> None:
        super().__init__()
        self.fusion = Fusion(width, 2, size)
        self.join = nn.Linear(3 * width, outputs)
        self.blocks = stack(outputs, depth, size.head, size.window)
        self.enlarge = nn.Identity() if last else Enlarge(outputs)

    def forward(self, below: Tensor, c0: Tensor, f0: Tensor, c1: Tensor) -> Tensor:
        """Return ``(N, 2h, 2w, outputs)``, at the last level ``(N, h, w, outputs)``."""
        x = self.join(torch.cat([c1, self.fusion(c0, f0, c1), below], dim=-1))
        out: Tensor = self.enlarge(self.blocks(x))
        return out


class SwinSTFM(nn.Module):
    """The network of a `Size`; images are ``(N, bands, H, W)`` scaled to [−1, 1]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths = size.widths
        if widths[-1] != widths[-2]:
            raise ValueError(f"widths are {widths}: the bottom is as wide as the level above it")
        self.multiple_of, self.residual = size.multiple_of, size.residual
        self.coarse = Encoder(size)
        self.fine = Encoder(size)
        self.bottom = Fusion(widths[-1], 1, size)
        self.enlarge = Enlarge(widths[-1])
        inputs = widths[-2::-1]
        outputs = [*inputs[1:], widths[0]]
        last = len(inputs) - 1
        self.ups = nn.ModuleList(
            UpLevel(a, b, depth, size, last=i == last)
            for i, (a, b, depth) in enumerate(zip(inputs, outputs, size.up_depths, strict=True))
        )
        self.head = Enlarge(widths[0])
        self.out = nn.Conv2d(widths[0], size.bands, 3, padding=1)

    def forward(self, c0: Tensor, f0: Tensor, c1: Tensor) -> Tensor:
        """Return the fine image of the target date within [−1, 1]."""
        H, W = f0.shape[-2:]
        if H % self.multiple_of or W % self.multiple_of:
            raise ValueError(f"image of {H}×{W}: both sides are multiples of {self.multiple_of}")
        maps = list(zip(self.coarse(c0), self.fine(f0), self.coarse(c1), strict=True))
        x = self.enlarge(self.bottom(*maps.pop()))
        for up in self.ups:
            x = up(x, *maps.pop())
        x = self.head(x).permute(0, 3, 1, 2)
        x = torch.tanh(self.out(x))
        return f0 + x if self.residual else x
