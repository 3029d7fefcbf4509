"""Sizes of STFMamba under their names, with what they count; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Start:
    """What a scan starts from; as published where nothing else is said.

    Args:
        steps: the least and the largest Δ, which spread evenly over their logarithm. A state is
            remembered for about 1/Δ places.
        gain: of the weights that choose Δ, B and C from a place, over 1/√features.
    """

    steps: tuple[float, float] = (1e-3, 1e-1)
    gain: float = 1.0


PUBLISHED = Start()


@dataclass(frozen=True)
class Size:
    """What shapes the network; some scans have as many features as a map has columns.

    Args:
        parameters: in all, at ``bands``.
        bands: of every image.
        side: of the images in pixels; no other size fits.
        widths: channels of the encoder's stages; sides halve between them.
        pairs: pairs of scan blocks of each stage.
        patch: pixels along one side of a token of the first stage.
        middle: channels of the decoders.
        residuals: residual blocks behind each level of a decoder.
        sharpen_width: channels of the network that sharpens coarse images.
        sharpen_blocks, sharpen_pairs: its blocks, and the pairs of scan blocks of each.
        spare: whether the published count's extra block, which nothing reads, is kept.
        state, rank: of the selective scan.
        start: values of the scans before training.
        block: side of the squares of pixels within which the two answers are joined.
        token, heads: width and heads of that attention.
    """

    parameters: int
    bands: int = 6
    side: int = 128
    widths: tuple[int, ...] = (96, 192, 384, 768)
    pairs: tuple[int, ...] = (2, 2, 2, 1)
    patch: int = 4
    middle: int = 36
    residuals: int = 2
    sharpen_width: int = 12
    sharpen_blocks: int = 4
    sharpen_pairs: int = 2
    spare: bool = True
    state: int = 16
    rank: int = 2
    start: Start = PUBLISHED
    block: int = 16
    token: int = 16
    heads: int = 4


_PAPER = Size(20_311_484)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "tiny": replace(
            _PAPER,
            parameters=33_440,
            side=16,
            widths=(8,),
            pairs=(1,),
            middle=4,
            residuals=1,
            sharpen_width=16,
            sharpen_blocks=1,
            sharpen_pairs=1,
            spare=False,
            state=1,
            rank=1,
            # Sixteen places and few features: as published, states would not fade within the map
            # and would add a thousandth of what passes beside them.
            start=Start(steps=(0.1, 1.0), gain=8.0),
            block=4,
        ),
    }
)


def idle(size: Size) -> dict[str, str]:
    """Return beginnings of names of parameters that change no answer, with the reason."""
    spare = f"sharpen.blocks.{size.sharpen_blocks}."
    return {spare: "a block that is registered and never used, as published"} if size.spare else {}
