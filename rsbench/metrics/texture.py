"""Features of colour and texture of all bands, without network weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

SMALLEST_ENERGY = 1e-8  # of the squared data range; keeps the logarithm of a flat image finite


def length(bands: int) -> int:
    """Number of features: four per band and one per pair of bands."""
    return 4 * bands + bands * (bands - 1) // 2


def features(x: Tensor, valid: Tensor | None) -> Tensor:
    """Return (n, d) float64 of images (n, C, H, W) scaled by the data range.

    Per band the mean, the standard deviation, and log10 of the mean squared difference of
    neighbouring pixels at full and at half resolution; per pair of bands their correlation over
    pixels, 0 where one of them is constant. ``valid`` (n, 1, H, W) bool; only valid pixels, pairs
    of them, and 2 × 2 blocks of them count.
    """
    x = x.double()
    weight = torch.ones_like(x[:, :1]) if valid is None else valid.double()
    count = weight.sum((-1, -2)).clamp_min(1.0)
    mean = (x * weight).sum((-1, -2)) / count
    centred = (x - mean[..., None, None]) * weight
    covariance = torch.einsum("nchw,ndhw->ncd", centred, centred) / count[..., None]
    variance = covariance.diagonal(dim1=1, dim2=2).clamp_min(0.0)
    deviation = variance.sqrt()
    upper = torch.triu_indices(x.shape[1], x.shape[1], offset=1)
    below = deviation[:, upper[0]] * deviation[:, upper[1]]
    pairs = covariance[:, upper[0], upper[1]] / torch.where(below > 1e-12, below, 1.0)
    pairs = torch.where(below > 1e-12, pairs, 0.0).clamp(-1.0, 1.0)
    whole = (avg_pool2d(weight, 2) > 1.0 - 1e-9).double()
    coarse = avg_pool2d(x, 2) * whole
    energies = (_energy(x * weight, weight), _energy(coarse, whole))
    return torch.cat((mean, deviation, *energies, pairs), 1)


def _energy(x: Tensor, weight: Tensor) -> Tensor:
    """log10 of the mean squared difference of neighbours, both of them valid: (n, C)."""
    total = torch.zeros_like(x[:, :, 0, 0])
    count = torch.zeros_like(weight[:, :, 0, 0])
    for axis in (-1, -2):
        near = weight.narrow(axis, 1, x.shape[axis] - 1) * weight.narrow(axis, 0, x.shape[axis] - 1)
        total += (x.diff(dim=axis).square() * near).sum((-1, -2))
        count += near.sum((-1, -2))
    return torch.log10(total / count.clamp_min(1.0) + SMALLEST_ENERGY)
