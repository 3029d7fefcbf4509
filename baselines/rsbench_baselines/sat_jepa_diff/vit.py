"""Vision transformers of I-JEPA: the encoder, and the predictor of tokens by position.

Positions are fixed sines and cosines of row and column, computed for any grid, so one set of
weights serves every side. Axes: B images, N tokens, W width.
"""

from __future__ import annotations

from functools import cache, partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
SPREAD = 0.02
BASE = 10_000.0


@cache
def _sincos(width: int, rows: int, columns: int, base: float) -> Tensor:
    half = width // 2
    rate = base ** (-2 * torch.arange(half // 2, dtype=torch.float64, device="cpu") / half)

    def code(count: int) -> Tensor:
        phase = torch.arange(count, dtype=torch.float64, device="cpu")[:, None] * rate
        return torch.cat([phase.sin(), phase.cos()], dim=1)

    across = code(columns)[None].expand(rows, -1, -1)
    down = code(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=-1).reshape(rows * columns, -1).float()


def sincos(width: int, rows: int, columns: int, *, base: float = BASE) -> Tensor:
    """Return fixed positions ``(rows·columns, width)``: first half the column, second the row.

    Each half is ``[sin(p·ω), cos(p·ω)]`` with ``ω_k = base^(−2k/d)``, d its width; 10000 as
    published.
    """
    if width % 4:
        raise ValueError(f"a width of {width} cannot hold sines and cosines of two axes")
    return _sincos(width, rows, columns, base)


def pick(tokens: Tensor, index: Tensor) -> Tensor:
    """Return the tokens ``(B, n, W)`` at ``index (B, n)`` of ``(B, N, W)``."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


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
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        mixed = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        )
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return cast(Tensor, x + self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class Encoder(nn.Module):
    """The image encoder; ViT-B/8 is width 768, depth 12, 12 heads.

    Args:
        bands: bands of an image, in shares of the value range; no further normalisation.
        patch: side of a token in pixels.
        spread: of the first weights.
        loud: spread of the patches' own: as published a patch is far quieter than its position,
            and a short training never hears it.
        base: of the positions.
    """

    def __init__(
        self, bands: int, *, patch: int, width: int, depth: int, heads: int,
        spread: float = SPREAD, loud: float = SPREAD, base: float = BASE,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch = patch
        self.width = width
        self.base = base
        self.embed = nn.Conv2d(bands, width, patch, patch)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.apply(partial(init, spread=spread))
        nn.init.trunc_normal_(self.embed.weight, std=loud, a=-2.0, b=2.0)

    def forward(self, image: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map ``(B, C, H, W)`` to tokens of the kept positions ``(B, n)``; of all where None."""
        x = self.embed(image)
        rows, columns = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = x + sincos(self.width, rows, columns, base=self.base).to(x)
        if kept is not None:
            x = pick(x, kept)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.norm(x))


class Predictor(nn.Module):
    """Predicts tokens at wanted positions from the tokens of an encoder.

    Args:
        width: of the encoder's tokens; ``inner``: of the predictor's own.
        spread: of the first weights; ``enter``: of the layer that takes in the encoder's tokens.
        match: queries start so many times as wide, and keys as they do, so that a token first
            attends to its own place (A. Trockman, J. Z. Kolter, "Mimetic initialization of
            self-attention layers", ICML 2023); 0 draws them apart, as published.
        base: of the positions.
    """

    def __init__(
        self, width: int, *, inner: int, depth: int, heads: int, spread: float = SPREAD,
        enter: float = SPREAD, match: float = 0.0, base: float = BASE,
    ) -> None:  # fmt: skip
        super().__init__()
        self.inner = inner
        self.base = base
        self.enter = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        self.blocks = nn.ModuleList(Block(inner, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(inner, eps=EPSILON)
        self.leave = nn.Linear(inner, width)
        self.apply(partial(init, spread=spread))
        init(self.enter, enter)
        nn.init.trunc_normal_(self.mask_token, std=SPREAD)
        if match:
            for block in self.blocks:
                _match(cast(Block, block), match)

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
