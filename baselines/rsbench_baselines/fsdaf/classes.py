"""Classes of ground by k-means without chance: the same image always gives the same classes."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_PIXELS = 1 << 17
"""Pixels that centres are fitted on: every n-th where there are more."""
MOST_STEPS = 50
STILL = 1e-7
ROWS = 64


def classify(image: Tensor, seen: Tensor, count: int) -> Tensor:
    """Return the class of every pixel ``(H, W)`` int64, of ``0 … count − 1``.

    Centres start as the means of equally many pixels in order of brightness (the mean of the
    bands), and move until they stand still.

    Args:
        image: ``(C, H, W)`` float32 in shares of the value range.
        seen: ``(H, W)`` bool, the pixels that centres are fitted on.
    """
    places = seen.flatten().nonzero()[:, 0]
    if not len(places):
        return torch.zeros(seen.shape, dtype=torch.int64, device=image.device)
    places = places[:: -(-len(places) // MOST_PIXELS)]
    known = image.flatten(1)[:, places].T.double()
    order = known.mean(dim=1).argsort(stable=True)
    parts = [part for part in order.tensor_split(count) if len(part)]
    centres = torch.stack([known[part].mean(dim=0) for part in parts])
    for _ in range(MOST_STEPS):
        before = centres
        centres = _moved(known, centres)
        if float((centres - before).abs().max()) < STILL:
            break
    strips = [image[:, y : y + ROWS] for y in range(0, image.shape[1], ROWS)]
    return torch.cat([
        nearest(s.flatten(1).T.double(), centres).view(s.shape[1:]) for s in strips
    ])  # fmt: skip


def nearest(pixels: Tensor, centres: Tensor) -> Tensor:
    """Return the index of the nearest centre ``(P,)`` of pixels ``(P, C)``."""
    apart = (pixels[:, None] - centres[None]).square().sum(dim=2)
    return apart.argmin(dim=1)


def _moved(known: Tensor, centres: Tensor) -> Tensor:
    """Return the means of the pixels nearest to each centre; one without any stays."""
    own = nearest(known, centres)
    count = torch.bincount(own, minlength=len(centres))[:, None]
    # A product, not a scatter: the order of sums is then the same in every run.
    total = torch.nn.functional.one_hot(own, len(centres)).double().T @ known
    return torch.where(count > 0, total / count.clamp(min=1), centres)
