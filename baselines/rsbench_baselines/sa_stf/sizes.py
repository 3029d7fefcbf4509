"""Sizes of SA-STF under their names, with what they count; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

Mode = Literal["official", "paper"]
Variant = Literal["full", "taylor", "taylor_tfa", "taylor_saf", "tfa_saf"]
Schedule = Literal["official", "ddpm_rescaled", "rddm"]
Start = Literal["official", "consistent"]
Perceptual = Literal["vgg", "none"]
VARIANTS: tuple[Variant, ...] = ("full", "taylor", "taylor_tfa", "taylor_saf", "tfa_saf")


@dataclass(frozen=True)
class Size:
    """What shapes the network and how it is sampled.

    Args:
        parameters: in all, at ``bands``.
        idle: prefixes of parameters that no output reads.
        bands: of every image.
        base, mult: width of each level is ``base·mult``; sides halve between levels.
        groups: of every normalisation.
        mode: ``official`` as the released program computes, ``paper`` as the equations read.
        variant: ``full``, or what is left in an ablation.
        schedule, steps: of the diffusion.
        start: where sampling begins.
        sampling_steps, eta: of the sampler; no step at all without diffusion.
        perceptual: whether training adds a distance of VGG-16's features.
        residual: the network answers what is added to the mean of the fine references; our
            change, for trainings of a minute.
    """

    parameters: int
    idle: tuple[str, ...] = ()
    bands: int = 6
    base: int = 64
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

    @property
    def multiple_of(self) -> int:
        """What both sides must be a multiple of."""
        return int(2 ** (len(self.mult) - 1))


REASONS: Mapping[str, str] = MappingProxyType(
    {
        "deep.align0.project": "as published, the attention multiplies values by scores alone",
        "deep.align2.project": "as published, the attention multiplies values by scores alone",
        "deep.select.norm": "as published, the selection compares maps that are not normalised",
        "removal.norm.bias": "one norm serves both sides of two differences, where it cancels",
    }
)
"""Counted in the published size and without effect."""
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


def require_choices(size: Size) -> None:
    """Refuse a word that is none of the choices.

    Raises:
        ValueError: names the field and what there is to choose from.
    """
    for name, choices in (
        ("mode", get_args(Mode)),
        ("variant", VARIANTS),
        ("schedule", get_args(Schedule)),
        ("start", get_args(Start)),
        ("perceptual", get_args(Perceptual)),
    ):
        if getattr(size, name) not in choices:
            raise ValueError(f"{name} is {getattr(size, name)!r}: it is {' or '.join(choices)}")
