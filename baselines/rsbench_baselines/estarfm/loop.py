"""ESTARFM's pass over a window as a loop over pixels, to be compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsbench_baselines.fusion_trivial.compiled import compiled, on_cpu, pixels
from rsbench_baselines.fusion_trivial.windows import distances

KINDS = 9
"""Sums per band: ΣW(C_1 − C_k), ΣC_k and ΣW·F_k of both k, then ΣF, ΣC² and ΣC·F over both."""


def summed(
    scaled: Tensor, fine: Tensor, coarse: Tensor, target: Tensor, unlike: Tensor,
    *, half: int, reach: float, similar: int | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Add up what the similar pixels of every window hold.

    Args:
        scaled: ``(2C, …)``, fine numbers over the thresholds of similarity; infinite where not
            valid.
        fine, coarse: ``(2, C, …)``.
        target: ``(C, …)``.
        unlike: ``(…)``, 1 − R.
        half: half of the window, and the margin of all images.
        reach: pixels of distance that double a pixel's distance weight.
        similar: keep so many of the most similar pixels, and what is as similar as the last.

    Returns:
        Number of similar pixels ``(h, w)``, ΣW ``(h, w)``, and the sums ``(KINDS, C, h, w)``.
    """
    C = len(target)
    rows, columns = (n - 2 * half for n in target.shape[-2:])
    found = np.zeros((rows, columns, 2 + KINDS * C))
    compiled(_sum)(
        pixels(scaled), pixels(torch.cat([fine.flatten(0, 1), coarse.flatten(0, 1), target])),
        on_cpu(unlike), 1 + distances(half).numpy() / reach, similar or 0, found,
    )  # fmt: skip
    sums = torch.from_numpy(found).permute(2, 0, 1)
    return sums[0], sums[1], sums[2:].reshape(KINDS, C, rows, columns)


def _sum(scaled: Any, values: Any, unlike: Any, far: Any, similar: int, found: Any) -> None:
    """Write count, ΣW, and the sums of `KINDS`, each of all bands.

    Where only the most similar count, a first turn keeps the smallest ranks in order.
    """
    rows, columns, width = found.shape
    side, planes = far.shape[0], scaled.shape[2]
    half, C = side // 2, (width - 2) // 9
    best = np.empty(max(similar, 1))
    for y in range(rows):
        for x in range(columns):
            own, out = scaled[y + half, x + half], found[y, x]
            worst = np.inf
            for turn in range(2 if similar > 0 else 1):
                ranking = similar > 0 and turn == 0
                kept = 0
                for dy in range(side):
                    for dx in range(side):
                        there = scaled[y + dy, x + dx]
                        rank = 0.0
                        alike = True
                        for p in range(planes):
                            gap = abs(there[p] - own[p])
                            if not gap < 1.0:
                                alike = False
                                break
                            rank += gap
                        if not alike or rank > worst:
                            continue
                        if ranking:
                            at = kept
                            if kept < similar:
                                kept += 1
                            elif rank < best[similar - 1]:
                                at = similar - 1
                            else:
                                continue
                            while at > 0 and best[at - 1] > rank:
                                best[at] = best[at - 1]
                                at -= 1
                            best[at] = rank
                            continue
                        v = values[y + dy, x + dx]
                        w = 1.0 / (unlike[y + dy, x + dx] * far[dy, dx] + 1e-7)
                        out[0] += 1.0
                        out[1] += w
                        for b in range(C):
                            f0, f1 = v[b], v[C + b]
                            c0, c1, t = v[2 * C + b], v[3 * C + b], v[4 * C + b]
                            out[2 + b] += w * (t - c0)
                            out[2 + C + b] += w * (t - c1)
                            out[2 + 2 * C + b] += c0
                            out[2 + 3 * C + b] += c1
                            out[2 + 4 * C + b] += w * f0
                            out[2 + 5 * C + b] += w * f1
                            out[2 + 6 * C + b] += f0 + f1
                            out[2 + 7 * C + b] += c0 * c0 + c1 * c1
                            out[2 + 8 * C + b] += c0 * f0 + c1 * f1
                if ranking and kept == similar:
                    worst = best[similar - 1]
