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
            Summed over the classes of a layer it is the image's value.
        weight: ``(N, K)`` float64, valid elements of the class ÷ those of the image: over a layer
            it sums to 1, or to 0 where the image has no valid element. Value ÷ weight is the mean
            of the class.
    """

    value: dict[str, Tensor]
    weight: Tensor


def class_sums(
    metrics: Sequence[str], prediction: Tensor, truth: Tensor, valid: Tensor, member: Tensor
) -> ClassSums:
    """Add up errors over classes of pixels, in one pass over them.

    A row of an image is summed in float32, rows are added in float64.

    Args:
        metrics: those of ``ADDITIVE`` that are wanted.
        prediction, truth: ``(N, C, H, W)`` float32 in the data's unit.
        valid: ``(N, 1|C, H, W)`` bool; what stands elsewhere changes nothing.
        member: ``(N, H, W, K)`` float32, 1 where a pixel is of a class and 0 elsewhere, fixed
            without the truth. Classes of several layers stand one after another.
    """
    bands = truth.shape[1]
    error = torch.where(valid, prediction - truth, 0.0)
    seen = valid.sum(1).float() * (bands // valid.shape[1])
    maps = {"mse@1": lambda: error.square().sum(1), "mae@1": lambda: error.abs().sum(1)}
    stacked = torch.stack([*(maps[metric]() for metric in metrics), seen], dim=2)  # (N, H, M, W)
    sums = torch.matmul(stacked, member.to(stacked)).double().sum(1).cpu()  # (N, M, K)
    whole = seen.double().sum((1, 2)).cpu().clamp_min(1.0)[:, None]
    value = {metric: sums[:, place] / whole for place, metric in enumerate(metrics)}
    return ClassSums(value, sums[:, -1] / whole)
