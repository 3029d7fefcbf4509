"""SimVP: encoder, translator, decoder, all convolutions; v1 (IncepU) and v2 (gSTA).

Z. Gao et al., "SimVP: Simpler yet better video prediction", CVPR 2022, and C. Tan et al.,
"SimVP: Towards simple yet powerful spatiotemporal predictive learning", 2022. Shapes are
``(B, T, C, H, W)`` in and out; T and C are folded into channels for the translator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rsbench_baselines._convolution import Conv2d

STRIDES = (1, 2)
INCEPTION_KERNELS = (3, 5, 7, 11)
LKA_DILATION = 3


def strides(n_s: int) -> list[int]:
    """Return the encoder's strides 1, 2, 1, 2, …; the decoder runs them backwards."""
    return [STRIDES[i % 2] for i in range(n_s)]


class ConvSC(nn.Module):
    """Convolution 3×3, two-group normalisation, SiLU; halves, keeps or doubles the sides."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, up: bool) -> None:
        super().__init__()
        doubles = up and stride == 2
        self.conv = Conv2d(
            in_channels,
            out_channels * (4 if doubles else 1),
            kernel_size=3,
            stride=1 if up else stride,
            padding=1,
        )
        self.shuffle = nn.PixelShuffle(2) if doubles else nn.Identity()
        self.norm = nn.GroupNorm(2, out_channels)
        self.act = nn.SiLU()
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(_bias(self.conv))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H', W')``."""
        out: Tensor = self.act(self.norm(self.shuffle(self.conv(x))))
        return out


class Encoder(nn.Module):
    """N_S ConvSC per frame; the first output, at full resolution, is kept for the decoder."""

    def __init__(self, C_in: int, C_hid: int, N_S: int) -> None:
        super().__init__()
        self.enc = nn.ModuleList(
            ConvSC(C_in if i == 0 else C_hid, C_hid, stride=stride, up=False)
            for i, stride in enumerate(strides(N_S))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latent at ``2^-⌊N_S/2⌋`` of the sides, and the skip at full size."""
        skip = self.enc[0](x)
        latent = skip
        for layer in list(self.enc)[1:]:
            latent = layer(latent)
        return latent, skip


class Decoder(nn.Module):
    """Mirror of the encoder; the skip is added before the last ConvSC; 1×1 linear readout."""

    def __init__(self, C_hid: int, C_out: int, N_S: int) -> None:
        super().__init__()
        self.dec = nn.ModuleList(
            ConvSC(C_hid, C_hid, stride=stride, up=True) for stride in reversed(strides(N_S))
        )
        self.readout = Conv2d(C_hid, C_out, 1)

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        """Map the translated latent and the skip to ``(N, C_out, H, W)``."""
        for layer in list(self.dec)[:-1]:
            hidden = layer(hidden)
        out: Tensor = self.readout(self.dec[-1](hidden + skip))
        return out


class DropPath(nn.Module):
    """Drop a residual branch per sample while training, scaled to keep the mean."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` or zero per sample."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep) / keep


class LargeKernelGate(nn.Module):
    """Large-kernel convolution in three pieces, halved into a gate and what it lets through."""

    def __init__(self, dim: int, kernel_size: int = 21) -> None:
        super().__init__()
        near = 2 * LKA_DILATION - 1
        far = kernel_size // LKA_DILATION + (kernel_size // LKA_DILATION % 2 - 1)
        self.conv0 = Conv2d(dim, dim, near, padding=near // 2, groups=dim)
        self.conv_spatial = Conv2d(
            dim,
            dim,
            far,
            padding=LKA_DILATION * (far - 1) // 2,
            groups=dim,
            dilation=LKA_DILATION,
        )
        self.conv1 = Conv2d(dim, 2 * dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``sigmoid(g)·f`` with ``f, g`` the halves of the convolved input."""
        content, gate = self.conv1(self.conv_spatial(self.conv0(x))).chunk(2, dim=1)
        out: Tensor = torch.sigmoid(gate) * content
        return out


class SpatialAttention(nn.Module):
    """1×1, GELU, large-kernel gate, 1×1, with a shortcut of its own."""

    def __init__(self, dim: int, kernel_size: int = 21) -> None:
        super().__init__()
        self.proj_1 = Conv2d(dim, dim, 1)
        self.act = nn.GELU()
        self.gate = LargeKernelGate(dim, kernel_size)
        self.proj_2 = Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, dim, H, W)`` to the same shape."""
        out: Tensor = self.proj_2(self.gate(self.act(self.proj_1(x)))) + x
        return out


class MixMlp(nn.Module):
    """1×1 up, depth-wise 3×3, GELU, 1×1 down."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Conv2d(dim, hidden, 1)
        self.dwconv = Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, dim, H, W)`` to the same shape."""
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(x))))
        return out


