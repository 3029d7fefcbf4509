"""Sizes of STFDiff under their names, with what they count; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True)
class Size:
    """What shapes the network and how it is sampled.

    Args:
        parameters: in all, at ``bands``.
        idle: prefixes of parameters that no output reads.
        bands: of every image.
        base, mult: width of each level is ``base·mult``; sides halve between levels.
        groups: of every norm.
        spare_stem: whether the published count's extra convolution of the stem is kept.
        steps: T of the cosine schedule.
        sampling_steps, eta: of the sampler; the published training and test settings differ,
            50 steps at η 0 and 10 steps at η 1.
        residual: answers are added to the fine reference; our change, for trainings of a minute.
    """

    parameters: int
    idle: tuple[str, ...] = ()
    bands: int = 6
    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4)
    groups: int = 8
    spare_stem: bool = True
    steps: int = 100
    sampling_steps: int = 10
    eta: float = 1.0
    residual: bool = False

    @property
    def multiple_of(self) -> int:
        """What both sides must be a multiple of."""
        return int(2 ** (len(self.mult) - 1))


REASONS: Mapping[str, str] = MappingProxyType(
    {
        "spare": "a convolution from one image's bands to the stem's width: the published number "
        "of parameters has exactly one more than the described forward pass reads"
    }
)
IDLE = tuple(REASONS)

_PAPER = Size(7_482_054, IDLE)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "paper_50": replace(_PAPER, sampling_steps=50, eta=0.0),
        "tiny": replace(
            _PAPER,
            parameters=45_958,
            idle=(),
            base=8,
            mult=(1, 1, 2),
            groups=4,
            spare_stem=False,
            steps=20,
            sampling_steps=2,
            residual=True,
        ),
    }
)
