"""Sizes of the networks of DiffusionSat; importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SD21: Mapping[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
"""The U-Net of Stable Diffusion 2.1; the rest are the defaults of UNet2DConditionModel."""
TOY: Mapping[str, Any] = {
    "block_out_channels": (16, 32),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": (2, 4),
    "norm_num_groups": 4,
    "use_linear_projection": True,
}


@dataclass(frozen=True)
class ControlSize:
    """Sizes of a control branch.

    Args:
        frames: several condition frames with 3-D convolutions; else one with 2-D convolutions.
        channels: of a condition frame.
        strides, widths: of the layers that take in condition frames.
        heads: number and width of the heads of the temporal layer on the first map; None for
            no temporal layers.
        mix: first share of the temporal layers.
    """

    frames: bool
    channels: int
    strides: tuple[int, ...] = (2, 2, 2)
    widths: tuple[int, ...] = (16, 32, 96, 256)
    heads: tuple[int, int] | None = (8, 64)
    mix: float = 0.0


@dataclass(frozen=True)
class Sizes:
    """Sizes of one preset.

    Args:
        unet: configuration of UNet2DConditionModel.
        control: of the control branch, without the channels of its frames.
        fold: pixels along a side of a latent cell, where no VAE makes the latents; 0 for the VAE.
        frozen: parts that files fill and that are not trained.
        masked: condition frames have a channel that is 1 where all bands are valid.
    """

    unet: Mapping[str, Any]
    control: ControlSize
    fold: int = 0
    frozen: tuple[str, ...] = ()
    masked: bool = False

    @property
    def words(self) -> bool:
        """Whether texts are encoded by word vectors that are trained with the network."""
        return bool(self.fold)


TOY_CONTROL = ControlSize(True, 0, strides=(2, 2), widths=(8, 12, 16), heads=(2, 8), mix=0.5)
SIZES: Mapping[str, Sizes] = {
    "tiny": Sizes(TOY, TOY_CONTROL, fold=4, masked=True),
    "paper": Sizes(SD21, ControlSize(True, 0), frozen=("vae",)),
    "released": Sizes(SD21, ControlSize(True, 0), frozen=("unet", "vae")),
}
