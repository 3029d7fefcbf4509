"""Sizes of RDDM for fusion under their names, with what they count; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Objective = Literal["pred_res_noise", "pred_x0_noise", "pred_res", "pred_noise"]
OBJECTIVES: tuple[Objective, ...] = ("pred_res_noise", "pred_x0_noise", "pred_res", "pred_noise")


@dataclass(frozen=True)
class Size:
    """What shapes both networks and how they are trained and sampled.

    Args:
        parameters: in all, at ``bands``.
        idle: prefixes of parameters that no output reads.
        bands: of every image.
        images: condition images beside the noisy one, joined as channels.
        base, mult: width of each level is ``base·mult``; sides halve between levels.
        groups: of every group norm.
        heads, head: attention heads and the width of each.
        objective: what the networks estimate.
        steps: T of the native schedule.
        sum_scale: variance of the noise at the end.
        sampling_steps, eta: of the sampler.
        residual: what is estimated is added to what the mean of the fine references would give;
            our change, for trainings of a minute.
    """

    parameters: int
    idle: tuple[str, ...] = ()
    bands: int = 6
    images: int = 5
    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4, 8)
    groups: int = 8
    heads: int = 4
    head: int = 32
    objective: Objective = "pred_res_noise"
    steps: int = 100
    sum_scale: float = 1.0
    sampling_steps: int = 50
    eta: float = 0.0
    residual: bool = False

    @property
    def multiple_of(self) -> int:
        """What both sides must be a multiple of."""
        return int(2 ** (len(self.mult) - 1))


_PAPER = Size(72_710_924)
"""Both networks, for the fusion task; the paper does not treat it, so this count is our own."""

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "tiny": replace(
            _PAPER,
            parameters=63_574,
            base=8,
            mult=(1, 2),
            groups=4,
            heads=2,
            head=8,
            objective="pred_res",
            steps=20,
            sampling_steps=2,
            residual=True,
        ),
    }
)
