"""SA-STF: a clean fine image from a noisy one, five condition images and two levels.

J. Zhang, J. Qu and others, "SA-STF", CVPR 2026. Read as a Taylor expansion around the clean
image, a block removes the residual's term from the features of the noisy image and the decoder
removes the noise's. The condition branch reads neither the noisy image nor the levels: it is
computed once and serves every step.

The published number of parameters holds 526,336 that are described as unused and not placed:
here they are the output projections (with bias) of both cross attentions and one norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from rsbench_baselines.sa_stf.blocks import (
    CodedBlock,
    ImageBlock,
    LevelEmbedding,
    NormConv,
    Up,
    down,
)
from rsbench_baselines.sa_stf.deep import Alignment, DeepFusion, MapFusion, Maps
from rsbench_baselines.sa_stf.sizes import Size


@dataclass(frozen=True)
class References:
    """Condition images ``(N, B, H, W)`` scaled to [−1, 1], all on the fine grid.

    Args:
        c1: coarse, of the target date.
        c0, f0: coarse and fine of the first reference date.
        c2, f2: of the second.
    """

    c1: Tensor
    c0: Tensor
    f0: Tensor
    c2: Tensor
    f2: Tensor


@dataclass(frozen=True)
class Condition:
    """What the condition branch found.

    Args:
        deepest: the target's coarse map at the deepest level, before fusion; absent without
            diffusion.
        fused: F_d.
        skips: fused maps of the other levels, from full size down.
        alignment: what the alignment loss compares.
        anchor: image to which the output is added; None for no addition, as published.
    """

    deepest: Tensor
    fused: Tensor
    skips: tuple[Tensor, ...]
    alignment: Alignment | None
    anchor: Tensor | None = None

    def repeat(self, members: int) -> Condition:
        """Repeat each image ``members`` times in a row along the batch; for sampling only."""
        deepest, fused, *skips = (
            t.repeat_interleave(members, dim=0) for t in (self.deepest, self.fused, *self.skips)
        )
        anchor = None if self.anchor is None else self.anchor.repeat_interleave(members, dim=0)
        return Condition(deepest, fused, tuple(skips), None, anchor)

    def anchored(self, image: Tensor) -> Tensor:
        """Return the answer of a network's output."""
        return image if self.anchor is None else self.anchor + image


