"""Sizes of SwinSTFM by preset, with their number of parameters; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Size:
    """Size of the network.

    Args:
        parameters: number of all parameters at ``bands``.
        bands: of every image.
        widths: of the levels; the last is the bottom and as wide as the one above it.
        depths: window blocks of each encoder level but the last, which has none.
        up_depths: window blocks of each decoder level.
        window: side of a window in tokens; a token is 2×2 pixels at the first level.
        head: width of one attention head.
        residual: add the output to the fine reference; not published, for short trainings.
        released: keep the two faults of the released attention (see ``windows``).
    """

    parameters: int
    bands: int = 6
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    up_depths: tuple[int, ...] = (2, 6, 2, 2)
    window: int = 8
    head: int = 32
    residual: bool = False
    released: bool = False

    @property
    def multiple_of(self) -> int:
        """Both sides in pixels must be a multiple of this, so that windows fill the bottom."""
        return int(2 ** len(self.widths) * self.window)


_PAPER = Size(37_535_290)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "released": replace(_PAPER, released=True),
        "tiny": replace(
            _PAPER,
            parameters=41_352,
            widths=(16, 16),
            depths=(2,),
            up_depths=(2,),
            window=4,
            head=8,
            residual=True,
        ),
    }
)


def idle(size: Size) -> dict[str, str]:
    """Return prefixes of parameters that do not change any output, with the reason."""
    layers = {"bottom": 1, **{f"ups.{i}.fusion": 2 for i in range(len(size.up_depths))}}
    names = [f"{layer}.norm_{image}.bias" for layer in layers for image in ("f0", "c1")]
    names += [
        f"{layer}.blocks.{i}.{key}.bias"
        for layer, depth in layers.items()
        for i in range(depth)
        for key in ("key_fine", "key_coarse")
    ]
    why = "adds one constant to all scores of a query, which the softmax cancels"
    return dict.fromkeys(names, why)
