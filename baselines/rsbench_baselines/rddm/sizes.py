"""Sizes of RDDM for fusion by preset, with their number of parameters; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from rsbench_baselines._card import UNetSize

Objective = Literal["pred_res_noise", "pred_x0_noise", "pred_res", "pred_noise"]
OBJECTIVES: tuple[Objective, ...] = ("pred_res_noise", "pred_x0_noise", "pred_res", "pred_noise")


@dataclass(frozen=True)
class Size(UNetSize):
    """Size of both networks, their objective, schedule and sampler.

    Args:
        images: condition images, joined to the noisy image as channels.
        heads, head: number of attention heads and width of each.
        objective: quantities that the networks estimate.
        steps: T of the native schedule.
        sum_scale: variance of the noise at the end.
        sampling_steps, eta: of the sampler.
        residual: the estimate is added to the residual of the mean of the fine references; our
            change, for trainings of a minute.
    """

    mult: tuple[int, ...] = (1, 2, 4, 8)
    images: int = 5
    heads: int = 4
    head: int = 32
    objective: Objective = "pred_res_noise"
    steps: int = 100
    sum_scale: float = 1.0
    sampling_steps: int = 50
    eta: float = 0.0
    residual: bool = False


_PAPER = Size(72_710_924)
"""Both networks, for fusion; the paper has no fusion network, so this count is our own."""

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
