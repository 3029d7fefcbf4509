"""Attention, token merging and time codes that several networks share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST_PERIOD = 10_000.0


def time_code(times: Tensor, width: int) -> Tensor:
    """Return ``(N, width)``: sines, then cosines, of real times ``(N,)``.

    Frequencies are 10000^(−k/(h − 1)) for k = 0 … h − 1 with h = ``width // 2``, so that the last
    is 1/10000, as in the released code of MCVD, RDDM and STFDiff.
    """
    half = width // 2
    place = torch.arange(half, device=times.device, dtype=torch.float32)
    rate = torch.exp(-math.log(LONGEST_PERIOD) / max(half - 1, 1) * place)
    angle = times.float()[:, None] * rate[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of ``(N, heads, tokens, width)``, softmax(q kᵀ / √width) v.

    PyTorch's kernel without a tokens × tokens matrix requires four axes and, on a CPU, contiguous
    features of a token; other layouts are about seven times slower.
    """
    return F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())


class Merging(nn.Module):
    """Merge 2×2 neighbouring tokens into one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * inputs)
        self.reduction = nn.Linear(4 * inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, inputs)`` to ``(N, H/2, W/2, outputs)``."""
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        out: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return out
