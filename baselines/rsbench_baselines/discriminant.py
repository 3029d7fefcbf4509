"""Linear discriminant analysis from sums over samples, which add up over parts of the data.

The discriminant of class k is ``x·Σ⁻¹μ_k − μ_k·Σ⁻¹μ_k / 2 + log π_k`` with the pooled covariance
Σ within classes; a softmax over classes gives their probabilities, which are right for normal
features of equal covariance. A class without a sample is nowhere the most probable one: its
discriminant is that of the most frequent class, lowered to a share of 1e-12.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-6
"""Share of the mean variance that is added to the variance of every feature."""


def discriminant(
    count: Tensor, total: Tensor, products: Tensor, samples: Tensor | None = None
) -> Tensor:
    """Return ``(K, 1 + D + 1)``: constant, coefficients, and the logarithm of the share.

    Args:
        count: weight of each class ``(K,)``.
        total: sums of the features by class ``(K, D)``.
        products: sums of products of the features of all classes ``(D, D)``.
        samples: number of independent samples. Where given, the covariance is drawn towards a
            multiple of the identity by :func:`shrinkage`.
    """
    share = (count / count.sum()).clamp(min=1e-12)
    mean = total / count.clamp(min=1)[:, None]
    mean = torch.where(count[:, None] > 0, mean, mean[count.argmax()])
    inside = products - torch.einsum("k,kd,ke->de", count, mean, mean)
    dims = inside.shape[0]
    prior = share.log()[:, None]
    if dims == 0:
        return torch.cat([prior, prior], dim=1)
    covariance = inside / count.sum()
    level = covariance.diagonal().mean()
    eye = torch.eye(dims, dtype=covariance.dtype, device=covariance.device)
    if samples is not None:
        drawn = shrinkage(covariance, samples)
        covariance = (1 - drawn) * covariance + drawn * level * eye
    covariance = covariance + RIDGE * level.clamp(min=1e-12) * eye
    slope = torch.linalg.solve(covariance, mean.T).T
    constant = prior - 0.5 * (slope * mean).sum(1, keepdim=True)
    return torch.cat([constant, slope, prior], dim=1)


def shrinkage(covariance: Tensor, samples: Tensor) -> Tensor:
    """Return the weight of the identity, 0 to 1, by oracle approximating shrinkage.

    Y. Chen, A. Wiesel, Y. C. Eldar, A. O. Hero, "Shrinkage algorithms for MMSE covariance
    estimation", IEEE Trans. Signal Process. 58 (2010), equation 23, with the 2/D of that equation
    left out, as in scikit-learn.

    Args:
        covariance: of the samples ``(D, D)``.
        samples: their number.
    """
    dims = covariance.shape[0]
    level = covariance.diagonal().mean().square()
    power = covariance.square().mean()
    below = (samples + 1) * (power - level / dims)
    ratio = (power + level) / below.clamp(min=torch.finfo(below.dtype).tiny)
    return ratio.clamp(max=1.0)
