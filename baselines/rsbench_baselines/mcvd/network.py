"""U-Net of MCVD: BigGAN residual blocks, smoothed resampling, frames joined or in every norm.

V. Voleti, A. Jolicoeur-Martineau, C. Pal, "MCVD: Masked conditional video diffusion for
prediction, generation, and interpolation", NeurIPS 2022, on the network of Y. Song et al.,
"Score-based generative modeling through stochastic differential equations", ICLR 2021; spatial
normalisation after T. Park et al., "Semantic image synthesis with spatially-adaptive
normalization", CVPR 2019. Times run from the least noise to the most; the authors' run back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.tokens import attend, time_code

MOST_GROUPS = 32
EPSILON = 1e-6
"""Of the norms of attention and of the SPADE form, as in the released program."""
JOINED_EPSILON = 1e-5
"""Of the other norms where frames are joined to the input."""
SHRINK = 1 / math.sqrt(2)
"""Factor on a sum with a skip, so that the variance is kept."""


def groups_of(channels: int) -> int:
    """Return the number of groups of a normalisation: one per four channels, at most 32."""
    groups = min(max(1, channels // 4), MOST_GROUPS)
    if channels % groups:
        raise ValueError(f"{channels} channels do not divide into {groups} groups")
    return groups


def resampled(x: Tensor, way: str) -> Tensor:
    """Halve (``down``) or double (``up``) the sides of ``(N, C, H, W)``, smoothed by 1-3-3-1.

    The border is padded with zeros, as published. Sums of slices are much faster on a CPU than a
    convolution per channel.
    """
    step = _halved if way == "down" else _doubled
    return step(step(x, 2), 3)


def _halved(x: Tensor, axis: int) -> Tensor:
    count = x.shape[axis] // 2
    padded = F.pad(x, (0, 0, 1, 1) if axis == 2 else (1, 1))
    apart = padded.reshape(*x.shape[:axis], count + 1, 2, *x.shape[axis + 1 :])
    even, odd = apart.unbind(axis + 1)
    # Pixels 2i − 1 … 2i + 2 of the input have the padded indices 2i … 2i + 3.
    outer = even.narrow(axis, 0, count) + odd.narrow(axis, 1, count)
    return (outer + 3 * (odd.narrow(axis, 0, count) + even.narrow(axis, 1, count))) / 8


def _doubled(x: Tensor, axis: int) -> Tensor:
    count = x.shape[axis]
    padded = F.pad(x, (0, 0, 1, 1) if axis == 2 else (1, 1))
    before, after = padded.narrow(axis, 0, count), padded.narrow(axis, 2, count)
    return torch.stack([3 * x + before, 3 * x + after], dim=axis + 1).flatten(axis, axis + 1) / 4


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class Norm(nn.Module):
    """Group normalisation, scaled and shifted by time and, in the SPADE form, by the frames.

    Args:
        channels: C.
        code: width of the code of time.
        frames: channels of the conditioning frames; 0 where they are joined to the input.
        spade_dim: width between frames and their scales.
    """

    def __init__(self, channels: int, code: int, frames: int = 0, spade_dim: int = 128) -> None:
        super().__init__()
        epsilon = EPSILON if frames else JOINED_EPSILON
        affine = not code and not frames
        self.norm = nn.GroupNorm(groups_of(channels), channels, eps=epsilon, affine=affine)
        self.time = nn.Linear(code, 2 * channels) if code else None
        self.shared = self.gamma = self.beta = None
        if frames:
            self.shared = nn.Conv2d(frames, spade_dim, 3, padding=1)
            self.gamma = nn.Conv2d(spade_dim, channels, 3, padding=1)
            self.beta = nn.Conv2d(spade_dim, channels, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor, frames: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``; ``frames`` are ``(N, c, h, w)`` of any size."""
        y: Tensor = self.norm(x)
        if self.shared is not None and self.gamma is not None and self.beta is not None:
            read = F.silu(self.shared(F.interpolate(frames, size=x.shape[-2:], mode="nearest")))
            y = y * (1 + self.gamma(read)) + self.beta(read)
        if self.time is not None:
            scale, shift = self.time(F.silu(code))[:, :, None, None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        return y


class ResBlock(nn.Module):
    """Norm, SiLU, resampling, convolution; norm, SiLU, dropout, convolution; skip; over √2.

    Args:
        inputs, outputs: channels.
        code, frames, spade_dim: of :class:`Norm`.
        way: ``up``, ``down`` or empty.
        dropout: rate.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        code: int,
        *,
        frames: int = 0,
        spade_dim: int = 128,
        way: str = "",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.way = way
        self.norm1 = Norm(inputs, code, frames, spade_dim)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = Norm(outputs, code, frames, spade_dim)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        plain = inputs == outputs and not way
        self.skip = nn.Identity() if plain else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, code: Tensor, frames: Tensor) -> Tensor:
        """Map ``(N, inputs, H, W)`` to ``(N, outputs, H′, W′)``."""
        y = F.silu(self.norm1(x, code, frames))
        if self.way:
            x, y = resampled(x, self.way), resampled(y, self.way)
        y = self.conv1(y)
        y = self.conv2(self.dropout(F.silu(self.norm2(y, code, frames))))
        out: Tensor = (self.skip(x) + y) * SHRINK
        return out


class Attention(nn.Module):
    """Attention between all pixels; the sum with the skip is divided by √2.

    Args:
        channels: C.
        head_channels: width of a head.
    """

    def __init__(self, channels: int, head_channels: int) -> None:
        super().__init__()
        if channels % head_channels:
            raise ValueError(
                f"attention over {channels} channels with heads of {head_channels}: "
                "n_head_channels must divide the width of every level that attends"
            )
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups_of(channels), channels, eps=EPSILON)
        self.read = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``."""
        parts = self.read(self.norm(x)).unflatten(1, (3, self.heads, -1)).flatten(-2)
        q, k, v = parts.transpose(-1, -2).unbind(1)  # each (N, heads, H·W, C / heads)
        found = attend(q, k, v).transpose(-1, -2).reshape(x.shape)
        out: Tensor = (x + self.out(found)) * SHRINK
        return out


def _levels(
    blocks: nn.ModuleList, attention: nn.ModuleList
) -> Iterator[tuple[list[nn.Module], list[nn.Module]]]:
    """Yield blocks and attention of each level as lists."""
    for some, others in zip(blocks, attention, strict=True):
        assert isinstance(some, nn.ModuleList)
        assert isinstance(others, nn.ModuleList)
        yield list(some), list(others)


class UNet(nn.Module):
    """Estimate the noise in the predicted frames; sides are multiples of 2^(L − 1).

    Args:
        channels: channels of one wanted frame.
        num_frames: wanted frames n; noise has ``n·channels`` channels.
        cond_channels: channels of all given frames together.
        image_size: side at which ``attn_resolutions`` are counted.
        ngf: width of the first level.
        ch_mult: width of each of the L levels, in ``ngf``.
        num_res_blocks: residual blocks per level going down; one more going up.
        attn_resolutions: sides at which pixels attend; the middle always does.
        n_head_channels: width of a head of attention.
        dropout: rate.
        spade_dim: width of the SPADE form; 0 joins the given frames to the input.
    """

    def __init__(
        self,
        channels: int,
        num_frames: int,
        cond_channels: int,
        *,
        image_size: int = 128,
        ngf: int = 32,
        ch_mult: Sequence[int] = (1, 2, 2, 2),
        num_res_blocks: int = 3,
        attn_resolutions: Sequence[int] = (8, 16, 32),
        n_head_channels: int = 64,
        dropout: float = 0.0,
        spade_dim: int = 0,
    ) -> None:
        super().__init__()
        if len(ch_mult) < 2:
            raise ValueError(f"ch_mult is {tuple(ch_mult)}: at least two levels are needed")
        wanted, code = channels * num_frames, 4 * ngf
        self.ngf, self.spade = ngf, spade_dim > 0
        frames = cond_channels if self.spade else 0
        widths = [ngf * m for m in ch_mult]
        attends = [image_size >> level in attn_resolutions for level in range(len(widths))]

        def block(inputs: int, outputs: int, way: str = "") -> ResBlock:
            return ResBlock(
                inputs, outputs, code,
                frames=frames, spade_dim=spade_dim, way=way, dropout=dropout,
            )  # fmt: skip

        self.time = nn.Sequential(nn.Linear(ngf, code), nn.SiLU(), nn.Linear(code, code))
        self.stem = nn.Conv2d(wanted + (0 if self.spade else cond_channels), ngf, 3, padding=1)
        self.down, self.down_attention, self.shrink = (nn.ModuleList() for _ in range(3))
        kept, now = [ngf], ngf
        for level, width in enumerate(widths):
            blocks, attention = nn.ModuleList(), nn.ModuleList()
            for _ in range(num_res_blocks):
                blocks.append(block(now, width))
                if attends[level]:
                    attention.append(Attention(width, n_head_channels))
                now = width
                kept.append(now)
            self.down.append(blocks)
            self.down_attention.append(attention)
            if level + 1 < len(widths):
                self.shrink.append(block(now, now, "down"))
                kept.append(now)
        self.middle = nn.ModuleList([block(now, now), block(now, now)])
        self.middle_attention = Attention(now, n_head_channels)
        self.up, self.up_attention, self.grow = (nn.ModuleList() for _ in range(3))
        for level, width in reversed(list(enumerate(widths))):
            blocks = nn.ModuleList()
            for _ in range(num_res_blocks + 1):
                blocks.append(block(now + kept.pop(), width))
                now = width
            self.up.append(blocks)
            # Going up, a level attends once, after its blocks.
            many = [Attention(width, n_head_channels)] if attends[level] else []
            self.up_attention.append(nn.ModuleList(many))
            if level:
                self.grow.append(block(now, now, "up"))
        self.norm = Norm(now, 0, frames, spade_dim)
        self.out = _zero(nn.Conv2d(now, wanted, 3, padding=1))

    def forward(self, noisy: Tensor, given: Tensor, times: Tensor) -> Tensor:
        """Return the noise ``(N, n·channels, H, W)``.

        Args:
            noisy: ``(N, n·channels, H, W)``.
            given: ``(N, cond_channels, H, W)``.
            times: ``(N,)``.
        """
        code = self.time(time_code(times, self.ngf).to(noisy.dtype))
        x = self.stem(noisy if self.spade else torch.cat([noisy, given], dim=1))
        kept = [x]
        for level, (blocks, attention) in enumerate(_levels(self.down, self.down_attention)):
            for i, block in enumerate(blocks):
                x = block(x, code, given)
                if attention:
                    x = attention[i](x)
                kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x, code, given)
                kept.append(x)
        first, second = self.middle
        x = second(self.middle_attention(first(x, code, given)), code, given)
        for level, (blocks, attention) in enumerate(_levels(self.up, self.up_attention)):
            for block in blocks:
                x = block(torch.cat([x, kept.pop()], dim=1), code, given)
            for look in attention:
                x = look(x)
            if level < len(self.grow):
                x = self.grow[level](x, code, given)
        return torch.as_tensor(self.out(F.silu(self.norm(x, code, given))))
