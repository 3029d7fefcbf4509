"""STFMamba: coarse images are sharpened, encoded with the reference, decoded twice, joined.

M. Zhao, X. Jiang, B. Huang, ISPRS Journal 2025; wiring after the released code
(zhaomin0101/STFMamba, ``models_mamba/``). Scan blocks see a map ``(N, C, H, W)`` either as
positions with C features, or as channels and rows with W features, so that a network fits one size
of image.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.stfmamba.scan import ScanBlock
from rsbench_baselines.stfmamba.sizes import PATCH, Size
from rsbench_baselines.tokens import Merging

Maps = list[Tensor]
"""A map ``(N, C, H, W)`` for each stage of the encoder, the largest first."""


def block(features: int, size: Size) -> ScanBlock:
    """Return a scan block of so many features."""
    return ScanBlock(features, size.state, size.rank, size.start, size.drop_path)


def over_positions(inner: nn.Module, x: Tensor) -> Tensor:
    """Apply a module with a feature per channel to ``(N, C, H, W)``."""
    out: Tensor = inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out


class Pair(nn.Module):
    """Two scan blocks, over positions with a feature per channel and with a feature per column."""

    def __init__(self, channels: int, columns: int, size: Size, *, columns_first: bool) -> None:
        super().__init__()
        self.columns_first = columns_first
        self.positions = block(channels, size)
        self.columns = block(columns, size)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``."""
        if self.columns_first:
            return over_positions(self.positions, self.columns(x))
        out: Tensor = self.columns(over_positions(self.positions, x))
        return out


class Sharpen(nn.Module):
    """Adds detail to a coarse image on the fine grid.

    All blocks start with equal weights, as published.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, columns = size.sharpen_width, size.side // 2
        self.down = nn.Conv2d(size.bands, width, 3, stride=2, padding=1)
        pairs = (Pair(width, columns, size, columns_first=True) for _ in range(size.sharpen_pairs))
        first = nn.Sequential(*pairs)
        self.used = size.sharpen_blocks
        copies = (copy.deepcopy(first) for _ in range(self.used + size.spare - 1))
        self.blocks = nn.ModuleList([first, *copies])
        self.up = nn.ConvTranspose2d(width, size.bands, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, bands, H, W)``."""
        y = self.down(x)
        for inner in list(self.blocks)[: self.used]:
            y = y + inner(y)
        return x + torch.as_tensor(self.up(y))


class Encoder(nn.Module):
    """4×4 pixels to a token, then pairs of scans and merging per stage; one for all images."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        columns = size.side // PATCH
        self.embed = nn.Conv2d(size.bands, size.widths[0], PATCH, stride=PATCH)
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(Pair(width, columns >> i, size, columns_first=False) for _ in range(count))
            )
            for i, (width, count) in enumerate(zip(size.widths, size.pairs, strict=True))
        )
        self.merging = nn.ModuleList(Merging(a, b) for a, b in pairwise(size.widths))

    def forward(self, x: Tensor) -> Maps:
        """Return a map per stage, the largest first."""
        found = [self.stages[0](self.embed(x))]
        for merging, stage in zip(self.merging, self.stages[1:], strict=True):
            found.append(stage(over_positions(merging, found[-1])))
        return found


class Layout(nn.Module):
    """1×1 convolution to the decoder's channels, then a pair of scans, over positions first."""

    def __init__(self, channels: int, columns: int, size: Size) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, size.middle, 1)
        self.pair = Pair(size.middle, columns, size, columns_first=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, columns)`` to ``(N, middle, H, columns)``."""
        out: Tensor = self.pair(self.enter(x))
        return out


class Blend(nn.Module):
    """1×1 convolution to the decoder's channels, batch norm and ReLU."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, size.middle, 1)
        self.norm = nn.BatchNorm2d(size.middle)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, W)`` to ``(N, middle, H, W)``."""
        return F.relu(self.norm(self.conv(x)))


class Mix(nn.Module):
    """One level of a decoder: three maps in three layouts, scanned and blended.

    The maps are the difference of both references, the coarse change and the coarse target. They
    are stacked by channel, interleaved by column, and set side by side. The order of the last two
    differs between layouts, and in the interleaved one also at the deepest level, as published.
    """

    def __init__(self, channels: int, columns: int, size: Size, *, deepest: bool) -> None:
        super().__init__()
        self.deepest = deepest
        self.stacked = Layout(3 * channels, columns, size)
        self.woven = Layout(channels, 3 * columns, size)
        self.beside = Layout(channels, 3 * columns, size)
        self.blend = Blend(7 * size.middle, size)

    def forward(self, apart: Tensor, change: Tensor, target: Tensor) -> Tensor:
        """Map three ``(N, C, H, W)`` to ``(N, middle, H, W)``."""
        usual, other = [apart, change, target], [apart, target, change]
        columns = other if self.deepest else usual
        woven = self.woven(torch.stack(columns, dim=-1).flatten(-2))
        beside = self.beside(torch.cat(usual, dim=-1))
        parts = [self.stacked(torch.cat(other, dim=1)), *(woven[..., i::3] for i in range(3))]
        out: Tensor = self.blend(torch.cat([*parts, *beside.chunk(3, dim=-1)], dim=1))
        return out


class Residual(nn.Module):
    """Twice 3×3 and batch norm, with a shortcut and ReLU behind both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(x + torch.as_tensor(y))


