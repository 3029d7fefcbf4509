"""What a recurrent model needs of its frames: filled without looking ahead, and drawn coins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


def fill_causally(values: Tensor, valid: Tensor, middle: float) -> Tensor:
    """Fill invalid pixels from earlier frames only, so that no frame depends on a later one.

    Each takes its last valid value; where none, the mean of the valid pixels of that band in the
    latest frame so far that has any; where none, ``middle``.

    Args:
        values: ``(N, T, C, H, W)``.
        valid: the same shape, bool.
        middle: the middle of the value range.
    """
    if bool(valid.all()):
        return values
    count = valid.sum(dim=(-2, -1), keepdim=True)
    total = torch.where(valid, values, 0).double().sum(dim=(-2, -1), keepdim=True)
    mean = (total / count.clamp(min=1)).to(values.dtype)
    mean, has_mean = _forward(mean, count > 0)
    mean = torch.where(has_mean, mean, middle)
    carried, known = _forward(values, valid)
    return torch.where(known, carried, mean.expand_as(carried))


def _forward(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Carry valid values forward along axis 1; return them and where any was valid."""
    step = torch.arange(values.shape[1], device=values.device).view(1, -1, 1, 1, 1)
    source = torch.where(valid, step, -1).cummax(dim=1).values
    return values.gather(1, source.clamp(min=0)), source >= 0


@dataclass(frozen=True)
class Sampling:
    """When training feeds true frames and when the network's own (S. Bengio et al., NeurIPS 2015).

    Args:
        kind: ``scheduled`` (V1: context true, forecast from true to own), ``reverse`` (V2: the
            context too, from half true to all true), or ``none`` (as in a rollout).
        start: iteration at which the reverse schedule begins to change.
        stop: iteration from which a rollout is trained as it is run.
        alpha: how fast the context becomes true, in iterations.
    """

    kind: Literal["none", "scheduled", "reverse"]
    start: int = 25_000
    stop: int = 50_000
    alpha: float = 5_000.0

    def context(self, iteration: float) -> float:
        """Return how likely a context frame after the first is the true one."""
        if self.kind != "reverse" or iteration >= self.stop:
            return 1.0
        late = max(iteration - self.start, 0.0)
        return 1.0 - 0.5 * math.exp(-late / self.alpha)

    def forecast(self, iteration: float) -> float:
        """Return how likely a frame after the context is the true one."""
        if self.kind == "none" or iteration >= self.stop:
            return 0.0
        if self.kind == "scheduled":
            return 1.0 - iteration / self.stop
        late = max(iteration - self.start, 0.0)
        return 0.5 * (1.0 - late / (self.stop - self.start))

    def coins(self, samples: int, context: int, steps: int, iteration: float) -> Tensor:
        """Return ``(samples, steps)`` bool: feed the true frame at this step; the first always."""
        likely = [1.0] + [self.context(iteration)] * (context - 1)
        likely += [self.forecast(iteration)] * (steps - context)
        return torch.rand(samples, steps) < torch.tensor(likely[:steps])
