"""Zones of fusion from its inputs: where the coarse images changed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rsbench.metrics.change import beyond, noise_of
from rsbench.models.api import Given, Want


def zones_of(given: Given, want: Want) -> Mapping[str, Tensor]:
    """Return ``dynamic`` and ``stable``: each ``(B, H, W)`` bool on the fine grid.

    Dynamic is where the coarse image of the target date differs from that of the first reference
    by the rule of the metrics of change: a change vector above three times the noise, in groups of
    nine fine pixels or more. Stable is every other pixel that is valid in both coarse images. The
    truth is not used.
    """
    coarse = next(frames for name, frames in given.frames.items() if name != want.sensor)
    at = (coarse.times == want.times[:, :1]).int().argmax(dim=1)
    row = torch.arange(len(at), device=at.device)
    first, target = coarse.values[:, 0, 0], coarse.values[row, 0, at]
    seen = (coarse.valid[:, 0, 0] & coarse.valid[row, 0, at]).all(dim=1, keepdim=True)
    low, high = coarse.value_range
    step = target - first
    dynamic = beyond(step, seen, noise_of(step, seen, high - low))
    return {"dynamic": dynamic, "stable": seen[:, 0] & ~dynamic}
