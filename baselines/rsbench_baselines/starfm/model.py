"""STARFM over whole images: one pass per window offset, memory of a strip of rows.

For a pixel p, a band and a pair k, the candidates c of a window are the pixels with
|F(c) − F(p)| ≤ 2 σ_F / classes, S(c) < S(p) + u and T(c) < T(p) + u, where S = |F_k − C_k|,
T = |C_k − C_1| and u = √2 · uncertainty (both sensors have the same). The answer is the mean of
F_k + C_1 − C_k over the candidates of all pairs, with weights 1 / ((b·S + 1)(b·T + 1) · D) and
D = 1 + distance / reach. The weights are not free of scale: S and T count as shares of the
data's value range, so that b = 1e4 gives reflectance × 10000.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines.fusion_trivial.pairs import Pairs, answer, pairs_of
from rsbench_baselines.fusion_trivial.windows import Strip, box_sum, offsets, strips
from rsbench_baselines.starfm import card


@dataclass(frozen=True)
class Starfm:
    """STARFM of one or two pairs, any bands, any size.

    Args:
        half: half of the window; the window has ``2 · half + 1`` pixels a side.
        classes: number of land-cover classes that similarity assumes.
        reach: pixels of distance that halve a weight.
        uncertainty: of either sensor, as a share of the value range.
        steepness: b of the weights.
    """

    half: int = 15
    classes: float = 4.0
    reach: float = 5.0
    uncertainty: float = 0.005
    steepness: float = 1e4

    def predict(self, given: Given, want: Want) -> Prediction:
        """Fuse every sample on its own."""
        pairs = pairs_of(given, want)
        B, M = pairs.target.shape[:2]
        rows = [torch.stack([self.fuse(pairs, b, m) for m in range(M)]) for b in range(B)]
        return Prediction(answer(torch.stack(rows), want))

    def fuse(self, pairs: Pairs, row: int, member: int) -> Tensor:
        """Return ``(C, H, W)`` float32 of one sample."""
        low, high = pairs.value_range
        span = high - low
        fine, coarse = (t[row, member].double() for t in (pairs.fine, pairs.coarse))
        target = pairs.target[row, member].double()
        good = pairs.fine_seen[row, member] & pairs.coarse_seen[row, member]
        good = good & pairs.target_seen[row, member]
        out = torch.empty_like(target)
        for strip in strips(target, self.half):
            top = torch.zeros_like(target[:, strip.start : strip.stop])
            bottom = torch.zeros_like(top)
            plain = torch.zeros_like(top)
            for k in range(fine.shape[0]):
                plain += self._pair(
                    strip, fine[k] / span, coarse[k] / span, target / span, good[k], top, bottom
                )
            near = torch.where(bottom > 0, top / bottom.clamp(min=1e-300), plain / fine.shape[0])
            out[:, strip.start : strip.stop] = near * span
        return out.float()

    def _pair(
        self, strip: Strip, fine: Tensor, coarse: Tensor, target: Tensor, good: Tensor,
        top: Tensor, bottom: Tensor,
    ) -> Tensor:  # fmt: skip
        """Add one pair's weighted sums to ``top`` and ``bottom``; return F + C1 − C of the strip.

        All values are shares of the value range.
        """
        f, c, t = (strip.cut(image, 0.0) for image in (fine, coarse, target))
        seen = strip.cut(good, False)
        spectral, temporal = (f - c).abs(), (c - t).abs()
        value = f + t - c
        weight = 1 / ((self.steepness * spectral + 1) * (self.steepness * temporal + 1))
        centre = strip.inner(f)
        alike = 2 / self.classes * self._sigma(f, seen)
        room = sqrt(2) * self.uncertainty
        most_spectral = strip.inner(spectral) + room
        most_temporal = strip.inner(temporal) + room
        # A pixel that is not valid is never a candidate, and has none of its own.
        spectral = torch.where(seen, spectral, torch.inf)
        alike = torch.where(strip.inner(seen), alike, -1.0)
        gap, keep, also = torch.empty_like(centre), alike > 0, alike > 0
        for dy, dx, distance in offsets(self.half):
            torch.sub(strip.shift(f, dy, dx), centre, out=gap).abs_()
            torch.le(gap, alike, out=keep)
            keep &= torch.lt(strip.shift(spectral, dy, dx), most_spectral, out=also)
            keep &= torch.lt(strip.shift(temporal, dy, dx), most_temporal, out=also)
            torch.mul(strip.shift(weight, dy, dx), keep, out=gap)
            share = 1 / (1 + distance / self.reach)
            bottom.add_(gap, alpha=share)
            top.addcmul_(gap, strip.shift(value, dy, dx), value=share)
        return strip.inner(value)

    def _sigma(self, padded: Tensor, seen: Tensor) -> Tensor:
        """Return the standard deviation over the valid pixels of every window."""
        mask = seen.to(padded.dtype)
        count = box_sum(mask, self.half).clamp(min=1)
        # Taken from a middle value, so that the difference of squares keeps its digits.
        middle = (padded * mask).sum() / mask.sum().clamp(min=1)
        apart = (padded - middle) * mask
        mean = box_sum(apart, self.half) / count
        return (box_sum(apart * apart, self.half) / count - mean * mean).clamp(min=0).sqrt()


def build(preset: str, **options: Any) -> Starfm:
    """Build the model; options are the fields of :class:`Starfm`, over the preset's."""
    return Starfm(**{**card.presets[preset].options, **options})
