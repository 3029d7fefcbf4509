"""RDDM's two U-Nets, one for the residual C − F and one for the noise.

J. Liu, Q. Wang, H. Fan, Y. Wang, Y. Tang, L. Qu, "Residual denoising diffusion models", CVPR
2024. Two residual blocks and linear attention per level, full attention at the bottom. The
paper restores single images; for fusion the noisy image is joined with all condition images.
The network of the residual takes ᾱ·T and that of the noise β̄·T, both real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from rsbench_baselines.rddm.blocks import (
    FullAttention,
    Grow,
    LinearAttention,
    ResidualBlock,
    TimeEmbedding,
    shrink,
)
from rsbench_baselines.rddm.sizes import Size


class Level(nn.Module):
    """Two residual blocks that see the same skips or none, attention, a change of size."""

    def __init__(
        self, inputs: tuple[int, int], width: int, size: Size, code: int, resize: nn.Module
    ) -> None:
        super().__init__()
        self.block1 = ResidualBlock(inputs[0], width, size.groups, code)
        self.block2 = ResidualBlock(inputs[1], width, size.groups, code)
        self.attention = LinearAttention(width, size.heads, size.head)
        self.resize = resize

    def down(self, x: Tensor, code: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the smaller map and two skips."""
        first = self.block1(x, code)
        second = self.attention(self.block2(first, code))
        out: Tensor = self.resize(second)
        return out, [first, second]

    def up(self, x: Tensor, skips: list[Tensor], code: Tensor) -> Tensor:
        """Return the larger map; skips are taken from the end."""
        x = self.block1(torch.cat([x, skips.pop()], dim=1), code)
        x = self.attention(self.block2(torch.cat([x, skips.pop()], dim=1), code))
        out: Tensor = self.resize(x)
        return out


class UNet(nn.Module):
    """Symmetric U-Net over ``len(mult)`` sizes; the last block also takes the stem's map."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        base, groups, code = size.base, size.groups, 4 * size.base
        widths = [base, *(base * m for m in size.mult)]
        last = len(size.mult) - 1
        pairs = list(enumerate(pairwise(widths)))
        self.time = TimeEmbedding(base, code)
        self.stem = nn.Conv2d(channels, base, 7, padding=3)
        self.downs = nn.ModuleList(
            Level((a, a), a, size, code, shrink(a, b, last=i == last)) for i, (a, b) in pairs
        )
        self.middle1 = ResidualBlock(widths[-1], widths[-1], groups, code)
        self.attention = FullAttention(widths[-1], size.heads, size.head)
        self.middle2 = ResidualBlock(widths[-1], widths[-1], groups, code)
        self.ups = nn.ModuleList(
            Level((a + b, a + b), b, size, code, Grow(b, a, last=i == 0))
            for i, (a, b) in reversed(pairs)
        )
        self.final = ResidualBlock(2 * base, base, groups, code)
        self.out = nn.Conv2d(base, size.bands, 1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` at real times ``(N,)`` to ``(N, bands, H, W)``."""
        code = self.time(times)
        x = stem = self.stem(x)
        skips: list[Tensor] = []
        for level in self.downs:
            x, kept = level.down(x, code)  # type: ignore[operator]
            skips += kept
        x = self.middle2(self.attention(self.middle1(x, code)), code)
        for level in self.ups:
            x = level.up(x, skips, code)  # type: ignore[operator]
        out: Tensor = self.out(self.final(torch.cat([x, stem], dim=1), code))
        return out


@dataclass(frozen=True)
class Outputs:
    """What the networks said: about the residual (or the clean image), and about the noise."""

    residual: Tensor | None
    noise: Tensor | None


class RDDM(nn.Module):
    """Two U-Nets of a `Size`; with an objective that needs only one, the other is absent."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        channels = size.bands * (1 + size.images)
        self.multiple_of, self.bands = size.multiple_of, size.bands
        self.anchors = size.residual
        self.images = size.objective == "pred_x0_noise"
        self.residual = UNet(channels, size) if size.objective != "pred_noise" else None
        self.noise = UNet(channels, size) if size.objective != "pred_res" else None

    def forward(self, x: Tensor, given: Tensor, alpha: Tensor, beta: Tensor) -> Outputs:
        """Ask both networks.

        Args:
            x: noisy images ``(N, bands, H, W)``.
            given: condition images as channels ``(N, images·bands, H, W)``: C1, then fine and
                coarse of each reference date.
            alpha, beta: ᾱ·T and β̄·T ``(N,)``.
        """
        H, W = x.shape[-2:]
        if H % self.multiple_of or W % self.multiple_of:
            raise ValueError(f"image of {H}×{W}: both sides are multiples of {self.multiple_of}")
        joined = torch.cat([x, given], dim=1)
        residual = None if self.residual is None else self.residual(joined, alpha)
        if self.anchors and residual is not None:
            residual = residual + self._anchor(given)
        return Outputs(
            residual,
            None if self.noise is None else self.noise(joined, beta),
        )

    def _anchor(self, given: Tensor) -> Tensor:
        """Return what the mean of the fine references would be an estimate of."""
        coarse, *rest = given.chunk(given.shape[1] // self.bands, dim=1)
        mean = torch.stack(rest[0::2]).mean(dim=0)
        return mean if self.images else coarse - mean
