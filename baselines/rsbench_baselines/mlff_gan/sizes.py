"""Sizes of MLFF-GAN by preset, with their number of parameters; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Size:
    """Size of generator and discriminator.

    Args:
        parameters: number of parameters of the generator at ``bands``.
        discriminator: number of parameters of the discriminator.
        bands: of every image.
        widths: of the levels; sides halve between them.
        critic: width of the discriminator's first layer.
        dropout: probability inside residual blocks.
        ratio: factor by which coarse images are degraded before use.
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
        """Both sides in pixels must be a multiple of this."""
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
    """Return prefixes of parameters that do not change any output, with the reason."""
    deepest = f"generator.fine.blocks.{len(size.widths) - 1}.conv2.bias"
    return {
        "discriminator": "used in training only",
        deepest: "adds a constant to a map, which the adaptive instance norm cancels",
    }
