"""Sizes of SA-STF under their names, with what they count; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Mode = Literal["official", "paper"]
Variant = Literal["full", "taylor", "taylor_tfa", "taylor_saf", "tfa_saf"]
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
    """

    parameters: int
    idle: tuple[str, ...] = ()
    bands: int = 6
    base: int = 64
    mult: tuple[int, ...] = (1, 2, 4, 8, 8)
    groups: int = 32
    mode: Mode = "official"
    variant: Variant = "full"
    schedule: Literal["official", "ddpm_rescaled", "rddm"] = "official"
    steps: int = 100
    start: Literal["official", "consistent"] = "official"
    sampling_steps: int = 50
    eta: float = 0.0

    @property
    def multiple_of(self) -> int:
        """What both sides must be a multiple of."""
        return int(2 ** (len(self.mult) - 1))


IDLE = (
    "deep.align0.project",
    "deep.align2.project",
    "deep.select.norm",
    "removal.norm.bias",
)
"""Counted in the published size and without effect: the output projections of the two cross
attentions, which multiply values by scores alone; one normalisation of the selection; and the
shift of the norm that serves both sides of two differences, where it cancels."""

_ALIGNED, _SELECTED, _REMOVED = IDLE[:2], IDLE[2:3], IDLE[3:]


def _ablation(variant: Variant, parameters: int, *idle: str) -> Size:
    return replace(_PAPER, variant=variant, parameters=parameters, idle=idle)


_PAPER = Size(83_839_558, IDLE)
_OURS = replace(_PAPER, schedule="rddm", start="consistent")

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "paper": _PAPER,
        "equations": replace(_PAPER, mode="paper"),
        "fixed": _OURS,
        "tiny": replace(
            _OURS,
            parameters=84_046,
            base=8,
            mult=(1, 2, 2),
            groups=4,
            steps=20,
            sampling_steps=5,
        ),
        "taylor": _ablation("taylor", 87_242_310, *_REMOVED),
        "taylor_tfa": _ablation("taylor_tfa", 88_559_174, *_ALIGNED, *_REMOVED),
        "taylor_saf": _ablation("taylor_saf", 78_589_510, *_SELECTED, *_REMOVED),
        "tfa_saf": _ablation("tfa_saf", 61_315_142, *IDLE[:3]),
    }
)
