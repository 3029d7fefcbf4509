"""Thin-plate splines through coarse pixels, evaluated on the whole fine grid by convolution.

Coarse centres and fine pixels are regular grids, so the sum of radial functions around all centres
is a convolution with one kernel. Large images are solved part by part with an overlap: a spline's
reach is short compared with the distance of its nearest nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = 1600
"""Coarse pixels up to which one system is solved."""
CORE, OVERLAP = 24, 6


def spline(values: Tensor, known: Tensor, span: int) -> Tensor:
    """Return ``(C, h · span, w · span)`` float32: the spline through the centres of blocks.

    Args:
        values: ``(C, h, w)`` float64.
        known: ``(h, w)`` bool, where the spline interpolates; elsewhere it is unconstrained.
        span: fine pixels along a coarse one.
    """
    h, w = known.shape
    if h * w <= WHOLE:
        return _solve(values, known, span).float()
    out = values.new_empty(len(values), h * span, w * span, dtype=torch.float32)
    for y in range(0, h, CORE):
        for x in range(0, w, CORE):
            top, left = max(0, y - OVERLAP), max(0, x - OVERLAP)
            rows = slice(top, min(h, y + CORE + OVERLAP))
            columns = slice(left, min(w, x + CORE + OVERLAP))
            part = _solve(values[:, rows, columns], known[rows, columns], span)
            bottom, right = min(h, y + CORE), min(w, x + CORE)
            inner = (
                slice((y - top) * span, (bottom - top) * span),
                slice((x - left) * span, (right - left) * span),
            )
            out[:, y * span : bottom * span, x * span : right * span] = part[:, *inner]
    return out


def _solve(values: Tensor, known: Tensor, span: int) -> Tensor:
    h, w = known.shape
    places = known.nonzero().double()
    if not len(places):
        mean = values.mean(dim=(-2, -1), keepdim=True)
        return mean.expand(-1, h * span, w * span)
    trend = _trend(places)
    middle = places.mean(dim=0)
    nodes, degree = len(places), len(trend)
    plane = _plane(places - middle, trend)
    system = values.new_zeros(nodes + degree, nodes + degree)
    system[:nodes, :nodes] = _radial((places[:, None] - places[None]).square().sum(dim=2))
    system[:nodes, nodes:] = plane
    system[nodes:, :nodes] = plane.T
    right = values.new_zeros(nodes + degree, len(values))
    right[:nodes] = values[:, known].T
    found = torch.linalg.solve(system, right)
    out = _around(found[:nodes], known, span)
    start = (span - 1) / 2
    at = [
        (torch.arange(n * span, dtype=torch.float64, device=values.device) - start) / span
        for n in (h, w)
    ]
    fine = torch.stack(torch.meshgrid(*at, indexing="ij"), dim=-1) - middle
    level: Tensor = _plane(fine, trend) @ found[nodes:]
    return out + level.movedim(-1, 0)


def _trend(places: Tensor) -> list[int]:
    """Return the axes of the plane that the positions determine; −1 is its height."""
    return [-1, *(axis for axis in (0, 1) if bool((places[:, axis] != places[0, axis]).any()))]


def _plane(places: Tensor, trend: list[int]) -> Tensor:
    ones = torch.ones_like(places[..., 0])
    return torch.stack([ones if axis < 0 else places[..., axis] for axis in trend], dim=-1)


def _radial(square: Tensor) -> Tensor:
    """Return r² log r, 0 at 0, from r²."""
    return torch.where(square > 0, 0.5 * square * square.clamp(min=1e-300).log(), 0)


def _around(weights: Tensor, known: Tensor, span: int) -> Tensor:
    """Return the sum of radial functions around all nodes, ``(C, h · span, w · span)``."""
    height, width = known.shape[0] * span, known.shape[1] * span
    grid = weights.new_zeros(weights.shape[1], *known.shape)
    grid[:, known] = weights.T
    spikes = weights.new_zeros(weights.shape[1], height, width)
    spikes[:, ::span, ::span] = grid
    # A block's centre is (span − 1) / 2 from its first pixel, where its spike is.
    start = (span - 1) / 2
    dy, dx = (
        ((torch.fft.fftfreq(2 * n, 0.5 / n, dtype=torch.float64) - start) / span).square()
        for n in (height, width)
    )
    square = (dy[:, None] + dx[None]).to(weights.device)
    kernel = torch.fft.rfft2(_radial(square))
    size = (2 * height, 2 * width)
    bands = [torch.fft.irfft2(torch.fft.rfft2(s, s=size) * kernel, s=size) for s in spikes]
    return torch.stack([band[:height, :width] for band in bands])
