"""What every task gives the evaluator: cases, their dates and their matched sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

from rsbench.models.api import Given, SampleRef, Want

if TYPE_CHECKING:
    from torch import Tensor

REFERENCES = "n_refs="
"""Stands before the number of references in the inputs of a fusion entry."""


@dataclass(frozen=True)
class Case:
    """One batch as the evaluator sees it: what models get, and the truth they never see.

    Args:
        truth: ``(B, L, C, H, W)`` in the sensor's unit.
        valid: ``(B, L, 1, H, W)`` bool.
        starts: date of the last context frame, one per batch row.
        targets: dates of the leads, ``L`` per batch row.
        curves: membership in the matched sets, ``L`` per batch row.
        conditions: the strain each batch row is under; empty where there is none.
        zones: name → ``(B, H, W)`` bool, parts of the images chosen from what models see.
    """

    given: Given
    want: Want
    truth: Tensor
    valid: Tensor
    starts: tuple[date, ...]
    targets: tuple[tuple[date, ...], ...]
    curves: tuple[tuple[str, ...], ...]
    conditions: tuple[str, ...] = ()
    zones: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def samples(self) -> tuple[SampleRef, ...]:
        """Which samples the batch rows are."""
        return self.want.samples

    @cached_property
    def input_valid(self) -> tuple[float, ...]:
        """Share of valid pixels in the frames given of the sensor that is asked for, per row."""
        seen = self.given.frames[self.want.sensor].valid
        return tuple(seen.flatten(1).double().mean(1).tolist())


def curve_of(start: int, lead: int, *, times: int, context: int, horizon: int) -> str:
    """Say to which matched sets a lead belongs: ``starts``, ``targets``, ``both`` or ``none``.

    A start is matched where all leads of the horizon exist after it; a target is matched where
    all leads of the horizon reach it from a start with the full context.
    """
    by_start = start + horizon <= times - 1
    by_target = start + lead - horizon >= context - 1
    if by_start and by_target:
        return "both"
    return "starts" if by_start else "targets" if by_target else "none"
