"""Sizes of STFMamba by preset, with their number of parameters; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Start:
    """Initial values of a scan; the defaults are the published ones.

    Args:
        steps: smallest and largest Δ, spaced evenly in their logarithm. A state lasts for about
            1/Δ positions.
        gain: of the weights from which Δ, B and C are computed, in units of 1/√features.
    """

    steps: tuple[float, float] = (1e-3, 1e-1)
    gain: float = 1.0


PUBLISHED = Start()
PATCH = 4
"""Pixels along one side of a token; a decoder enlarges twice by 2 at its end."""


@dataclass(frozen=True)
class Size:
    """Size of the network; some scans have as many features as a map has columns.

    Args:
        parameters: number of all parameters at ``bands``.
        bands: of every image.
        side: of the images in pixels; the network takes no other size.
        widths: channels of the encoder's stages; sides halve between them.
        pairs: pairs of scan blocks of each stage.
        middle: channels of the decoders.
        sharpen_width: channels of the network that sharpens coarse images.
        sharpen_blocks, sharpen_pairs: its number of blocks, and pairs of scan blocks of each.
        spare: keep the unused layers that the published count includes.
        state, rank: of the selective scan.
        start: initial values of the scans.
        drop_path: probability that a branch of a scan block is left out of a sample in training.
        block: side in pixels of the squares within which the two predictions are joined.
        token, heads: width and heads of that attention.
    """

    parameters: int
    bands: int = 6
    side: int = 128
    widths: tuple[int, ...] = (96, 192, 384, 768)
    pairs: tuple[int, ...] = (2, 2, 2, 1)
    middle: int = 36
    sharpen_width: int = 12
    sharpen_blocks: int = 4
    sharpen_pairs: int = 2
    spare: bool = True
    state: int = 16
    rank: int = 2
    start: Start = PUBLISHED
    drop_path: float = 0.1
    block: int = 16
    token: int = 16
    heads: int = 4


_PAPER = Size(20_311_484)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "tiny": replace(
            _PAPER,
            parameters=36_188,
            side=16,
            widths=(8,),
            pairs=(1,),
            middle=4,
            sharpen_width=16,
            sharpen_blocks=1,
            sharpen_pairs=1,
            spare=False,
            state=1,
            rank=1,
            # With 16 positions and few features, the published values give states that do not
            # decay within the map and that contribute a thousandth of the skip path.
            start=Start(steps=(0.1, 1.0), gain=8.0),
            drop_path=0.0,
            block=4,
        ),
    }
)


def idle(size: Size) -> dict[str, str]:
    """Return prefixes of parameters that do not change any output, with the reason."""
    cancels = "adds one constant to all scores of a query, which the softmax cancels"
    found = {"join.key.bias": cancels}
    if size.spare:
        unused = f"sharpen.blocks.{size.sharpen_blocks}.", "from_fine.spare.", "from_coarse.spare."
        found |= dict.fromkeys((*unused, "join.spare."), "as published, never called")
    return found
