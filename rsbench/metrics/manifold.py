"""Precision and recall of a set of images: which lie inside the manifold of the other set.

T. Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models",
NeurIPS 2019: a vector is inside the manifold of a set if it is no farther from one of its members
than the k-th nearest other member is. Features are standardised by the truth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rsbench.metrics.frechet import SetScore, standardised


def precision(p: Tensor, t: Tensor, groups: Tensor | None, k: int) -> SetScore:
    """Return the share of the predictions that are inside the manifold of the truths.

    NaN for sets of k images or fewer.
    """
    return _score(*standardised(p, t), groups, k)


def recall(p: Tensor, t: Tensor, groups: Tensor | None, k: int) -> SetScore:
    """Return the share of the truths that are inside the manifold of the predictions."""
    p, t = standardised(p, t)
    found = _score(t, p, groups, k)
    return SetScore(found.value, found.n, found.d, _halves(t, k), found.leaves)


def inside(these: Tensor, those: Tensor, k: int) -> float:
    """Return the share of ``these`` (n, d) inside the manifold of ``those`` (m, d)."""
    if len(those) <= k or not len(these):
        return math.nan
    among = _distances(those, those).fill_diagonal_(math.inf)
    radii = among.kthvalue(k, dim=1).values
    return float((_distances(these, those) <= radii).any(dim=1).double().mean())


def _score(these: Tensor, those: Tensor, groups: Tensor | None, k: int) -> SetScore:
    leaves: tuple[float, ...] = ()
    if groups is not None:
        kept = [groups != one for one in torch.unique(groups)]
        leaves = tuple(inside(these[left], those[left], k) for left in kept)
    value = inside(these, those, k)
    return SetScore(value, len(those), those.shape[1], _halves(those, k), leaves)


def _halves(t: Tensor, k: int) -> float | None:
    """Return the value of every other image of the truth against the rest."""
    half = len(t) // 2
    return inside(t[0 : 2 * half : 2], t[1 : 2 * half : 2], k) if half > k else None


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Differences, not products: the distance of equal vectors is exactly 0.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
