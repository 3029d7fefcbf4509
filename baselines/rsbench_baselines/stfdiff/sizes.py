"""Sizes of STFDiff by preset, with their number of parameters; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from rsbench_baselines._card import UNetSize


@dataclass(frozen=True)
class Size(UNetSize):
    """Size of the network, its schedule and its sampler.

    Args:
        spare_stem: keep the unused convolution of the stem that the published count includes.
        steps: T of the cosine schedule.
        sampling_steps, eta: of the sampler; the published training and test settings differ,
            50 steps at η 0 and 10 steps at η 1.
        residual: the output is added to the fine reference; our change, for trainings of a minute.
    """

    spare_stem: bool = True
    steps: int = 100
    sampling_steps: int = 10
    eta: float = 1.0
    residual: bool = False


REASONS: Mapping[str, str] = MappingProxyType(
    {
        "spare": "a convolution from one image's bands to the stem's width: the published number "
        "of parameters includes exactly one more than the published forward pass uses"
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
