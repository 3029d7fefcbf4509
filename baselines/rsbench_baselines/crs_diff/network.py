"""The adapters of CRS-Diff, from classes of diffusers.

D. Tang and others, "CRS-Diff: controllable remote sensing image generation with diffusion model",
IEEE TGRS 2024; sizes and wiring as in the released program (Sonettoo/CRS-Diff).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any, cast

import torch
from diffusers.models.attention import FeedForward
from torch import Tensor, nn
from torch.nn import functional as F

from rsbench_baselines.diffusionsat.network import Residuals, skip_widths, zeroed

NUMBERS = 7
SCALE = 1000.0
LONGEST_PERIOD = 10_000.0
RANGES = ((1980, 2024), (0, 12), (0, 31), (0, 5), (0, 100), (-90, 90), (-180, 180))
"""Of year, month, day, metres per pixel, cloud in %, latitude and longitude."""


@dataclass(frozen=True)
class MapSize:
    """Sizes of the map adapter.

    Args:
        channels: of all maps together.
        stem: widths of the layers that take in maps.
        strides: of the layers between two widths of the stem.
        inject: width of the features of each level.
        attend: length of the first weights of each query and key; 0 draws them as usual, with
            which a toy network hardly attends.
    """

    channels: int
    stem: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (2, 2)
    inject: tuple[int, ...] = (192, 256, 384, 512)
    attend: float = 0.0


def numbers(
    longitude: float, latitude: float, gsd: float, cloud: float, day: date
) -> tuple[float, ...]:
    """Return the seven numbers in the order of CRS-Diff, scaled by their ranges, times 1000.

    Args:
        longitude, latitude: in degrees, east and north positive.
        gsd: metres that a pixel measures; beyond 5 m the number is beyond 1000.
        cloud: share of the image, 0 … 1.
        day: of the image.
    """
    values = (day.year, day.month, day.day, gsd, 100 * cloud, latitude, longitude)
    return tuple(
        SCALE * (value - low) / (high - low)
        for value, (low, high) in zip(values, RANGES, strict=True)
    )


class Metadata(nn.Module):
    """One linear layer for each number, on sines and cosines in turn; the answers are summed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(NUMBERS))

    def forward(self, metadata: Tensor) -> Tensor:
        """Map ``(N, 7)`` to ``(N, 4·width)``."""
        place = torch.arange(0, self.width, 2, device=metadata.device)
        angle = metadata[..., None] * torch.exp(-math.log(LONGEST_PERIOD) * place / self.width)
        code = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)
        return torch.stack([f(code[:, i]) for i, f in enumerate(self.layers)]).sum(dim=0)


class Content(nn.Module):
    """A vector of a content image as four tokens, by two gated layers."""

    def __init__(self, width: int = 768, mult: tuple[int, int] = (2, 4)) -> None:
        super().__init__()
        first, second = width * mult[0], width * mult[1]
        self.tokens, self.width = mult[1], width
        gated: Any = FeedForward
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(first)
        self.ff1 = gated(width, first, mult=2 * mult[0], dropout=0.1, activation_fn="geglu")
        self.ff2 = gated(
            first, second, mult=2 * mult[1] // mult[0], dropout=0.3, activation_fn="geglu"
        )

    def forward(self, vector: Tensor) -> Tensor:
        """Map ``(N, width)`` to ``(N, 4, width)``."""
        x = self.ff2(self.norm2(self.ff1(self.norm1(vector))))
        return cast(Tensor, x.view(-1, self.tokens, self.width))


