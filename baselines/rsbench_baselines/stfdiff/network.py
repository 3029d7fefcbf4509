"""STFDiff: a noisy and a clean branch, and a decoder that sees their difference.

STFDiff, Information Fusion 2024. The clean branch takes only the references, so its maps are
computed once and used in every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from rsbench_baselines.rddm.blocks import Grow, ResidualBlock, TimeEmbedding, shrink
from rsbench_baselines.stfdiff.sizes import Size

STANDARD = (True, False)


@dataclass(frozen=True)
class Condition:
    """Maps of the clean branch: after the stem, of each level, at the bottom.

    ``anchor`` is the image to which the output is added; None for no addition, as published.
    """

    stem: Tensor
    levels: tuple[Tensor, ...]
    bottom: Tensor
    anchor: Tensor | None = None

    def repeat(self, members: int) -> Condition:
        """Repeat each image ``members`` times in a row along the batch."""
        stem, bottom, *levels = (
            t.repeat_interleave(members, dim=0) for t in (self.stem, self.bottom, *self.levels)
        )
        anchor = None if self.anchor is None else self.anchor.repeat_interleave(members, dim=0)
        return Condition(stem, tuple(levels), bottom, anchor)


class Branch(nn.Module):
    """One block and one change of size per level, one block at the bottom."""

    def __init__(self, size: Size, code: int | None) -> None:
        super().__init__()
        widths = [size.base, *(size.base * m for m in size.mult)]
        pairs = list(pairwise(widths))
        self.blocks = nn.ModuleList(
            ResidualBlock(a, a, size.groups, code, STANDARD) for a, _ in pairs
        )
        self.downs = nn.ModuleList(
            shrink(a, b, last=i == len(pairs) - 1) for i, (a, b) in enumerate(pairs)
        )
        self.bottom = ResidualBlock(widths[-1], widths[-1], size.groups, code, STANDARD)

    def forward(self, x: Tensor, code: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Return the map of each level and the bottom of ``(N, base, H, W)``."""
        found = []
        for block, down in zip(self.blocks, self.downs, strict=True):
            x = block(x, code)
            found.append(x)
            x = down(x)
        return found, self.bottom(x, code)


class STFDiff(nn.Module):
    """The network of a `Size`; images are ``(N, bands, H, W)`` scaled to [−1, 1]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        base, code = size.base, 4 * size.base
        widths = [base, *(base * m for m in size.mult)]
        pairs = list(enumerate(pairwise(widths)))
        self.multiple_of, self.residual = size.multiple_of, size.residual
        self.time = TimeEmbedding(base, code)
        self.fine = nn.Conv2d(size.bands, base, 3, padding=1)
        self.coarse = nn.Conv2d(2 * size.bands, base, 3, padding=1)
        self.join = nn.Conv2d(2 * base, base, 1)
        self.noisy = nn.Conv2d(size.bands, base, 3, padding=1)
        self.spare = nn.Conv2d(size.bands, base, 3, padding=1) if size.spare_stem else None
        self.clean_branch = Branch(size, None)
        self.noisy_branch = Branch(size, code)
        self.ups = nn.ModuleList(
            ResidualBlock(a + b, b, size.groups, code, STANDARD) for _, (a, b) in reversed(pairs)
        )
        self.grows = nn.ModuleList(Grow(b, a, last=i == 0) for i, (a, b) in reversed(pairs))
        self.final = ResidualBlock(2 * base, base, size.groups, code, STANDARD)
        self.out = nn.Conv2d(base, size.bands, 1)

    def condition(self, c0: Tensor, f0: Tensor, c1: Tensor) -> Condition:
        """Run the clean branch."""
        H, W = f0.shape[-2:]
        if H % self.multiple_of or W % self.multiple_of:
            raise ValueError(f"image of {H}×{W}: both sides are multiples of {self.multiple_of}")
        coarse = self.coarse(torch.cat([c0, c1], dim=1))
        stem = self.join(torch.cat([self.fine(f0), coarse], dim=1))
        levels, bottom = self.clean_branch(stem, None)
        return Condition(stem, tuple(levels), bottom, f0 if self.residual else None)

    def denoise(self, x: Tensor, times: Tensor, condition: Condition) -> Tensor:
        """Return the clean image in a noisy one ``(N, bands, H, W)`` at steps ``(N,)``."""
        code = self.time(times)
        stem = self.noisy(x)
        levels, bottom = self.noisy_branch(stem, code)
        skips = [a - b for a, b in zip(levels, condition.levels, strict=True)]
        y = bottom - condition.bottom
        for block, grow in zip(self.ups, self.grows, strict=True):
            y = grow(block(torch.cat([y, skips.pop()], dim=1), code))
        y = self.final(torch.cat([y, stem - condition.stem], dim=1), code)
        out: Tensor = self.out(y)
        return out if condition.anchor is None else condition.anchor + out

    def forward(self, x: Tensor, times: Tensor, c0: Tensor, f0: Tensor, c1: Tensor) -> Tensor:
        """Return the clean image of the target date."""
        return self.denoise(x, times, self.condition(c0, f0, c1))
