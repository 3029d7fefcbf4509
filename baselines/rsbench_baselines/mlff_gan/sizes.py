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
        bands: of every image.
        widths: of the levels; sides halve between them.
        critic: width of the discriminator's first layer.
        dropout: inside residual blocks.
        ratio: by which coarse images are degraded before they are used.
    """

    parameters: int
    discriminator: int
    bands: int = 6
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    critic: int = 64
    dropout: float = 0.5
    ratio: int = 16

    @property
    def multiple_of(self) -> int:
        """What both sides must be a multiple of."""
        return max(int(2 ** (len(self.widths) - 1)), self.ratio)


_PAPER = Size(5_925_285, 2_775_745)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "tiny": replace(
            _PAPER,
            parameters=30_756,
            discriminator=12_205,
            widths=(8, 16),
            critic=4,
            dropout=0.0,
        ),
    }
)


def idle(size: Size) -> dict[str, str]:
    """Return beginnings of names of parameters that change no answer, with the reason."""
    deepest = f"generator.fine.blocks.{len(size.widths) - 1}.conv2.bias"
    return {
        "discriminator": "it judges answers in training alone",
        deepest: "restyling takes off what is the same all over a map",
    }