class GASubBlock(nn.Module):
    """Gated spatiotemporal attention: attention and MLP, each scaled and dropped by path."""

    def __init__(self, dim: int, *, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = SpatialAttention(dim)
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = MixMlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), 1e-2))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), 1e-2))
        self.apply(_fan_out_normal)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, dim, H, W)`` to the same shape."""
        scale_1 = self.layer_scale_1[:, None, None]
        scale_2 = self.layer_scale_2[:, None, None]
        x = x + self.drop_path(scale_1 * self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(scale_2 * self.mlp(self.norm2(x)))
        return out


class MetaBlock(nn.Module):
    """One gSTA block, followed by a 1×1 convolution where the number of channels changes."""

    def __init__(
        self, in_channels: int, out_channels: int, *, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.block = GASubBlock(in_channels, mlp_ratio=mlp_ratio, drop_path=drop_path)
        same = in_channels == out_channels
        self.reduction = nn.Identity() if same else Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H, W)``."""
        out: Tensor = self.reduction(self.block(x))
        return out


class MidMetaNet(nn.Module):
    """The v2 translator: N_T gSTA blocks on ``(B, T·hid_S, H', W')``."""

    def __init__(
        self,
        channel_in: int,
        channel_hid: int,
        channel_out: int,
        N_T: int,
        *,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        if N_T < 2:
            raise ValueError(f"N_T is {N_T}: the translator has at least two blocks")
        rates = [0.01 + (drop_path - 0.01) * i / (N_T - 1) for i in range(N_T)]
        widths = [channel_in, *[channel_hid] * (N_T - 1), channel_out]
        self.enc = nn.Sequential(
            *(
                MetaBlock(widths[i], widths[i + 1], mlp_ratio=mlp_ratio, drop_path=max(0.0, rate))
                for i, rate in enumerate(rates)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channel_in, H, W)`` to ``(B, channel_out, H, W)``."""
        out: Tensor = self.enc(x)
        return out


class GroupConv(nn.Module):
    """Grouped convolution, group normalisation, LeakyReLU 0.2."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            groups = 1
        self.conv = Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, groups=groups
        )
        self.norm = nn.GroupNorm(groups, out_channels)
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H, W)``."""
        out: Tensor = self.act(self.norm(self.conv(x)))
        return out


class InceptionBlock(nn.Module):
    """1×1, then the sum of grouped convolutions of four kernel sizes."""

    def __init__(
        self,
        C_in: int,
        C_hid: int,
        C_out: int,
        incep_ker: Sequence[int] = INCEPTION_KERNELS,
        groups: int = 8,
    ) -> None:
        super().__init__()
        self.conv1 = Conv2d(C_in, C_hid, 1)
        self.layers = nn.ModuleList(GroupConv(C_hid, C_out, k, groups) for k in incep_ker)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C_in, H, W)`` to ``(N, C_out, H, W)``."""
        hidden = self.conv1(x)
        total: Tensor = self.layers[0](hidden)
        for layer in list(self.layers)[1:]:
            total = total + layer(hidden)
        return total


