"""Tokens that networks of attention and of scans share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
