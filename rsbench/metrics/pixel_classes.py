"""Errors per class of pixels, whose parts add up to the value of the whole image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.registry import definition, imported


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
        metrics: ids of metrics that are additive.
        prediction, truth: ``(N, C, H, W)`` float32 in the data's unit.
        valid: ``(N, 1|C, H, W)`` bool; values elsewhere are not used.
        member: ``(N, H, W, K)`` float32, 1 where a pixel is of a class and 0 elsewhere, fixed
            without the truth. Classes of several layers follow one another.
    """
    bands = truth.shape[1]
    prediction, truth = (torch.where(valid, x, 0.0) for x in (prediction, truth))
    seen = valid.sum(1).float() * (bands // valid.shape[1])
    errors = [_error_of(metric)(prediction, truth) for metric in metrics]
    maps = [torch.where(valid, error, 0.0).sum(1) for error in errors]
    stacked = torch.stack([*maps, seen], dim=2)  # (N, H, M, W)
    sums = torch.matmul(stacked, member.to(stacked)).double().sum(1).cpu()  # (N, M, K)
    whole = seen.double().sum((1, 2)).cpu().clamp_min(1.0)[:, None]
    value = {metric: sums[:, place] / whole for place, metric in enumerate(metrics)}
    return ClassSums(value, sums[:, -1] / whole)


def _error_of(metric: str) -> Callable[[Tensor, Tensor], Tensor]:
    name = definition(metric).pixel_error
    if name is None:
        raise InputError(
            f"metric {metric!r} per class of pixels", "it is no mean over elements",
            "Leave it out; its definition states no `pixel_error`",
        )  # fmt: skip
    return imported(name)
