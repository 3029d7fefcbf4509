"""Tokens that networks of attention and of scans share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of ``(N, heads, tokens, width)``, softmax(q kᵀ / √width) v.

    PyTorch's kernel that never holds a tokens × tokens matrix takes four axes and, on a CPU,
    numbers of a token that lie side by side; anything else is some seven times slower.
    """
    return F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())


class Merging(nn.Module):
    """Four neighbours to one token."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * inputs)
        self.reduction = nn.Linear(4 * inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, inputs)`` to ``(N, H/2, W/2, outputs)``."""
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        out: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return out