class Expand(nn.Module):
    """Each token to 2×2 of the same width, then a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 4 * channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
        N, C, H, W = x.shape
        tokens = self.linear(x.permute(0, 2, 3, 1)).view(N, H, W, 2, 2, C)
        tokens = tokens.transpose(2, 3).reshape(N, 2 * H, 2 * W, C)
        out: Tensor = self.norm(tokens).permute(0, 3, 1, 2)
        return out


class Decoder(nn.Module):
    """From the smallest maps up; what it returns is added to an image.

    One `Expand` serves all levels and one both enlargements at the end, between which the middle
    stage runs at half of the image's side.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        columns = size.side // PATCH
        levels = [(width, columns >> i) for i, width in enumerate(size.widths)][::-1]
        self.mixes = nn.ModuleList(
            Mix(c, w, size, deepest=i == 0) for i, (c, w) in enumerate(levels)
        )
        self.residuals = nn.ModuleList(Residual(size.middle) for _ in levels[1:])
        self.expand = Expand(size.middle) if len(levels) > 1 else nn.Identity()
        self.middle = nn.Sequential(
            Layout(size.middle, 2 * columns, size), Blend(size.middle, size), Residual(size.middle)
        )
        self.last = Expand(size.middle)
        self.out = nn.Conv2d(size.middle, size.bands, 1)
        if size.spare:
            self.spare = nn.ConvTranspose2d(size.middle, size.middle, 4, stride=2, padding=1)

    def forward(self, c0: Maps, f0: Maps, c1: Maps) -> Tensor:
        """Return ``(N, bands, H, W)`` within [−1, 1]."""
        levels = [(f - a, b - a, b) for a, f, b in zip(c0, f0, c1, strict=True)][::-1]
        x = self.mixes[0](*levels[0])
        for mix, residual, maps in zip(self.mixes[1:], self.residuals, levels[1:], strict=True):
            x = residual(self.expand(x) + mix(*maps))
        x = self.last(self.middle(self.last(x)))
        return torch.tanh(self.out(x))


class Join(nn.Module):
    """Attention between both predictions within squares of pixels.

    Queries come from each prediction, keys and values from both together; scores are divided by
    the root of the whole token's width, as published.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        bands, token = size.bands, size.token
        self.block, self.heads, self.scale = size.block, size.heads, token**-0.5
        self.one = nn.Linear(bands, token)
        self.both = nn.Linear(2 * bands, token)
        self.query = nn.Linear(token, token)
        self.key = nn.Linear(token, token)
        self.value = nn.Linear(token, token)
        self.out = nn.Conv2d(2 * token, bands, 1)
        if size.spare:
            self.spare = nn.ModuleList(
                [
                    nn.Conv2d(bands, bands, 4, stride=4),
                    nn.ConvTranspose2d(2 * token, bands, 4, stride=4),
                ]
            )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Map two ``(N, bands, H, W)`` to one; sides are multiples of the squares'."""
        N, _, H, W = first.shape
        a, b = (self._cut(x) for x in (first, second))
        both = self.both(torch.cat([a, b], dim=-1))
        k, v = (self._heads(f(both)) for f in (self.key, self.value))
        answers = []
        for x in (a, b):
            q = self._heads(self.query(self.one(x)))
            found = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
            answers.append(found.transpose(1, 2).flatten(2))
        joined = torch.cat(answers, dim=-1)
        joined = joined.reshape(N, H // self.block, W // self.block, self.block, self.block, -1)
        joined = joined.permute(0, 5, 1, 3, 2, 4).reshape(N, -1, H, W)
        out: Tensor = self.out(joined)
        return out

    def _cut(self, x: Tensor) -> Tensor:
        """Return ``(N·squares, pixels, bands)``."""
        N, C, H, W = x.shape
        x = x.reshape(N, C, H // self.block, self.block, W // self.block, self.block)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, self.block**2, C)

    def _heads(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


class STFMamba(nn.Module):
    """The network of a `Size`; images are ``(N, bands, side, side)`` scaled to [−1, 1]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.side = size.side
        self.sharpen = Sharpen(size)
        self.encoder = Encoder(size)
        self.from_fine = Decoder(size)
        self.from_coarse = Decoder(size)
        self.join = Join(size)

    def forward(self, c0: Tensor, f0: Tensor, c1: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the joined prediction, both predictions, and the sharpened coarse target."""
        if tuple(f0.shape[-2:]) != (self.side, self.side):
            raise ValueError(
                f"image of {f0.shape[-2]}×{f0.shape[-1]}: this network takes {self.side}×"
                f"{self.side}, its scans have a feature per column"
            )
        sharp0, sharp1 = self.sharpen(torch.cat([c0, c1])).chunk(2)
        maps = [level.chunk(3) for level in self.encoder(torch.cat([sharp0, f0, sharp1]))]
        e0, e, e1 = ([level[i] for level in maps] for i in range(3))
        first = f0 + self.from_fine(e0, e, e1)
        second = sharp1 + self.from_coarse(e0, e, e1)
        return self.join(first, second), first, second, sharp1
