"""Edges and local texture of the prediction relative to the truth, pixel by pixel.

Both are mean normalised differences (E_p − E_t) / (E_p + E_t), after Zhu et al. 2022, "A novel
framework to assess all-round performances of spatiotemporal fusion models", as they are commonly
quoted; 0 is best, negative means too smooth, positive too rough. Where both features are close to
zero the difference is 0. Signs cancel over an image, so these metrics do not measure whether
detail is in the right place.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from rsbench.metrics.images import ImageBatch, PerImage, total

NOTHING = 1e-6
"""Sum of both edges, as a share of the data range, up to which the difference is 0."""

RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""Neighbours clockwise from the upper left one; the first is worth 128, the last 1."""


def edge(images: ImageBatch) -> PerImage:
    """Mean normalised difference of Roberts' edges, band by band; −1 … 1, 0 is best.

    E(i, j) = |x(i, j) − x(i+1, j+1)| + |x(i, j+1) − x(i+1, j)|, over the 2 × 2 blocks whose pixels
    are all valid. A prediction without any edge scores −1 wherever the truth has one.
    """
    p, t = _roberts(images.prediction), _roberts(images.truth)
    whole = _whole(images, 2)
    return _score(p, t, whole, NOTHING * images.span)


def texture(images: ImageBatch) -> PerImage:
    """Mean normalised difference of local binary patterns, band by band; −1 … 1, 0 is best.

    The pattern of a pixel is the number of eight bits, clockwise from the upper left neighbour,
    that say which neighbours are at least as bright as the pixel (Ojala et al. 1996, 3 × 3). It
    is taken where these nine pixels are valid. Even ground has the pattern 255.
    """
    p, t = _pattern(images.prediction), _pattern(images.truth)
    return _score(p, t, _whole(images, 3), 0.0)


def _roberts(x: Tensor) -> Tensor:
    falling = (x[..., :-1, :-1] - x[..., 1:, 1:]).abs()
    return falling + (x[..., :-1, 1:] - x[..., 1:, :-1]).abs()


def _pattern(x: Tensor) -> Tensor:
    rows, columns = x.shape[-2] - 2, x.shape[-1] - 2
    centre = x[..., 1:-1, 1:-1]
    code = torch.zeros_like(centre)
    for bit, (dy, dx) in enumerate(RING):
        near = x[..., 1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
        code += (near >= centre) * float(1 << (7 - bit))
    return code


def _whole(images: ImageBatch, side: int) -> Tensor | None:
    """Return where a whole square is valid, ``(n, 1|C, H − side + 1, W − side + 1)``."""
    if images.weight is None:
        return None
    return avg_pool2d(images.weight, side, stride=1) > 1.0 - 1e-6


def _score(p: Tensor, t: Tensor, keep: Tensor | None, nothing: float) -> PerImage:
    both = p + t
    ratio = torch.where(both > nothing, (p - t) / both.clamp_min(1e-30), 0.0)
    n, bands = t.shape[:2]
    if keep is None:
        number = torch.full((n, bands), float(t.shape[-1] * t.shape[-2]), dtype=torch.float64)
        number = number.to(t.device)
    else:
        ratio = ratio.masked_fill(~keep, 0.0)
        number = keep.sum((-1, -2)).double().expand(n, bands)
    return PerImage.mean_of_bands(total(ratio) / number, number > 0)
