"""Sizes of SA-STF by preset, with their number of parameters; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from rsbench_baselines._card import UNetSize

Mode = Literal["official", "paper"]
Variant = Literal["full", "taylor", "taylor_tfa", "taylor_saf", "tfa_saf"]
Schedule = Literal["official", "ddpm_rescaled", "rddm"]
Start = Literal["official", "consistent"]
Perceptual = Literal["vgg", "none"]
VARIANTS: tuple[Variant, ...] = ("full", "taylor", "taylor_tfa", "taylor_saf", "tfa_saf")


@dataclass(frozen=True)
class Size(UNetSize):
    """Size of the network, its variant, schedule and sampler.

    Args:
        mode: ``official`` follows the released program, ``paper`` the published equations.
        variant: ``full``, or the parts that an ablation keeps.
        schedule, steps: of the diffusion.
        start: first image of the sampler.
        sampling_steps, eta: of the sampler; unused without diffusion.
        perceptual: whether training adds a distance of VGG-16 features.
        residual: the output is added to the mean of the fine references; our change, for
            trainings of a minute.
    """

    mult: tuple[int, ...] = (1, 2, 4, 8, 8)
    groups: int = 32
    mode: Mode = "official"
    variant: Variant = "full"
    schedule: Schedule = "official"
    steps: int = 100
    start: Start = "official"
    sampling_steps: int = 50
    eta: float = 0.0
    perceptual: Perceptual = "vgg"
    residual: bool = False


_PROJECT = "as published, the attention multiplies values by scores only"
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "deep.align0.project": _PROJECT,
        "deep.align2.project": _PROJECT,
        "deep.select.norm": "as published, the selection compares maps without normalising them",
        "removal.norm.bias": "one norm is applied to both sides of a difference, so it cancels",
    }
)
"""Parameters counted in the published size that do not change any output, with the reason."""
IDLE = tuple(REASONS)
_ALIGNED, _SELECTED, _REMOVED = IDLE[:2], IDLE[2:3], IDLE[3:]


def _ablation(variant: Variant, parameters: int, *idle: str) -> Size:
    return replace(_OURS, variant=variant, parameters=parameters, idle=idle)


_OFFICIAL = Size(83_839_558, IDLE)
_OURS = replace(_OFFICIAL, schedule="rddm", start="consistent", perceptual="none")

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "official": _OFFICIAL,
        "paper": replace(_OFFICIAL, mode="paper", schedule="rddm", start="consistent"),
        "fixed": _OURS,
        "tiny": replace(
            _OURS,
            parameters=58_670,
            base=8,
            mult=(1, 1, 2),
            groups=4,
            steps=20,
            sampling_steps=2,
            residual=True,
        ),
        "taylor": _ablation("taylor", 87_242_310, *_REMOVED),
        "taylor_tfa": _ablation("taylor_tfa", 88_559_174, *_ALIGNED, *_REMOVED),
        "taylor_saf": _ablation("taylor_saf", 78_589_510, *_SELECTED, *_REMOVED),
        "tfa_saf": _ablation("tfa_saf", 61_315_142, *IDLE[:3]),
    }
)
