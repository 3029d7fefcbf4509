"""The spatial-affinity loss: relations between tokens follow those of a finer teacher.

After J. G. Waithaka et al., arXiv 2601.12964; its equations are read from the public code of one of
its authors. Axes: B images, N tokens, D features, s fine tokens along a side of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def children(index: Tensor, grid: int, ratio: int) -> Tensor:
    """Return the fine tokens inside of tokens.

    Args:
        index: tokens ``(B, N)``, row by row.
        grid: tokens of a row.
        ratio: s.

    Returns:
        ``(B, N·s²)`` indices on the grid of s·``grid`` tokens a row; the s² of a token follow each
        other, row by row.
    """
    row, column = index // grid, index % grid
    step = torch.arange(ratio, device=index.device)
    rows = (ratio * row[..., None] + step)[..., :, None] * (ratio * grid)
    columns = (ratio * column[..., None] + step)[..., None, :]
    return (rows + columns).flatten(1)


def pool_children(tokens: Tensor, ratio: int) -> Tensor:
    """Return the mean of each token's s² children: ``(B, N·s², D)`` to ``(B, N, D)``."""
    B, _, D = tokens.shape
    return tokens.reshape(B, -1, ratio**2, D).mean(dim=2)


def gram_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of two matrices of cosines between tokens.

    ``(1 / B N²) Σ (ŜŜᵀ − T̂T̂ᵀ)²`` with rows of unit length, in float32. For N > D the same sum is
    taken from products of D × D.

    Args:
        student: ``(B, N, D)``.
        teacher: ``(B, N, D)``, through which no gradient passes.
    """
    with torch.autocast(student.device.type, enabled=False):
        s, t = _units(student), _units(teacher.detach())
        B, N, D = s.shape
        if N <= D:
            return F.mse_loss(s @ s.mT, t @ t.mT)
        total = _squares(s, s) + _squares(t, t) - 2 * _squares(s, t)
        return total / (B * N * N)


def mse_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of tokens ``(B, N, D)`` of unit length, in float32."""
    with torch.autocast(student.device.type, enabled=False):
        return F.mse_loss(_units(student), _units(teacher.detach()))


def token_cosine(tokens: Tensor) -> Tensor:
    """Return the mean cosine between two different tokens ``(B, N, D)`` of an image; 1: collapse.

    An image with one token counts as 1.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = _units(tokens)
        N = unit.shape[1]
        own = unit.square().sum(dim=(1, 2))
        pairs = unit.sum(dim=1).square().sum(dim=-1) - own
        return (pairs / (N * (N - 1))).mean() if N > 1 else unit.new_ones(())


def effective_rank(tokens: Tensor) -> Tensor:
    """Return the effective rank of all tokens ``(B, N, D)`` together, from 1 to D.

    The exponential of the entropy of the singular values in shares of their sum (O. Roy,
    M. Vetterli, "The effective rank", EUSIPCO 2007).
    """
    with torch.autocast(tokens.device.type, enabled=False):
        rows = tokens.flatten(0, 1).double()
        values = torch.linalg.eigvalsh(rows.mT @ rows).clamp(min=0).sqrt()
        share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
        rank: Tensor = torch.special.entr(share).sum().exp().float()
        return rank


def _units(tokens: Tensor) -> Tensor:
    return F.normalize(tokens.float(), dim=-1)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return (a.mT @ b).square().sum()
