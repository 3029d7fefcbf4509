"""STARFM's pass over a window as a loop over pixels, to be compiled."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rsbench_baselines.fusion_trivial.compiled import compiled, on_cpu
from rsbench_baselines.fusion_trivial.windows import distances


def add_candidates(
    images: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    limits: tuple[Tensor, Tensor, Tensor],
    top: Tensor,
    bottom: Tensor,
    *,
    half: int,
    reach: float,
) -> None:
    """Add the weighted values and the weights of every pixel's candidates to top and bottom.

    Args:
        images: F, S, T, weights before the distance's, and weights times values; ``(C, …)`` with
            a margin of ``half``, S infinite where a pixel is no candidate.
        limits: ``(C, h, w)``: largest difference of F, what S and T stay below.
        top, bottom: ``(C, h, w)``, written to.
        half: half of the window.
        reach: pixels of distance that halve a weight.
    """
    arrays = [on_cpu(t) for t in (*images, *limits, top, bottom)]
    compiled(_add)(*arrays, 1 / (1 + distances(half).numpy() / reach))


def _add(
    fine: Any, spectral: Any, temporal: Any, weight: Any, weighted: Any,
    alike: Any, most_spectral: Any, most_temporal: Any, top: Any, bottom: Any, share: Any,
) -> None:  # fmt: skip
    bands, rows, columns = top.shape
    side = share.shape[0]
    half = side // 2
    for b in range(bands):
        for y in range(rows):
            for x in range(columns):
                own, gap = fine[b, y + half, x + half], alike[b, y, x]
                s, t = most_spectral[b, y, x], most_temporal[b, y, x]
                above, below = 0.0, 0.0
                for dy in range(side):
                    for dx in range(side):
                        v, u = y + dy, x + dx
                        if (
                            abs(fine[b, v, u] - own) <= gap
                            and spectral[b, v, u] < s
                            and temporal[b, v, u] < t
                        ):
                            above += share[dy, dx] * weighted[b, v, u]
                            below += share[dy, dx] * weight[b, v, u]
                top[b, y, x] += above
                bottom[b, y, x] += below