class MidIncepNet(nn.Module):
    """The v1 translator: N_T inception blocks down, N_T up, joined by concatenation."""

    def __init__(self, channel_in: int, channel_hid: int, channel_out: int, N_T: int) -> None:
        super().__init__()
        if N_T < 2:
            raise ValueError(f"N_T is {N_T}: the translator has at least two blocks")
        half = channel_hid // 2
        down = [InceptionBlock(channel_in, half, channel_hid)]
        down += [InceptionBlock(channel_hid, half, channel_hid) for _ in range(N_T - 1)]
        up = [InceptionBlock(channel_hid, half, channel_hid)]
        up += [InceptionBlock(2 * channel_hid, half, channel_hid) for _ in range(N_T - 2)]
        up += [InceptionBlock(2 * channel_hid, half, channel_out)]
        self.enc = nn.ModuleList(down)
        self.dec = nn.ModuleList(up)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channel_in, H, W)`` to ``(B, channel_out, H, W)``."""
        skips: list[Tensor] = []
        for layer in self.enc:
            x = layer(x)
            skips.append(x)
        x = self.dec[0](skips.pop())
        for layer in list(self.dec)[1:]:
            x = layer(torch.cat([x, skips.pop()], dim=1))
        return x


class SimVP(nn.Module):
    """SimVP.

    Args:
        in_shape: ``(T, C, H, W)`` of the input; only T and C shape the parameters.
        hid_S: channels of encoder and decoder.
        hid_T: channels of the translator.
        N_S: ConvSC layers of the encoder; sides shrink by ``2^⌊N_S/2⌋``.
        N_T: blocks of the translator.
        model_type: ``gsta`` (v2) or ``incepu`` (v1).
        mlp_ratio, drop_path: of the gSTA blocks.
        out_frames: frames of the output, T as published; with fewer, the decoder gets the
            skips of the last ``out_frames`` input frames.
        out_channels: channels of the output, C as published.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        hid_S: int = 64,
        hid_T: int = 512,
        N_S: int = 4,
        N_T: int = 8,
        model_type: str = "gsta",
        mlp_ratio: float = 8.0,
        drop_path: float = 0.0,
        out_frames: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        T, C = int(in_shape[0]), int(in_shape[1])
        self.frames_in = T
        self.frames_out = out_frames or T
        self.blocks = N_T
        self.factor = math.prod(strides(N_S))
        self.enc = Encoder(C, hid_S, N_S)
        self.dec = Decoder(hid_S, out_channels or C, N_S)
        self.hid: nn.Module
        if model_type == "gsta":
            self.hid = MidMetaNet(
                T * hid_S,
                hid_T,
                self.frames_out * hid_S,
                N_T,
                mlp_ratio=mlp_ratio,
                drop_path=drop_path,
            )
        elif model_type == "incepu":
            self.hid = MidIncepNet(T * hid_S, hid_T, self.frames_out * hid_S, N_T)
        else:
            raise ValueError(f"model_type is {model_type!r}: it is gsta or incepu")

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, T, C, H, W)`` to ``(B, out_frames, out_channels, H, W)``."""
        B, T, C, H, W = x.shape
        latent, skip = self.enc(x.reshape(B * T, C, H, W))
        _, D, h, w = latent.shape
        hidden = self.hid(latent.reshape(B, T * D, h, w))
        hidden = hidden.reshape(B * self.frames_out, D, h, w)
        skip = skip.reshape(B, T, D, H, W)[:, T - self.frames_out :]
        out = self.dec(hidden, skip.reshape(B * self.frames_out, D, H, W))
        return torch.as_tensor(out).reshape(B, self.frames_out, -1, H, W)


def _bias(conv: nn.Conv2d) -> Tensor:
    if conv.bias is None:
        raise AssertionError("every convolution here has a bias")
    return conv.bias


def _fan_out_normal(module: nn.Module) -> Any:
    # Normal(0, √(2 / fan_out)), fan_out counted per group, as published for the gSTA blocks.
    if isinstance(module, nn.Conv2d):
        kernel = module.kernel_size[0] * module.kernel_size[1]
        fan_out = kernel * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        nn.init.zeros_(_bias(module))
