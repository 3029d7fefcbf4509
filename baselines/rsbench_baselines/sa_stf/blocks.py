"""Elementary blocks of SA-STF: convolutions behind a group norm, with and without a code."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST_PERIOD = 10_000.0


def level_code(levels: Tensor, width: int) -> Tensor:
    """Return ``(N, width)``: sines, then cosines, of real levels ``(N,)``."""
    half = width // 2
    place = torch.arange(half, device=levels.device, dtype=torch.float32)
    angle = levels.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * place / half)[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class LevelEmbedding(nn.Module):
    """Code of a level, then linear, SiLU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(self, levels: Tensor) -> Tensor:
        """Map levels ``(N,)`` to ``(N, width)``."""
        weight: Tensor = self.mlp[0].weight  # type: ignore[assignment]
        out: Tensor = self.mlp(level_code(levels, self.width).to(weight.dtype))
        return out


class NormConv(nn.Module):
    """Group norm, SiLU, 3×3 convolution."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        out: Tensor = self.conv(F.silu(self.norm(x)))
        return out


def shortcut(inputs: int, outputs: int) -> nn.Module:
    """Return the identity, or a 1×1 convolution where the number of channels changes."""
    return nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)


class ImageBlock(nn.Module):
    """One `NormConv` with a shortcut."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.block = NormConv(inputs, outputs, groups)
        self.skip = shortcut(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        out: Tensor = self.block(x) + self.skip(x)
        return out


class CodedBlock(nn.Module):
    """Two `NormConv` with a shortcut; a code is added between them.

    Args:
        inputs, outputs: channels.
        groups: of the norms.
        code: width of the code; None where there is none.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, code: int | None) -> None:
        super().__init__()
        self.first = NormConv(inputs, outputs, groups)
        self.code = None if code is None else nn.Linear(code, outputs)
        self.second = NormConv(outputs, outputs, groups)
        self.skip = shortcut(inputs, outputs)

    def forward(self, x: Tensor, code: Tensor | None) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        y = self.first(x)
        if self.code is not None and code is not None:
            y = y + self.code(code)[:, :, None, None]
        out: Tensor = self.second(y) + self.skip(x)
        return out


class Up(nn.Module):
    """Nearest neighbour twice as large, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


def down(channels: int) -> nn.Conv2d:
    """Return a 3×3 convolution of stride 2."""
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)
