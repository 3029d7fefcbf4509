"""The trivial fusions, each one line of arithmetic on filled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines.fusion_trivial.pairs import ImagePairs, answer, pairs_of


@dataclass(frozen=True)
class Trivial:
    """A rule on the pairs; it answers with ``(B, M|1, C, H, W)``."""

    rule: Callable[[ImagePairs], Tensor]

    def predict(self, given: Given, want: Want) -> Prediction:
        """Apply the rule to every sample."""
        return Prediction(answer(self.rule(pairs_of(given, want)), want))


def copy_f0(preset: str) -> Trivial:
    """Build the copy of the first fine reference."""
    return Trivial(lambda p: p.fine[:, :, 0])


def copy_f2(preset: str) -> Trivial:
    """Build the copy of the last fine reference."""
    return Trivial(lambda p: p.fine[:, :, -1])


def mean_refs(preset: str) -> Trivial:
    """Build the mean of the fine references."""
    return Trivial(lambda p: p.fine.mean(dim=2))


def interpolate_refs(preset: str) -> Trivial:
    """Build the linear interpolation between the fine references at the target date."""
    return Trivial(_interpolated)


def add_change(preset: str) -> Trivial:
    """Build the first fine reference plus the coarse change since then."""
    return Trivial(lambda p: p.fine[:, :, 0] + p.target - p.coarse[:, :, 0])


def copy_c1(preset: str) -> Trivial:
    """Build the copy of the coarse target image."""
    return Trivial(lambda p: p.target)


def _interpolated(pairs: ImagePairs) -> Tensor:
    """Return ``F0 + (t − t0) / (t2 − t0) · (F2 − F0)``; the nearer one outside of both dates."""
    first, last = pairs.days[:, 0], pairs.days[:, -1]
    share = ((pairs.target_day - first) / (last - first)).clamp(0, 1)
    share = share.to(pairs.fine)[:, None, None, None, None]
    return torch.lerp(pairs.fine[:, :, 0], pairs.fine[:, :, -1], share)
