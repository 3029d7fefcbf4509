"""Blocks of the U-Nets of RDDM and STFDiff: standardised convolutions, time, attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.tokens import attend, time_code

EPSILON = 1e-5


class StandardConv(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1 when they are applied."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H, W)``."""
        w = self.weight
        mean = w.mean(dim=(1, 2, 3), keepdim=True)
        variance = w.var(dim=(1, 2, 3), keepdim=True, unbiased=False)
        w = (w - mean) * (variance + EPSILON).rsqrt()
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class TimeEmbedding(nn.Module):
    """Code of a real time, then linear, GELU, linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(width, outputs)
        self.second = nn.Linear(outputs, outputs)

    def forward(self, times: Tensor) -> Tensor:
        """Map times ``(N,)`` to ``(N, outputs)``."""
        code = time_code(times, self.width).to(self.first.weight.dtype)
        out: Tensor = self.second(F.gelu(self.first(code)))
        return out


class ResidualBlock(nn.Module):
    """Twice convolution, group norm, SiLU, with a shortcut; time scales and shifts the first norm.

    Args:
        inputs, outputs: channels.
        groups: of both norms.
        code: width of the time's code; None where there is none.
        standard: which of the two convolutions are standardised.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        groups: int,
        code: int | None,
        standard: tuple[bool, bool] = (True, True),
    ) -> None:
        super().__init__()
        first, second = (StandardConv if s else nn.Conv2d for s in standard)
        self.conv1 = first(inputs, outputs, 3, padding=1)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.time = None if code is None else nn.Linear(code, 2 * outputs)
        self.conv2 = second(outputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, code: Tensor | None = None) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H, W)``."""
        y = self.norm1(self.conv1(x))
        if self.time is not None and code is not None:
            scale, shift = self.time(F.silu(code))[:, :, None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        y = F.silu(self.norm2(self.conv2(F.silu(y))))
        out: Tensor = y + self.skip(x)
        return out


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels; a gain, no shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``."""
        mean = x.mean(dim=1, keepdim=True)
        variance = x.var(dim=1, keepdim=True, unbiased=False)
        return (x - mean) * (variance + EPSILON).rsqrt() * self.gain


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int, head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head, 1, bias=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values ``(N, heads, head, H·W)``."""
        N, _, H, W = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(N, 3, self.heads, -1, H * W).unbind(1)
        return q, k, v


class LinearAttention(_Attention):
    """Attention through a small matrix per head, linear in the number of pixels; shortcut."""

    def __init__(self, channels: int, heads: int, head: int) -> None:
        super().__init__(channels, heads, head)
        self.out = nn.Conv2d(heads * head, channels, 1)
        self.last = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``."""
        q, k, v = self.split(x)
        q = q.softmax(dim=2) * q.shape[2] ** -0.5
        # Values are divided by H·W as released; the epsilon of the last norm makes it matter.
        context = torch.einsum("nhdp,nhep->nhde", k.softmax(dim=3), v / v.shape[3])
        found = torch.einsum("nhde,nhdp->nhep", context, q).reshape(x.shape[0], -1, *x.shape[2:])
        return x + torch.as_tensor(self.last(self.out(found)))


class FullAttention(_Attention):
    """Attention between all pixels, with a shortcut."""

    def __init__(self, channels: int, heads: int, head: int) -> None:
        super().__init__(channels, heads, head)
        self.out = nn.Conv2d(heads * head, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``."""
        q, k, v = (part.transpose(2, 3) for part in self.split(x))
        found = attend(q, k, v).transpose(2, 3)
        found = found.reshape(x.shape[0], -1, *x.shape[2:])
        return x + torch.as_tensor(self.out(found))


def shrink(inputs: int, outputs: int, *, last: bool) -> nn.Conv2d:
    """Return a 4×4 convolution of stride 2, at the last level a 3×3 one that keeps the size."""
    if last:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)


class Grow(nn.Module):
    """Nearest neighbour twice as large (not at the last level), then a 3×3 convolution."""

    def __init__(self, inputs: int, outputs: int, *, last: bool) -> None:
        super().__init__()
        self.last = last
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, 2H, 2W)``, or to the same size."""
        if not self.last:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        out: Tensor = self.conv(x)
        return out
