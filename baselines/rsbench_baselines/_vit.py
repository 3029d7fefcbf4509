"""Vision transformers: the encoder, the predictor of I-JEPA, and blocks of a grid of tokens.

Positions are fixed sines and cosines of row and column, computed for any grid, so one set of
weights serves every side. Axes: B images, N tokens, W width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
SPREAD = 0.02
BASE = 10_000.0


@dataclass(frozen=True)
class Axis:
    """Coordinates of the rows or columns of a grid: ``first + step·(0 … count − 1)``."""

    count: int
    first: float = 0.0
    step: float = 1.0

    def code(self, width: int, base: float) -> Tensor:
        """Return ``[sin(p·ω), cos(p·ω)]`` of the coordinates p: ``(count, width)`` float64."""
        rate = base ** (-2 * torch.arange(width // 2, dtype=torch.float64, device="cpu") / width)
        places = torch.arange(self.count, dtype=torch.float64, device="cpu")
        phase = (self.first + self.step * places)[:, None] * rate
        return torch.cat([phase.sin(), phase.cos()], dim=1)


@cache
def _sincos(width: int, down: Axis, across: Axis, base: float) -> Tensor:
    columns = across.code(width // 2, base)[None].expand(down.count, -1, -1)
    rows = down.code(width // 2, base)[:, None].expand(-1, across.count, -1)
    return torch.cat([columns, rows], dim=-1).reshape(down.count * across.count, -1).float()


def sincos(width: int, rows: int | Axis, columns: int | Axis, *, base: float = BASE) -> Tensor:
    """Return fixed positions ``(rows·columns, width)``: first half the column, second the row.

    Each half is ``[sin(p·ω), cos(p·ω)]`` with ``ω_k = base^(−2k/d)``, d its width; 10000 as
    published. A number of rows or columns stands for the coordinates 0, 1, 2 …
    """
    if width % 4:
        raise ValueError(f"a width of {width} cannot hold sines and cosines of two axes")
    down, across = (n if isinstance(n, Axis) else Axis(n) for n in (rows, columns))
    return _sincos(width, down, across, base)


def pick(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens ``(B, n, W)`` at ``index (B, n)`` of ``(B, N, W)``."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def block_size(
    grid: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float], share: float,
    least: int = 1,
) -> tuple[int, int]:  # fmt: skip
    """Return height and width of a block in tokens, less than those of the grid.

    As published, one number sets both the scale and the aspect ratio, so that large blocks are
    tall and small ones wide.

    Args:
        grid: rows and columns of tokens.
        scale: least and largest share of the tokens.
        aspect: least and largest height over width.
        share: in [0, 1), where both lie between least and largest.
        least: tokens that are aimed at where the scale gives fewer.
    """
    rows, columns = grid
    kept = max(int(rows * columns * _between(scale, share)), least)
    ratio = _between(aspect, share)
    height = min(max(round(math.sqrt(kept * ratio)), 1), max(rows - 1, 1))
    width = min(max(round(math.sqrt(kept / ratio)), 1), max(columns - 1, 1))
    return height, width


def _between(ends: tuple[float, float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * share


def multi_head(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of queries ``(B, n, W)`` to keys and values ``(B, m, W)``, a part of W per head."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then an MLP of four times the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, W)`` to the same shape."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.proj(multi_head(q, k, v, self.heads))
        return cast(Tensor, x + self.fc2(F.gelu(self.fc1(self.norm2(x)))))


@dataclass(frozen=True)
class Start:
    """First weights and positions of a vision transformer; the defaults are the published ones.

    Args:
        spread: standard deviation of the weights.
        enter: that of the layer that takes in patches or tokens. As published a patch is far
            quieter than its position, and a short training does not learn to read it.
        match: of a predictor: queries start so many times as wide, and keys as they do, so that a
            token first attends to its own place (A. Trockman, J. Z. Kolter, "Mimetic
            initialization of self-attention layers", ICML 2023); 0 draws them apart, as published.
        base: of the positions.
    """

    spread: float = SPREAD
    enter: float = SPREAD
    match: float = 0.0
    base: float = BASE


PUBLISHED = Start()


class Encoder(nn.Module):
    """The image encoder; ViT-B/8 is width 768, depth 12, 12 heads.

    Args:
        bands: bands of an image, in shares of the value range; no further normalisation.
        patch: side of a token in pixels.
        cls: put a learned token without a position before those of the image.
    """

    def __init__(
        self, bands: int, *, patch: int, width: int, depth: int, heads: int,
        start: Start = PUBLISHED, cls: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch = patch
        self.width = width
        self.base = start.base
        self.embed = nn.Conv2d(bands, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.apply(partial(init, spread=start.spread))
        nn.init.trunc_normal_(self.embed.weight, std=start.enter, a=-2.0, b=2.0)
        self.cls = nn.Parameter(torch.empty(1, 1, width).normal_(std=SPREAD)) if cls else None

    def forward(
        self, image: Tensor, kept: Tensor | None = None, places: Tensor | None = None
    ) -> Tensor:
        """Map ``(B, C, H, W)`` to tokens of the kept positions ``(B, n)``; of all where None.

        Args:
            places: codes of all positions ``(N, W)``; those of rows and columns where None.
        """
        x = self._enter(image, kept, places)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.norm(x))

    def depths(self, image: Tensor, count: int, places: Tensor | None = None) -> list[Tensor]:
        """Return normalised tokens of all positions at so many depths, evenly spaced."""
        after = [len(self.blocks) * (i + 1) // count for i in range(count)]
        x, found = self._enter(image, None, places), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            found += [self.norm(x)] * after.count(i + 1)
        return found

    def _enter(self, image: Tensor, kept: Tensor | None, places: Tensor | None) -> Tensor:
        x = self.embed(image)
        rows, columns = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        codes = sincos(self.width, rows, columns, base=self.base) if places is None else places
        x = x + codes.to(x)
        if kept is not None:
            x = pick(x, kept)
        return x if self.cls is None else torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)


class Predictor(nn.Module):
    """Predicts tokens at wanted positions from the tokens of an encoder.

    Args:
        width: of the encoder's tokens; ``inner``: of the predictor's own.
    """

    def __init__(
        self, width: int, *, inner: int, depth: int, heads: int, start: Start = PUBLISHED
    ) -> None:
        super().__init__()
        self.inner = inner
        self.base = start.base
        self.enter = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        self.blocks = nn.ModuleList(Block(inner, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(inner, eps=EPSILON)
        self.leave = nn.Linear(inner, width)
        self.apply(partial(init, spread=start.spread))
        init(self.enter, start.enter)
        nn.init.trunc_normal_(self.mask_token, std=SPREAD)
        if start.match:
            for block in self.blocks:
                _match(cast(Block, block), start.match)

    def forward(
        self, tokens: Tensor, kept: Tensor | None, wanted: Tensor | None, grid: tuple[int, int]
    ) -> Tensor:
        """Return ``(B, n, width)`` at the wanted positions; None means the whole grid."""
        B = tokens.shape[0]
        places = sincos(self.inner, *grid, base=self.base).to(tokens).expand(B, -1, -1)
        x = self.enter(tokens)
        x = x + (places if kept is None else pick(places, kept))
        asked = self.mask_token + (places if wanted is None else pick(places, wanted))
        x = torch.cat([x, asked], dim=1)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.leave(self.norm(x[:, -asked.shape[1] :])))


@torch.no_grad()
def _match(block: Block, scale: float) -> None:
    queries, keys, _ = block.qkv.weight.chunk(3)
    queries.mul_(scale)
    keys.copy_(queries)


def init(module: nn.Module, spread: float = SPREAD) -> None:
    """Set weights to a normal of a spread cut at two, biases to 0, norms to (1, 0)."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=spread, a=-2.0, b=2.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
