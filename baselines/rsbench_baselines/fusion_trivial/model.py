"""The trivial fusions, each one line of arithmetic on filled images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def add_change(preset: str) -> Trivial:
    """Build the first fine reference plus the coarse change since then."""
    return Trivial(lambda p: p.fine[:, :, 0] + p.target - p.coarse[:, :, 0])


def copy_c1(preset: str) -> Trivial:
    """Build the copy of the coarse target image."""
    return Trivial(lambda p: p.target)
