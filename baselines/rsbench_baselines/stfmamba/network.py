"""STFMamba: coarse images are sharpened, encoded with the reference, decoded twice, joined.

M. Zhao, X. Jiang, B. Huang, ISPRS Journal 2025. Blocks scan a map ``(N, C, H, W)`` either over
its places with C features, or over channels and rows with W features, so that a network fits one
size of image. The size is the published one to the digit. What is not described is read so that
it is: two residual blocks behind each level of a decoder, and in the joining attention one
position per token, biases in the tokens' and the last projections only.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.stfmamba.scan import ScanBlock
from rsbench_baselines.stfmamba.sizes import Size
from rsbench_baselines.tokens import Merging


class Pair(nn.Module):
    """Scan over channels and rows with a feature per column, then over positions."""

    def __init__(self, channels: int, columns: int, size: Size) -> None:
        super().__init__()
        self.columns = block(columns, size)
        self.places = block(channels, size)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``."""
        return over_places(self.places, self.columns(x))


def block(features: int, size: Size) -> ScanBlock:
    """Return a block of so many features."""
    return ScanBlock(features, size.state, size.rank, size.start)


def over_places(inner: nn.Module, x: Tensor) -> Tensor:
    """Run a block with a feature per channel."""
    out: Tensor = inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out


class Sharpen(nn.Module):
    """Adds detail to a coarse image on the fine grid."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, columns = size.sharpen_width, size.side // 2
        self.down = nn.Conv2d(size.bands, width, 3, stride=2, padding=1)
        count = size.sharpen_blocks + size.spare
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Pair(width, columns, size) for _ in range(size.sharpen_pairs)))
            for _ in range(count)
        )
        self.used = size.sharpen_blocks
        self.up = nn.ConvTranspose2d(width, size.bands, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, bands, H, W)``."""
        y = self.down(x)
        for block in list(self.blocks)[: self.used]:
            y = y + block(y)
        return x + torch.as_tensor(self.up(y))


class Encoder(nn.Module):
    """Patches to tokens, then pairs of scans per stage; one for all images."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        columns = size.side // size.patch
        self.embed = nn.Conv2d(size.bands, size.widths[0], size.patch, stride=size.patch)
        self.norm = nn.LayerNorm(size.widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Pair(width, columns >> i, size) for _ in range(count)))
            for i, (width, count) in enumerate(zip(size.widths, size.pairs, strict=True))
        )
        self.merging = nn.ModuleList(Merging(a, b) for a, b in pairwise(size.widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return a map per stage, from the largest down."""
        x = over_places(self.norm, self.embed(x))
        found = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            found.append(x)
            if i < len(self.merging):
                x = over_places(self.merging[i], x)
        return found


class Layout(nn.Module):
    """1×1 to the decoder's channels, then both kinds of scan."""

    def __init__(self, channels: int, columns: int, size: Size) -> None:
        super().__init__()
        self.join = nn.Conv2d(channels, size.middle, 1)
        self.places = block(size.middle, size)
        self.columns = block(columns, size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels, H, columns)`` to ``(N, middle, H, columns)``."""
        out: Tensor = self.columns(over_places(self.places, self.join(x)))
        return out


class Mix(nn.Module):
    """Three maps in three layouts: stacked, interleaved by column, and side by side."""

    def __init__(self, channels: int, columns: int, size: Size) -> None:
        super().__init__()
        self.stacked = Layout(3 * channels, columns, size)
        self.woven = Layout(channels, 3 * columns, size)
        self.beside = Layout(channels, 3 * columns, size)
        self.conv = nn.Conv2d(7 * size.middle, size.middle, 1)
        self.norm = nn.BatchNorm2d(size.middle)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map three ``(N, C, H, W)`` to ``(N, middle, H, W)``."""
        woven = self.woven(torch.stack(maps, dim=-1).flatten(-2))
        beside = self.beside(torch.cat(maps, dim=-1))
        parts = [self.stacked(torch.cat(maps, dim=1))]
        parts += [woven[..., i::3] for i in range(3)]
        parts += list(beside.chunk(3, dim=-1))
        out: Tensor = F.relu(self.norm(self.conv(torch.cat(parts, dim=1))))
        return out


class Residual(nn.Module):
    """Twice 3×3 and batch norm, with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(x + torch.as_tensor(y))


class Expand(nn.Module):
    """Each token to four, of the same width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 4 * channels, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
        return over_places(self.norm, F.pixel_shuffle(over_places(self.linear, x), 2))


class Decoder(nn.Module):
    """From the smallest maps up; what it returns is added to an image."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        columns = size.side // size.patch
        levels = [(width, columns >> i) for i, width in enumerate(size.widths)]
        self.mixes = nn.ModuleList(Mix(c, w, size) for c, w in reversed(levels))
        self.residuals = nn.ModuleList(
            nn.Sequential(*(Residual(size.middle) for _ in range(size.residuals))) for _ in levels
        )
        self.expands = nn.ModuleList(Expand(size.middle) for _ in levels[1:])
        self.last = nn.Sequential(
            *(Expand(size.middle) for _ in range(size.patch.bit_length() - 1))
        )
        self.scan = block(size.middle, size)
        self.out = nn.Conv2d(size.middle, size.bands, 1)

    def forward(self, c0: list[Tensor], f0: list[Tensor], c1: list[Tensor]) -> Tensor:
        """Return ``(N, bands, H, W)`` within [−1, 1] from maps per stage, the largest first."""
        x: Tensor | None = None
        for i, (mix, residual) in enumerate(zip(self.mixes, self.residuals, strict=True)):
            a, b, c = (maps[-1 - i] for maps in (c0, f0, c1))
            level = mix([b - a, c - a, c])
            x = residual(level if x is None else self.expands[i - 1](x) + level)
        return torch.tanh(self.out(over_places(self.scan, self.last(x))))


class Join(nn.Module):
    """Both answers read one another within squares of pixels.

    Queries come from each answer, keys and values from both together.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        bands, token = size.bands, size.token
        self.block, self.heads = size.block, size.heads
        self.tokens = nn.ModuleList(nn.Linear(bands, token) for _ in range(2))
        self.both = nn.Linear(2 * bands, token, bias=False)
        self.place = nn.Parameter(torch.empty(size.block**2, token))
        nn.init.trunc_normal_(self.place, std=0.02)
        self.query = nn.Linear(token, token, bias=False)
        self.key = nn.Linear(token, token, bias=False)
        self.value = nn.Linear(token, token, bias=False)
        self.back = nn.ModuleList(nn.Linear(token, bands) for _ in range(2))
        self.out = nn.Conv2d(2 * bands, bands, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Map two ``(N, bands, H, W)`` to one."""
        N, C, H, W = first.shape
        a, b = (self._cut(x) for x in (first, second))
        both = self.both(torch.cat([a, b], dim=-1)) + self.place
        k, v = (self._heads(f(both)) for f in (self.key, self.value))
        answers = []
        for x, enter, back in zip((a, b), self.tokens, self.back, strict=True):
            q = self._heads(self.query(enter(x) + self.place))
            found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            answers.append(back(found))
        joined = torch.cat(answers, dim=-1)
        joined = joined.reshape(N, H // self.block, W // self.block, self.block, self.block, 2 * C)
        joined = joined.permute(0, 5, 1, 3, 2, 4).reshape(N, 2 * C, H, W)
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
        """Return the joined answer, both answers, and the sharpened coarse target."""
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
