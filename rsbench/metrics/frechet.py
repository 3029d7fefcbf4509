"""Distances between two sets of feature vectors: Fréchet, and unbiased squared MMD.

Sets are (n, d) and worked on in float64. ``groups`` (n,) int64 says to which region a vector
belongs; with it the value is also taken without each region in turn, for the jackknife.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class SetScore:
    """The distance of two sets of images.

    Args:
        value: the distance; lower is better.
        n: images in each set.
        d: length of a feature vector.
        halves: the distance of two halves of the truth, each of n // 2 images: smaller
            differences are not measurable; None where there are too few images.
        leaves: the value without each region in turn.
        notes: values that the definition takes from the truth, e.g. the width of a kernel.
    """

    value: float
    n: int
    d: int
    halves: float | None = None
    leaves: tuple[float, ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{self.value:.6g} (n = {self.n}, d = {self.d}"
        if self.halves is not None:
            text += f"; two halves of the truth, n = {self.n // 2}: {self.halves:.6g}"
        return text + ")"


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|µa − µb|² + tr Σa + tr Σb − 2 tr (Σa Σb)^½ with unbiased covariances; never below 0.

    The last term is the sum of the singular values of A Bᵀ for the centred sets A, B over
    √((n−1)(m−1)): exact for any n and d, and for n < d the product is only (n, m), where the root
    of a (d, d) matrix costs minutes. For n > d the sets are first reduced to their triangular
    factors.
    """
    a, b = a.double(), b.double()
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = a - mean_a, b - mean_b
    below_a, below_b = len(a) - 1, len(b) - 1
    traces = a.square().sum() / below_a + b.square().sum() / below_b
    a, b = (torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x for x in (a, b))
    cross = torch.linalg.svdvals(a @ b.T).sum() / (below_a * below_b) ** 0.5
    value = (mean_a - mean_b).square().sum() + traces - 2.0 * cross
    return max(0.0, float(value))


def frechet(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Fréchet distance of Gaussians fitted to both sets; lower is better. Heusel et al. 2017.

    It is biased upwards by about d / n of the variance: values of different n do not compare,
    and below n of 5 d the halves of the truth say how large it is between equals.
    """
    leaves: tuple[float, ...] = ()
    if groups is not None:
        leaves = tuple(
            frechet_distance(p[groups != one], t[groups != one]) for one in torch.unique(groups)
        )
    return SetScore(
        frechet_distance(p, t), len(t), t.shape[1], _halves(t, frechet_distance), leaves
    )


def texture_frechet(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Fréchet distance of features divided by their standard deviation in the truth."""
    p, t = standardised(p, t)
    return frechet(p, t, groups)


def standardised(p: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sets, each feature centred and scaled by the truth's mean and deviation."""
    p, t = p.double(), t.double()
    mean, deviation = t.mean(0), t.std(0)
    # A feature that never varies in the truth keeps its own scale.
    scale = torch.where(deviation > 1e-9, deviation, 1.0)
    return (p - mean) / scale, (t - mean) / scale


_Kernel = Callable[[Tensor, Tensor], Tensor]


def polynomial_mmd(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Unbiased squared MMD with the kernel (x·y / d + 1)³ over all pairs; lower is better.

    Its mean is 0 for equal distributions at any n, so it may be negative. Bińkowski et al. 2018
    average random subsets of it; here every pair counts and nothing is random.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1.0).pow_(3)

    return _mmd(p.double(), t.double(), groups, kernel, {})


def rbf_mmd(p: Tensor, t: Tensor, groups: Tensor | None) -> SetScore:
    """Unbiased squared MMD with the kernel exp(−|x − y|² / 2σ²); lower is better.

    On features standardised by the truth; σ² is the median squared distance between two images
    of the truth, and stands in the notes. Gretton et al. 2012.
    """
    p, t = standardised(p, t)
    among = torch.cdist(t, t).square()
    above = torch.triu_indices(len(t), len(t), offset=1)
    middle = float(among[above[0], above[1]].median())
    squared = middle if middle > 0 else 1.0

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return torch.cdist(x, y).square_().div_(-2.0 * squared).exp_()

    return _mmd(p, t, groups, kernel, {"sigma": squared**0.5})


def _mmd(
    p: Tensor, t: Tensor, groups: Tensor | None, kernel: _Kernel, notes: Mapping[str, float]
) -> SetScore:
    pp, tt, pt = kernel(p, p), kernel(t, t), kernel(p, t)
    pp.fill_diagonal_(0.0)
    tt.fill_diagonal_(0.0)
    value = _unbiased(float(pp.sum()), float(tt.sum()), float(pt.sum()), len(t))
    leaves = () if groups is None else _without_each(pp, tt, pt, groups)
    return SetScore(value, len(t), t.shape[1], _halves_of(tt), leaves, notes)


def _halves_of(tt: Tensor) -> float | None:
    """Return the MMD of every other image of the truth to the rest, from its kernel matrix."""
    half = len(tt) // 2
    if half < 2:
        return None
    even, odd = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    sums = [float(tt[a, b].sum()) for a, b in ((even, even), (odd, odd), (even, odd))]
    return _unbiased(sums[0], sums[1], sums[2], half)


def _unbiased(pp: float, tt: float, pt: float, n: int) -> float:
    return (pp + tt) / (n * (n - 1)) - 2.0 * pt / n**2


def _without_each(pp: Tensor, tt: Tensor, pt: Tensor, groups: Tensor) -> tuple[float, ...]:
    """Values without each region, from sums over blocks of regions."""
    regions, member = torch.unique(groups, return_inverse=True)
    one_hot = torch.nn.functional.one_hot(member, len(regions)).double()
    blocks = [one_hot.T @ k @ one_hot for k in (pp, tt, pt)]
    sizes = one_hot.sum(0)
    found = []
    for region in range(len(regions)):
        left = torch.arange(len(regions)) != region
        sums = [float(block[left][:, left].sum()) for block in blocks]
        found.append(_unbiased(sums[0], sums[1], sums[2], int(sizes[left].sum())))
    return tuple(found)


def _halves(t: Tensor, distance: Callable[[Tensor, Tensor], float]) -> float | None:
    """The distance of every other image of the truth to the rest; both halves are equally long."""
    half = len(t) // 2
    if half < 2:
        return None
    return distance(t[0 : 2 * half : 2], t[1 : 2 * half : 2])
