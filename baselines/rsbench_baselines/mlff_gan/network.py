"""MLFF-GAN: generator with adaptive instance norm and change masks, and its discriminator.

B. Song and others, "MLFF-GAN", IEEE TGRS 2022; wiring after the released code
(songbingze/MLFF-GAN, ``model.py``). Two feature networks give maps at five levels. The fine maps
take the mean and deviation of the coarse target's maps, and a mask computed from both coarse
dates blends the two. A decoder joins the levels from the smallest up.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rsbench_baselines.mlff_gan.sizes import Size

EPSILON = 1e-5
"""Added to variances in the adaptive instance norm."""
GENERATOR_SLOPE = 0.01
CRITIC_SLOPE = 0.2
CRITIC_PADDING = 2


class ResidualBlock(nn.Module):
    """Convolution, dropout, LeakyReLU, convolution, dropout; reflected borders, and a shortcut."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.conv2 = nn.Conv2d(channels, channels, 3)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(N, C, H, W)``; both sides are 2 at least."""
        y = self.dropout(self.conv1(F.pad(x, (1, 1, 1, 1), mode="reflect")))
        y = F.leaky_relu(y, GENERATOR_SLOPE)
        y = self.dropout(self.conv2(F.pad(y, (1, 1, 1, 1), mode="reflect")))
        return x + torch.as_tensor(y)


class Features(nn.Module):
    """Maps at several levels: a convolution without activation, then a residual block, for each.

    The first convolution is 7×7 at full size, the others are 3×3 with stride 2.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        first = nn.Conv2d(size.bands, size.widths[0], 7, padding=3)
        rest = [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(size.widths)]
        self.downs = nn.ModuleList([first, *rest])
        self.blocks = nn.ModuleList(ResidualBlock(w, size.dropout) for w in size.widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one map per level, the full size first."""
        found = []
        for down, block in zip(self.downs, self.blocks, strict=True):
            x = block(down(x))
            found.append(x)
        return found


def restyled(content: Tensor, style: Tensor) -> Tensor:
    """Give a map the mean and deviation of another, per channel (adaptive instance norm).

    Variances have the divisor H·W − 1, as in the released code.
    """
    variance, mean = torch.var_mean(content, dim=(2, 3), keepdim=True)
    wanted_variance, wanted_mean = torch.var_mean(style, dim=(2, 3), keepdim=True)
    scale = (wanted_variance + EPSILON).sqrt() * (variance + EPSILON).rsqrt()
    return (content - mean) * scale + wanted_mean


class Mixer(nn.Module):
    """Blends the coarse target's map and the restyled fine map by a mask of change."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.last = nn.Conv2d(channels, 1, 1)
        self.norm3 = nn.BatchNorm2d(1)

    def mask(self, c0: Tensor, c1: Tensor) -> Tensor:
        """Return ``(N, 1, H, W)`` in 0 … 1 from the coarse maps of both dates."""
        difference = self.norm1(self.first(c1)) - self.norm2(self.second(c0))
        return torch.sigmoid(self.norm3(self.last(difference)))

    def forward(self, c0: Tensor, c1: Tensor, f0: Tensor) -> Tensor:
        """Return the blended map ``(N, C, H, W)``."""
        mask = self.mask(c0, c1)
        return mask * c1 + (1 - mask) * restyled(f0, c1)


class Generator(nn.Module):
    """The generator of a `Size`; images are ``(N, bands, H, W)`` in [0, 1]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths, dropout = size.widths, size.dropout
        self.multiple_of = int(2 ** (len(widths) - 1))
        self.coarse = Features(size)
        self.fine = Features(size)
        self.mixers = nn.ModuleList(Mixer(width) for width in widths)
        outputs = widths[-2::-1]
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * a, b, 4, stride=2, padding=1)
            for a, b in zip(widths[:0:-1], outputs, strict=True)
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, dropout) for width in outputs)
        self.head = nn.Sequential(
            ResidualBlock(2 * widths[0], dropout),
            nn.Conv2d(2 * widths[0], widths[0], 1),
            ResidualBlock(widths[0], dropout),
            nn.Conv2d(widths[0], size.bands, 1),
        )

    def forward(self, c0: Tensor, f0: Tensor, c1: Tensor) -> Tensor:
        """Return the fine image of the target date; linear, not clipped."""
        H, W = f0.shape[-2:]
        if H % self.multiple_of or W % self.multiple_of or min(H, W) < 2 * self.multiple_of:
            raise ValueError(
                f"image of {H}×{W}: both sides are multiples of {self.multiple_of}, "
                f"{2 * self.multiple_of} at least"
            )
        before, target, fine = self.coarse(c0), self.coarse(c1), self.fine(f0)
        mixed = [
            mixer(*maps) for mixer, *maps in zip(self.mixers, before, target, fine, strict=True)
        ]
        x = torch.cat([mixed.pop(), target[-1]], dim=1)
        for up, block in zip(self.ups, self.blocks, strict=True):
            x = block(F.leaky_relu(up(x), GENERATOR_SLOPE))
            x = torch.cat([mixed.pop(), x], dim=1)
        out: Tensor = self.head(x)
        return out


class Discriminator(nn.Module):
    """Scores overlapping patches of an image, given the coarse target (PatchGAN)."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        n, padding = size.critic, CRITIC_PADDING
        parts: list[nn.Module] = [
            nn.Conv2d(2 * size.bands, n, 4, stride=2, padding=padding), nn.LeakyReLU(CRITIC_SLOPE)
        ]  # fmt: skip
        for a, b, stride in ((n, 2 * n, 2), (2 * n, 4 * n, 2), (4 * n, 8 * n, 1)):
            parts += [
                nn.Conv2d(a, b, 4, stride=stride, padding=padding), nn.BatchNorm2d(b),
                nn.LeakyReLU(CRITIC_SLOPE),
            ]  # fmt: skip
        parts.append(nn.Conv2d(8 * n, 1, 4, padding=padding))
        self.layers = nn.Sequential(*parts)

    def forward(self, image: Tensor, c1: Tensor) -> Tensor:
        """Return one score per patch ``(N, 1, h, w)``: 11×11 for 64×64 pixels."""
        out: Tensor = self.layers(torch.cat([image, c1], dim=1))
        return out


def degraded(coarse: Tensor, ratio: int = 16) -> Tensor:
    """Take every ``ratio``-th pixel of coarse images and enlarge them by bicubic splines again."""
    H, W = coarse.shape[-2:]
    if H % ratio or W % ratio:
        raise ValueError(f"image of {H}×{W}: both sides are multiples of {ratio}")
    small = F.interpolate(coarse, size=(H // ratio, W // ratio), mode="nearest")
    return F.interpolate(small, size=(H, W), mode="bicubic", align_corners=False)
