"""A small U-Net that estimates the noise in an image from its time and a condition.

After J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020, with
scale and shift by time as in A. Nichol, P. Dhariwal, ICML 2021.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.tokens import attend

LONGEST_PERIOD = 10_000.0


def groups_of(channels: int) -> int:
    """Return the groups of a normalisation: 8, or fewer so that each has four channels."""
    groups = min(8, max(1, channels // 4))
    while channels % groups:
        groups -= 1
    return groups


def time_code(times: Tensor, width: int) -> Tensor:
    """Return ``(N, width)``: cosines and sines of times ``(N,)``."""
    half = width // 2
    place = torch.arange(half, device=times.device, dtype=torch.float32)
    angle = times.float()[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * place / half)[None]
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    """Set a convolution to zero: the initial value of residual branches and of the output."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class ResBlock(nn.Module):
    """Two convolutions with a residual; time scales and shifts in between."""

    def __init__(self, inputs: int, outputs: int, code: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups_of(inputs), inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(code, 2 * outputs)
        self.norm2 = nn.GroupNorm(groups_of(outputs), outputs)
        self.conv2 = _zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        y = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(code)[:, :, None, None].chunk(2, dim=1)
        y = self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))
        out: Tensor = self.skip(x) + y
        return out


class Attention(nn.Module):
    """Attention between all pixels, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups_of(channels), channels)
        self.query = nn.Conv2d(channels, channels, 1)
        # A bias of the keys adds the same to all scores of a pixel and changes nothing.
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, channels, H, W)``."""
        y = self.norm(x)
        q, k, v = (f(y).flatten(2).mT[:, None] for f in (self.query, self.key, self.value))
        found = attend(q, k, v).mT.reshape(x.shape)
        return x + torch.as_tensor(self.out(found))


class Level(nn.Module):
    """Residual blocks at one size, each followed by attention where asked."""

    def __init__(self, widths: list[tuple[int, int]], code: int, *, attends: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(a, b, code) for a, b in widths)
        self.attention = nn.ModuleList(Attention(b) for _, b in widths if attends)

    def at(self, index: int, x: Tensor, code: Tensor) -> Tensor:
        """Run one block."""
        x = self.blocks[index](x, code)
        return torch.as_tensor(self.attention[index](x)) if len(self.attention) else x


class UNet(nn.Module):
    """U-Net over ``len(mult)`` sizes; sides must be multiples of ``2^(len(mult) − 1)``.

    Args:
        in_channels: channels of the noisy image and its condition together.
        out_channels: channels of the noise.
        base: width of the first level.
        mult: width of each level, in ``base``.
        num_res_blocks: residual blocks per level.
        attention: levels that attend, counted from 0 at full size; the middle always does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        base: int = 64,
        mult: tuple[int, ...] = (1, 2, 2, 4),
        num_res_blocks: int = 2,
        attention: tuple[int, ...] = (2, 3),
    ) -> None:
        super().__init__()
        widths = [base * m for m in mult]
        code = 4 * base
        self.base = base
        self.time = nn.Sequential(nn.Linear(base, code), nn.SiLU(), nn.Linear(code, code))
        self.stem = nn.Conv2d(in_channels, base, 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        kept, now = [base], base
        for level, width in enumerate(widths):
            pairs = [(now if i == 0 else width, width) for i in range(num_res_blocks)]
            self.down.append(Level(pairs, code, attends=level in attention))
            kept += [width] * num_res_blocks
            now = width
            if level + 1 < len(widths):
                self.shrink.append(nn.Conv2d(now, now, 3, stride=2, padding=1))
                kept.append(now)
        self.middle = Level([(now, now), (now, now)], code, attends=False)
        self.middle_attention = Attention(now)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            pairs = []
            for _ in range(num_res_blocks + 1):
                pairs.append((now + kept.pop(), width))
                now = width
            self.up.append(Level(pairs, code, attends=level in attention))
            if level:
                self.grow.append(nn.Conv2d(now, now, 3, padding=1))
        self.norm = nn.GroupNorm(groups_of(now), now)
        self.out = _zero(nn.Conv2d(now, out_channels, 3, padding=1))

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` at times ``(N,)`` to noise ``(N, out_channels, H, W)``."""
        code = F.silu(self.time(time_code(times, self.base).to(x.dtype)))
        x = self.stem(x)
        kept = [x]
        for index, level in enumerate(self.down):
            for i in range(len(level.blocks)):  # type: ignore[arg-type]
                x = level.at(i, x, code)  # type: ignore[operator]
                kept.append(x)
            if index < len(self.shrink):
                x = self.shrink[index](x)
                kept.append(x)
        x = self.middle.at(0, x, code)
        x = self.middle.at(1, self.middle_attention(x), code)
        for index, level in enumerate(self.up):
            for i in range(len(level.blocks)):  # type: ignore[arg-type]
                x = level.at(i, torch.cat([x, kept.pop()], dim=1), code)  # type: ignore[operator]
            if index < len(self.grow):
                x = self.grow[index](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return torch.as_tensor(self.out(F.silu(self.norm(x))))