class MapFeatures(nn.Module):
    """Maps to the features of each level; 0 before training."""

    def __init__(self, size: MapSize) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(size.channels, size.stem[0], 3, padding=1), nn.SiLU()]
        for (before, after), stride in zip(pairwise(size.stem), size.strides, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1, stride=stride), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.SiLU()]
        self.stem = nn.Sequential(*layers)
        widths = (size.stem[-1], *size.inject)
        self.levels = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, stride=2) for before, after in pairwise(widths)
        )
        self.gates = nn.ModuleList(zeroed(nn.Conv2d(w, w, 3, padding=1)) for w in size.inject)

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Return ``(N, inject[i], h/2^i, w/2^i)`` of maps ``(N, channels, H, W)``."""
        x, found = self.stem(maps), []
        for layer, gate in zip(self.levels, self.gates, strict=True):
            x = F.silu(layer(x))
            found.append(gate(x))
        return tuple(found)


class Injection(nn.Module):
    """Attention over all pixels, and a norm that features scale and shift."""

    def __init__(self, channels: int, features: int, groups: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.norm = nn.GroupNorm(groups, channels, affine=False)
        self.gamma = nn.Conv2d(features, channels, 3, padding=1)
        self.beta = nn.Conv2d(features, channels, 3, padding=1)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Keep the shape ``(N, channels, h, w)``; scores are not divided, as released."""
        q, k, v = (f(x).flatten(2).mT for f in (self.query, self.key, self.value))
        seen = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        x = self.norm(x + seen.mT.reshape(x.shape))
        return torch.as_tensor(x * (1 + self.gamma(features)) + self.beta(features))


class Injected(nn.Module):
    """A residual block of a U-Net with injections in place of its norms."""

    def __init__(self, block: Any, features: int, groups: int) -> None:
        super().__init__()
        self.norm1 = Injection(block.norm1.num_channels, features, groups)
        self.norm2 = Injection(block.norm2.num_channels, features, groups)
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.time_emb_proj, self.conv_shortcut = block.time_emb_proj, block.conv_shortcut

    def sharpen(self, length: float) -> None:
        """Draw queries and keys of both injections with orthogonal weights of a length."""
        for norm in (self.norm1, self.norm2):
            for layer in (norm.query, norm.key):
                nn.init.orthogonal_(layer.weight, gain=length)

    def forward(self, x: Tensor, emb: Tensor, features: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` as the residual block does."""
        y = self.conv1(F.silu(self.norm1(x, features)))
        y = y + self.time_emb_proj(F.silu(emb))[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y, features)))
        return torch.as_tensor((x if self.conv_shortcut is None else self.conv_shortcut(x)) + y)


class MapAdapter(nn.Module):
    """A trainable copy of the U-Net's encoder whose first block of each level sees features."""

    def __init__(self, unet: Any, size: MapSize) -> None:
        super().__init__()
        config = unet.config
        self.features = MapFeatures(size)
        self.time_proj = unet.time_proj
        self.conv_in = copy.deepcopy(unet.conv_in)
        self.time_embedding = copy.deepcopy(unet.time_embedding)
        self.down_blocks = copy.deepcopy(unet.down_blocks)
        self.mid_block = copy.deepcopy(unet.mid_block)
        for block, width in zip(self.down_blocks, size.inject, strict=True):
            block.resnets[0] = Injected(block.resnets[0], width, config.norm_num_groups)
            if size.attend:
                block.resnets[0].sharpen(size.attend)
        widths, _ = skip_widths(config)
        self.gates = nn.ModuleList(zeroed(nn.Conv2d(w, w, 1)) for w in widths)
        self.middle_gate = zeroed(nn.Conv2d(widths[-1], widths[-1], 1))

    def forward(
        self, noisy: Tensor, times: Tensor, tokens: Tensor, features: Sequence[Tensor]
    ) -> Residuals:
        """Return what is added to the U-Net; it does not see the metadata, as released."""
        emb = self.time_embedding(self.time_proj(times).to(noisy.dtype))
        x = self.conv_in(noisy)
        kept = [x]
        for block, level in zip(self.down_blocks, features, strict=True):
            attentions = getattr(block, "attentions", None) or [None] * len(block.resnets)
            for i, (resnet, attention) in enumerate(zip(block.resnets, attentions, strict=True)):
                x = resnet(x, emb, *([level] if i == 0 else []))
                if attention is not None:
                    x = attention(x, encoder_hidden_states=tokens, return_dict=False)[0]
                kept.append(x)
            for shrink in block.downsamplers or []:
                x = shrink(x)
                kept.append(x)
        x = self.mid_block(x, emb, encoder_hidden_states=tokens)
        skips = tuple(gate(skip) for gate, skip in zip(self.gates, kept, strict=True))
        return Residuals(skips, self.middle_gate(x))


SD15: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""The U-Net of Stable Diffusion 1.5; the rest are the defaults of UNet2DConditionModel."""
