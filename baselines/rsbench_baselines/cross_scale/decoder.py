"""The decoder of LatentMIM: mask tokens attend to each other and to the visible tokens.

Y. Wei, A. Gupta, P. Morgado, "Towards latent masked image modeling for self-supervised visual
representation learning", ECCV 2024, arXiv 2407.15837. Axes: B images, N tokens, W width.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench_baselines._vit import EPSILON, SPREAD, multi_head, pick


class CrossBlock(nn.Module):
    """Pre-norm block: attention within queries, attention to known tokens, MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm_query = nn.LayerNorm(width, eps=EPSILON)
        self.norm_known = nn.LayerNorm(width, eps=EPSILON)
        self.query = nn.Linear(width, width)
        self.known = nn.Linear(width, 2 * width)
        self.cross = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        """Map queries ``(B, n, W)`` to the same shape; ``known`` are ``(B, m, W)``."""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.proj(multi_head(q, k, v, self.heads))
        query = self.query(self.norm_query(x))
        key, value = self.known(self.norm_known(known)).chunk(2, dim=-1)
        x = x + self.cross(multi_head(query, key, value, self.heads))
        return cast(Tensor, x + self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class CrossDecoder(nn.Module):
    """Predicts tokens at masked positions from visible tokens.

    A mask token starts as a mean of the visible tokens, weighted by a softmax over products of
    position codes.

    Args:
        width: of the tokens; ``inner``: of the decoder's own.
        depth, heads: of the decoder.
    """

    def __init__(self, width: int, *, inner: int, depth: int, heads: int) -> None:
        super().__init__()
        self.inner = inner
        self.enter = nn.Linear(width, inner)
        self.cls = nn.Parameter(torch.empty(1, 1, inner).normal_(std=SPREAD))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        self.blocks = nn.ModuleList(CrossBlock(inner, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(inner, eps=EPSILON)
        self.leave = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, kept: Tensor, wanted: Tensor, places: Tensor) -> Tensor:
        """Return tokens at the wanted positions ``(B, m, width)``.

        Args:
            tokens: a token without a position, then those of the kept positions:
                ``(B, 1 + n, width)``.
            kept, wanted: positions ``(B, n)`` and ``(B, m)``.
            places: codes of all positions ``(N, inner)``.
        """
        x = self.enter(tokens)
        codes = places.to(x).expand(len(x), -1, -1)
        seen, asked = pick(codes, kept), pick(codes, wanted)
        near = (asked @ seen.mT * self.inner**-0.5).softmax(dim=-1)
        masked = self.mask_token + near @ x[:, 1:] + asked
        known = torch.cat([x[:, :1], x[:, 1:] + seen], dim=1)
        x = torch.cat([self.cls.expand(len(x), -1, -1), masked], dim=1)
        for block in self.blocks:
            x = block(x, known)
        return cast(Tensor, self.leave(self.norm(x[:, 1:])))
