"""Losses of SA-STF: absolute error, perceptual distance, alignment of the deepest maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rsbench_baselines.image_losses import absolute
from rsbench_baselines.sa_stf.deep import Alignment
from rsbench_baselines.vgg import VggFeatures, WeightsUnavailable, vgg

TAPS = (4, 11, 21)
"""The last batch norms before the first three poolings of VGG-16; the first two after ReLU."""
TAP_WEIGHTS = (1.0, 0.8, 0.6)


@dataclass(frozen=True)
class LossPlan:
    """Terms of the loss and their weights.

    Args:
        perceptual: ``vgg`` or ``none``; never inferred from the available weights.
        perceptual_weight: of the perceptual distance.
        alignment_weight: of the alignment, reached after ``ramp`` epochs.
        ramp: epochs over which it rises as half a cosine.
        rescale: scale images from [−1, 1] to [0, 1], on which VGG was trained; the published
            program does not.
        detach: stop the gradient at the target of the alignment; as published it is not stopped, so
            that both sides can shrink.
    """

    perceptual: Literal["vgg", "none"] = "vgg"
    perceptual_weight: float = 0.01
    alignment_weight: float = 1e-4
    ramp: float = 100.0
    rescale: bool = False
    detach: bool = False

    def alignment(self, epoch: float) -> float:
        """Return the weight of the alignment at an epoch."""
        share = min(epoch / self.ramp, 1.0)
        return self.alignment_weight * 0.5 * (1 - math.cos(math.pi * share))


OFFICIAL = LossPlan()
EQUATIONS = LossPlan(rescale=True, detach=True)
"""As the equations read; that the target is held fixed is our reading."""


class FusionLoss:
    """The sum over a `LossPlan`.

    Args:
        plan: what is summed.
        features: VGG-16 with batch norm, tapped at `TAPS`; required if the plan is ``vgg``.

    Raises:
        WeightsUnavailable: if the plan needs features and there are none.
    """

    def __init__(self, plan: LossPlan, features: VggFeatures | None = None) -> None:
        if plan.perceptual == "vgg" and features is None:
            raise WeightsUnavailable(
                "the perceptual part of SA-STF's loss",
                "no VGG-16 was given",
                "Give its weights, or set perceptual='none' and state that with every result",
            )
        if plan.perceptual == "none" and features is not None:
            raise ValueError("VGG features were given to a loss whose plan says none")
        self.plan = plan
        self._features = features

    @classmethod
    def from_folders(cls, plan: LossPlan, folders: Iterable[Path]) -> FusionLoss:
        """Return the loss with weights from the first folder that has them, if it needs any."""
        if plan.perceptual == "none":
            return cls(plan)
        return cls(plan, vgg("vgg16_bn", TAPS, folders))

    def __call__(
        self,
        estimate: Tensor,
        truth: Tensor,
        alignment: Alignment | None,
        *,
        epoch: float,
        valid: Tensor | None = None,
    ) -> Mapping[str, Tensor]:
        """Return ``total`` and its parts before weighting.

        Args:
            estimate, truth: ``(N, C, H, W)`` in [−1, 1].
            alignment: as the network found it; None leaves its part out.
            epoch: from 0, may be a fraction.
            valid: ``(N, 1|C, H, W)`` bool; invalid truth is replaced by the estimate, so that
                it teaches nothing.
        """
        if valid is not None:
            truth = torch.where(valid, truth, estimate.detach())
        parts = {"absolute": absolute(estimate - truth, valid)}
        total = parts["absolute"]
        if self._features is not None:
            features = self._features.to(estimate.device)
            parts["perceptual"] = self._distance(features, estimate, truth)
            total = total + self.plan.perceptual_weight * parts["perceptual"]
        if alignment is not None:
            target = alignment.target.detach() if self.plan.detach else alignment.target
            parts["alignment"] = 0.5 * mse_loss(alignment.from0, target)
            parts["alignment"] = parts["alignment"] + 0.5 * mse_loss(alignment.from2, target)
            total = total + self.plan.alignment(epoch) * parts["alignment"]
        return {"total": total, **parts}

    def _distance(self, features: VggFeatures, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(self._seen(features, a), self._seen(features, b), strict=True)
        parts = [w * mse_loss(x, y) for w, (x, y) in zip(TAP_WEIGHTS, pairs, strict=True)]
        return torch.stack(parts).sum()

    def _seen(self, features: VggFeatures, x: Tensor) -> list[Tensor]:
        grey = x.mean(dim=1, keepdim=True)
        grey = (grey + 1) / 2 if self.plan.rescale else grey
        found: list[Tensor] = features(grey.expand(-1, 3, -1, -1))
        return found
