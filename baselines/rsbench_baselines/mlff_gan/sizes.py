"""Sizes of MLFF-GAN under their names, with what they count; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Size:
    """What shapes generator and discriminator.

    Args:
        parameters: of the generator, at ``bands``.
        discriminator: parameters of the discriminator.
        idle: prefixes and names of generator parameters without effect.
        bands: of every image.
        widths: of the levels; sides halve between them.
        critic: width of the discriminator's first layer.
        dropout: inside residual blocks.
        ratio: by which coarse images are degraded before they are used.
    """

    parameters: int
    discriminator: int
    idle: tuple[str, ...] = ()
    bands: int = 6
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    critic: int = 64
    dropout: float = 0.5
    ratio: int = 16

    @property
    def multiple_of(self) -> int:
        """What both sides must be a multiple of."""
        return max(int(2 ** (len(self.widths) - 1)), self.ratio)


IDLE = ("first.bias", "second.bias", "last.bias")
"""Endings of names: shifts of the masks' 1×1 convolutions, which the batch norm behind each
takes off again while training."""

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": Size(5_925_285, 2_775_745, IDLE),
        "tiny": replace(
            Size(5_925_285, 2_775_745, IDLE),
            parameters=0,
            discriminator=0,
            widths=(8, 16, 24),
            critic=8,
            dropout=0.1,
        ),
    }
)
