"""Errors per class of pixels, whose parts add up to the value of the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ADDITIVE = ("mse@1", "mae@1")
"""Metrics that are means over pixels, so that classes of pixels have a part in them each."""


@dataclass(frozen=True)
class ClassSums:
    """Parts of one image's value, by class of its pixels.

    Args:
        value: metric → ``(N, K)`` float64, Σ error over the class ÷ valid elements of the image.
            Summed over the classes it is the image's value.
        weight: ``(N, K)`` float64, valid elements of the class ÷ those of the image: sums to 1,
            or to 0 where the image has no valid element. Value ÷ weight is the mean of the class.
    """

    value: dict[str, Tensor]
    weight: Tensor


def class_sums(
    metrics: Sequence[str],
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor,
    classes: Tensor,
    number: int,
) -> ClassSums:
    """Add up errors over classes of pixels, in one pass over them.

    Args:
        metrics: those of ``ADDITIVE`` that are wanted.
        prediction, truth: ``(N, C, H, W)`` float32 in the data's unit.
        valid: ``(N, 1|C, H, W)`` bool; what stands elsewhere changes nothing.
        classes: ``(N, H, W)`` int64 in 0 … ``number`` − 1, fixed without the truth.
        number: how many classes K there are.
    """
    n, bands = truth.shape[:2]
    seen = valid.expand(-1, bands, -1, -1)
    error = torch.where(seen, prediction - truth, 0.0)
    place = torch.arange(n, device=truth.device)[:, None, None] * number + classes

    def summed(values: Tensor) -> Tensor:
        """Sum ``(N, H, W)`` over the pixels of each class, in float64."""
        found = torch.bincount(place.flatten(), values.flatten().double(), minlength=n * number)
        return found.reshape(n, number).cpu()

    elements = summed(seen.sum(1))
    whole = elements.sum(1, keepdim=True).clamp_min(1.0)
    makers = {"mse@1": lambda: error.square().sum(1), "mae@1": lambda: error.abs().sum(1)}
    value = {metric: summed(makers[metric]()) / whole for metric in metrics}
    return ClassSums(value, elements / whole)
