"""Draws and images for the tests of cross-scale pretraining."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed))


def pair(batch: int = 2, ratio: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images of two bands with 32 pixels a side, and finer ones of the same ground."""
    hr = draw(batch, 2, 32 * ratio, 32 * ratio, seed=seed)
    return F.avg_pool2d(hr, ratio), hr


def check_trains(net: Any, variant: str) -> None:
    """Every weight gets a gradient; the teacher's tensors and its image get none."""
    mr, hr = (x.requires_grad_() for x in pair())
    terms = net.loss(mr, hr, generator())
    assert all(torch.isfinite(t) for t in terms.values())
    assert ("affinity" in terms) == variant.startswith("sa")
    terms["total"].backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
    assert all(not b.requires_grad for b in net.buffers())
    if variant.startswith("sa"):
        assert hr.grad is None