class ImageEncoder(nn.Module):
    """One pyramid for all condition images."""

    def __init__(self, bands: int, widths: list[int], groups: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(bands, widths[0], 3, padding=1)
        inputs = [widths[0], *widths[:-1]]
        self.levels = nn.ModuleList(
            ImageBlock(a, b, groups) for a, b in zip(inputs, widths, strict=True)
        )
        self.downs = nn.ModuleList(down(width) for width in widths[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one map per level of ``(N, B, H, W)``, from full size down."""
        x = self.stem(x)
        found = []
        for i, level in enumerate(self.levels):
            x = level(x)
            found.append(x)
            if i < len(self.downs):
                x = self.downs[i](x)
        return found


class NoiseEncoder(nn.Module):
    """The pyramid of the noisy image, given its residual level; only the deepest map is used."""

    def __init__(self, bands: int, widths: list[int], groups: int, code: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(bands, widths[0], 3, padding=1)
        inputs = [widths[0], *widths[:-1]]
        self.levels = nn.ModuleList(
            CodedBlock(a, b, groups, code) for a, b in zip(inputs, widths, strict=True)
        )
        self.downs = nn.ModuleList(down(width) for width in widths[:-1])

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map ``(N, B, H, W)`` to the deepest map."""
        x = self.stem(x)
        for i, level in enumerate(self.levels):
            x = level(x, code)
            if i < len(self.downs):
                x = self.downs[i](x)
        return x


class ResidualRemoval(nn.Module):
    """Take the residual's part out of the noisy features: f(C1) − F_d stands for it."""

    def __init__(self, channels: int, groups: int, code: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels)
        self.residual = CodedBlock(channels, channels, groups, code)
        self.rest = CodedBlock(channels, channels, groups, code)

    def forward(self, noisy: Tensor, condition: Condition, alpha: Tensor, beta: Tensor) -> Tensor:
        """Return ``(N, C, h, w)``; one normalisation is used at all four positions."""
        difference = self.norm(condition.deepest) - self.norm(condition.fused)
        residual = self.norm(self.residual(difference, alpha))
        out: Tensor = self.rest(self.norm(noisy) - residual, beta)
        return out


class Decoder(nn.Module):
    """From the deepest level up, joined by the fused maps."""

    def __init__(self, bands: int, widths: list[int], groups: int, code: int | None) -> None:
        super().__init__()
        outputs = widths[::-1]
        inputs = [outputs[0], *outputs[:-1]]
        self.levels = nn.ModuleList(
            CodedBlock(a + b, b, groups, code) for a, b in zip(inputs, outputs, strict=True)
        )
        self.ups = nn.ModuleList(Up(width) for width in outputs[:-1])
        self.out = NormConv(widths[0], bands, groups)

    def forward(self, x: Tensor, condition: Condition, code: Tensor | None) -> Tensor:
        """Map the deepest ``(N, C, h, w)`` to the image ``(N, B, H, W)``."""
        skips = [*condition.skips, condition.fused]
        for i, level in enumerate(self.levels):
            x = level(torch.cat([x, skips[-1 - i]], dim=1), code)
            if i < len(self.ups):
                x = self.ups[i](x)
        out: Tensor = self.out(x)
        return out


class SASTF(nn.Module):
    """The network of a `Size`; images are ``(N, bands, H, W)`` scaled to [−1, 1]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths = [size.base * m for m in size.mult]
        groups, self.multiple_of = size.groups, size.multiple_of
        self.diffuses, self.residual = size.variant != "tfa_saf", size.residual
        code = size.base if self.diffuses else None
        self.images = ImageEncoder(size.bands, widths, groups)
        self.shallow = nn.ModuleList(MapFusion(width, groups) for width in widths[:-1])
        self.deep = DeepFusion(widths[-1], groups, size.mode, size.variant)
        if self.diffuses:
            self.alpha = LevelEmbedding(size.base)
            self.beta = LevelEmbedding(size.base)
            self.noise = NoiseEncoder(size.bands, widths, groups, size.base)
            self.removal = ResidualRemoval(widths[-1], groups, size.base)
        self.decoder = Decoder(size.bands, widths, groups, code)

    def condition(self, given: References) -> Condition:
        """Run the condition branch: five encoders, all fusions."""
        H, W = given.c1.shape[-2:]
        if H % self.multiple_of or W % self.multiple_of:
            raise ValueError(f"image of {H}×{W}: both sides are multiples of {self.multiple_of}")
        joined = torch.cat([given.c1, given.c0, given.c2, given.f0, given.f2])
        levels = [Maps.split(level) for level in self.images(joined)]
        skips = tuple(
            cast(Tensor, fuse(maps)) for fuse, maps in zip(self.shallow, levels[:-1], strict=True)
        )
        fused, alignment = self.deep(levels[-1])
        anchor = (given.f0 + given.f2) / 2 if self.residual else None
        return Condition(levels[-1].c1, fused, skips, alignment, anchor)

    def denoise(self, x: Tensor, alpha: Tensor, beta: Tensor, condition: Condition) -> Tensor:
        """Return the clean image that a noisy one hides.

        Args:
            x: ``(N, bands, H, W)``.
            alpha, beta: ᾱ·T and β̄·T ``(N,)``, real numbers.
            condition: of the same images.
        """
        if not self.diffuses:
            raise ValueError("a network without diffusion has no noisy image: call `direct`")
        codes = self.alpha(alpha), self.beta(beta)
        y = self.removal(self.noise(x, codes[0]), condition, *codes)
        return condition.anchored(self.decoder(y, condition, codes[1]))

    def direct(self, condition: Condition) -> Tensor:
        """Return the image in one pass, without diffusion."""
        if self.diffuses:
            raise ValueError("a network with diffusion needs a noisy image: call `denoise`")
        return condition.anchored(self.decoder(condition.fused, condition, None))

    def forward(
        self, given: References, x: Tensor | None, alpha: Tensor | None, beta: Tensor | None
    ) -> tuple[Tensor, Condition]:
        """Return the estimate and its condition; without diffusion the last three are None."""
        condition = self.condition(given)
        if x is None or alpha is None or beta is None:
            return self.direct(condition), condition
        return self.denoise(x, alpha, beta, condition), condition
