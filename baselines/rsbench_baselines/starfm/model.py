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
from rsbench_baselines._options import accepts
from rsbench_baselines.fusion_trivial.compiled import CELLS, check_engine
from rsbench_baselines.fusion_trivial.pairs import ImagePairs, fused
from rsbench_baselines.fusion_trivial.windows import Strip, box_sum, each_strip, offsets
from rsbench_baselines.starfm import card
from rsbench_baselines.starfm.loop import add_candidates

PLANES = 10
"""Arrays per band that are in use at once."""


@dataclass(frozen=True)
class Starfm:
    """STARFM of one or two pairs, any bands, any size.

    Args:
        half: half of the window; the window has ``2 · half + 1`` pixels a side.
        classes: number of land-cover classes that similarity assumes.
        reach: pixels of distance that halve a weight.
        uncertainty: of either sensor, as a share of the value range.
        steepness: b of the weights.
        engine: ``torch``, or ``compiled``: a loop over pixels made by numba, on CPUs.
    """

    half: int = 15
    classes: float = 4.0
    reach: float = 5.0
    uncertainty: float = 0.005
    steepness: float = 1e4
    engine: str = "torch"

    def predict(self, given: Given, want: Want) -> Prediction:
        """Fuse every sample on its own."""
        return fused(given, want, self.fuse)

    def fuse(self, pairs: ImagePairs, row: int, member: int) -> Tensor:
        """Return ``(C, H, W)`` float32 of one sample."""
        low, high = pairs.value_range
        span = high - low
        fine, coarse = pairs.fine[row, member], pairs.coarse[row, member]
        target = pairs.target[row, member]
        seen = pairs.fine_seen[row, member] & pairs.coarse_seen[row, member]
        seen = seen & pairs.target_seen[row, member]
        out = torch.empty_like(target)

        def work(strip: Strip) -> None:
            t = strip.cut(target).double() / span
            top = torch.zeros_like(strip.inner(t))
            bottom, plain = torch.zeros_like(top), torch.zeros_like(top)
            for k in range(len(fine)):
                good = strip.cut(seen[k], outside=False)
                f, c = (strip.cut(image[k]).double() / span for image in (fine, coarse))
                plain += self._pair(strip, f, c, t, good, top, bottom)
            near = torch.where(bottom > 0, top / bottom.clamp(min=1e-300), plain / len(fine))
            out[:, strip.rows] = (near * span).float()

        cells = CELLS if self.engine == "compiled" else None
        each_strip(target, self.half, PLANES * len(target), work, cells)
        return out

    def _pair(
        self, strip: Strip, f: Tensor, c: Tensor, t: Tensor, seen: Tensor,
        top: Tensor, bottom: Tensor,
    ) -> Tensor:  # fmt: skip
        """Add one pair's weighted sums to ``top`` and ``bottom``; return F + C1 − C of the strip.

        All values are shares of the value range, with a margin.
        """
        spectral, temporal = (f - c).abs(), (c - t).abs()
        value = f + t - c
        weight = 1 / ((self.steepness * spectral + 1) * (self.steepness * temporal + 1))
        weighted = weight * value
        centre = strip.inner(f)
        alike = 2 / self.classes * self._sigma(f, seen)
        room = sqrt(2) * self.uncertainty
        most_spectral = strip.inner(spectral) + room
        most_temporal = strip.inner(temporal) + room
        # A pixel that is not valid is never a candidate, and has none of its own.
        spectral = torch.where(seen, spectral, torch.inf)
        alike = torch.where(strip.inner(seen), alike, -1.0)
        if self.engine == "compiled":
            images, limits = (f, spectral, temporal, weight, weighted), (alike, most_spectral)
            add_candidates(
                images, (*limits, most_temporal), top, bottom, half=self.half, reach=self.reach
            )
            return strip.inner(value)
        # Tests answer with 0.0 and 1.0: a change of type in every pass costs more than their size.
        both, most = torch.stack((spectral, temporal)), torch.stack((most_spectral, most_temporal))
        each = torch.stack((weight, weighted))
        keep, also = torch.empty_like(centre), torch.empty_like(most)
        sums = torch.zeros_like(most)
        for dy, dx, distance in offsets(self.half):
            torch.sub(strip.shift(f, dy, dx), centre, out=keep).abs_()
            torch.le(keep, alike, out=keep)
            torch.lt(strip.shift(both, dy, dx), most, out=also)
            keep.mul_(also[0]).mul_(also[1])
            share = 1 / (1 + distance / self.reach)
            sums.addcmul_(keep, strip.shift(each, dy, dx), value=share)
        bottom += sums[0]
        top += sums[1]
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


@accepts("half", "classes", "reach", "uncertainty", "steepness", "engine", of=(Starfm,))
def build(preset: str, **asked: Any) -> Starfm:
    """Build the model; options are the fields of :class:`Starfm`, the preset's where not given."""
    model = Starfm(**{**card.presets[preset].options, **asked})
    check_engine("starfm", model.engine)
    return model
