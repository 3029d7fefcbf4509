"""ESTARFM over whole images: one pass per window offset, memory of a strip of rows.

A pixel c of the window of p is similar if |F_k(c) − F_k(p)| < 2 σ(F_k) / classes in every band and
both pairs, where σ is taken over the whole image, and all five images are valid at c. With more
than five similar pixels: weights W ∝ 1 / ((1 − R) · d + 1e-7) from the correlation R of the fine
with the coarse numbers of c and d = 1 + distance / reach; per band a conversion coefficient V by
least squares of fine on coarse numbers of the similar pixels at both dates, where the coarse mean
differs between the dates by 2 % of the value range or more and 0 < V ≤ 5, otherwise 1;
F̂_k = F_k(p) + V · Σ W (C_1 − C_k); and the mean of both with weights 1 / |mean(C_1) − mean(C_k)|
over the window. An answer outside the value range takes Σ W F_k in place of F̂_k. With five or
fewer: F_k(p) plus the window's mean coarse change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines.estarfm import card
from rsbench_baselines.fusion_trivial.pairs import Pairs, answer, pairs_of
from rsbench_baselines.fusion_trivial.windows import (
    Strip,
    box_sum,
    offsets,
    strips,
)

LEAST = 5
"""With so many similar pixels or fewer nothing is fitted."""

RANK_CELLS = 1 << 24
"""Numbers held at once to find the most similar pixels: 64 MiB."""


@dataclass(frozen=True)
class _Scene:
    """One sample in shares of the value range.

    Args:
        fine, coarse: ``(2, C, H, W)`` of the two references.
        target: ``(C, H, W)``, coarse.
        scaled: ``(2C, H, W)``, fine numbers over the threshold of their band and date.
        seen: ``(H, W)``, valid in all five images.
        unlike: ``(H, W)``, 1 − R.
    """

    fine: Tensor
    coarse: Tensor
    target: Tensor
    scaled: Tensor
    seen: Tensor
    unlike: Tensor


@dataclass(frozen=True)
class _Sums:
    """What one pass over the window adds up, over the similar pixels of every pixel.

    Args:
        count, weight: ``(h, w)``, number of similar pixels and ΣW before normalising.
        change, fine: ``(2, C, h, w)``, ΣW (C_1 − C_k) and ΣW F_k.
        x: ``(2, C, h, w)``, Σ C_k.
        y, xx, xy: ``(C, h, w)``, Σ F, Σ C², Σ C·F over both dates.
    """

    count: Tensor
    weight: Tensor
    change: Tensor
    fine: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor


@dataclass(frozen=True)
class Estarfm:
    """ESTARFM of two pairs, any bands, any size.

    Args:
        half: half of the window.
        classes: number of land-cover classes that similarity assumes.
        reach: pixels of distance that double a pixel's distance weight.
        similar: keep so many of the most similar pixels; all where None.
        least_change: share of the value range from which a conversion coefficient is fitted.
        largest: conversion coefficients above this are not believed.
    """

    half: int = 25
    classes: float = 4.0
    reach: float = 25.0
    similar: int | None = None
    least_change: float = 0.02
    largest: float = 5.0

    def predict(self, given: Given, want: Want) -> Prediction:
        """Fuse every sample on its own."""
        pairs = pairs_of(given, want)
        B, M = pairs.target.shape[:2]
        rows = [torch.stack([self.fuse(pairs, b, m) for m in range(M)]) for b in range(B)]
        return Prediction(answer(torch.stack(rows), want))

    def fuse(self, pairs: Pairs, row: int, member: int) -> Tensor:
        """Return ``(C, H, W)`` float32 of one sample."""
        low, high = pairs.value_range
        scene = self._scene(pairs, row, member)
        out = torch.empty_like(scene.target)
        for strip in strips(scene.target, self.half):
            out[:, strip.start : strip.stop] = self._strip(scene, strip)
        return (out * (high - low) + low).float()

    def _scene(self, pairs: Pairs, row: int, member: int) -> _Scene:
        low, high = pairs.value_range

        def share(values: Tensor) -> Tensor:
            return (values[row, member].double() - low) / (high - low)

        fine, coarse, target = share(pairs.fine), share(pairs.coarse), share(pairs.target)
        seen = pairs.fine_seen[row, member].all(dim=1).all(dim=0)
        seen = seen & pairs.coarse_seen[row, member].all(dim=1).all(dim=0)
        seen = seen & pairs.target_seen[row, member].all(dim=0)
        limits = 2 / self.classes * _deviation(fine, seen)
        # A band without any spread sets no pixels apart; a tiny limit would divide by zero.
        scaled = fine / limits.clamp(min=1e-12)
        likeness = _likeness(fine + low / (high - low), coarse + low / (high - low))
        return _Scene(fine, coarse, target, scaled.flatten(0, 1), seen, 1 - likeness)

    def _strip(self, scene: _Scene, strip: Strip) -> Tensor:
        """Return the answer ``(C, h, w)`` of one strip."""
        sums = self._gather(scene, strip)
        part = slice(strip.start, strip.stop)
        fine = scene.fine[:, :, part]
        when, window = self._window(scene, strip)
        weight = sums.weight.clamp(min=1e-300)
        fitted = (when * (fine + self._slope(sums) * sums.change / weight)).sum(dim=0)
        steady = (when * sums.fine / weight).sum(dim=0)
        fitted = torch.where((fitted > 0) & (fitted < 1), fitted, steady)
        few = (when * (fine + window)).sum(dim=0)
        return torch.where(sums.count > LEAST, fitted, few)

    def _gather(self, scene: _Scene, strip: Strip) -> _Sums:
        """Pass over all offsets and add up what the similar pixels hold."""
        C = scene.target.shape[0]
        f, c, t = (strip.cut(v, 0.0) for v in (scene.fine, scene.coarse, scene.target))
        scaled, unlike = strip.cut(scene.scaled, torch.inf), strip.cut(scene.unlike, 1.0)
        seen = strip.cut(scene.seen, False)
        # Infinitely unlike where not valid: no comparison of its own is needed.
        scaled = torch.where(seen, scaled, torch.inf)
        centre = torch.where(
            strip.inner(seen), strip.inner(scaled), strip.inner(scaled).nan_to_num()
        )
        weighted = torch.cat([(t - c).flatten(0, 1), f.flatten(0, 1)])
        counted = torch.cat([c.flatten(0, 1), f.sum(0), (c * c).sum(0), (c * f).sum(0)])
        rows, columns = centre.shape[-2:]
        new = weighted.new_zeros
        count, weight = new(rows, columns), new(rows, columns)
        by_weight, by_count = new(4 * C, rows, columns), new(5 * C, rows, columns)
        worst = self._worst_rank(strip, scaled, centre)
        gap = torch.empty_like(centre)
        for dy, dx, distance in offsets(self.half):
            torch.sub(strip.shift(scaled, dy, dx), centre, out=gap).abs_()
            similar = gap.amax(dim=0) < 1
            if worst is not None:
                similar &= gap.sum(dim=0).float() <= worst
            one = similar.to(gap.dtype)
            w = one / (strip.shift(unlike, dy, dx) * (1 + distance / self.reach) + 1e-7)
            count += one
            weight += w
            by_weight.addcmul_(strip.shift(weighted, dy, dx), w)
            by_count.addcmul_(strip.shift(counted, dy, dx), one)
        change, fine = by_weight.view(2, 2, C, rows, columns)
        x = by_count[: 2 * C].view(2, C, rows, columns)
        y, xx, xy = by_count[2 * C :].view(3, C, rows, columns)
        return _Sums(count, weight, change, fine, x, y, xx, xy)

    def _worst_rank(self, strip: Strip, scaled: Tensor, centre: Tensor) -> Tensor | None:
        """Return the distance in numbers of the last similar pixel that is kept, ``(h, w)``."""
        if self.similar is None:
            return None
        rows, columns = centre.shape[-2:]
        window = (2 * self.half + 1) ** 2
        step = max(1, RANK_CELLS // (window * columns))
        kept = torch.empty(rows, columns, dtype=torch.float32, device=centre.device)
        for first in range(0, rows, step):
            part = slice(first, min(rows, first + step))
            ranks = torch.empty(window, part.stop - first, columns, device=centre.device)
            for place, (dy, dx, _) in enumerate(offsets(self.half)):
                gap = (strip.shift(scaled, dy, dx)[:, part] - centre[:, part]).abs()
                rank = gap.sum(dim=0).float()
                ranks[place] = torch.where(gap.amax(dim=0) < 1, rank, torch.inf)
            last = min(self.similar, window)
            kept[part] = ranks.topk(last, dim=0, largest=False).values[-1]
        return kept

    def _slope(self, sums: _Sums) -> Tensor:
        """Return V ``(C, h, w)``: fine on coarse numbers over the similar pixels of both dates."""
        both = 2 * sums.count.clamp(min=1)
        x = sums.x.sum(dim=0)
        spread = sums.xx - x * x / both
        slope = (sums.xy - x * sums.y / both) / torch.where(spread > 0, spread, torch.inf)
        apart = ((sums.x[0] - sums.x[1]) / sums.count.clamp(min=1)).abs()
        believed = (apart >= self.least_change) & (slope > 0) & (slope <= self.largest)
        return torch.where(believed, slope, 1.0)

    def _window(self, scene: _Scene, strip: Strip) -> tuple[Tensor, Tensor]:
        """Return temporal weights and mean coarse changes of the window, both ``(2, C, h, w)``."""
        delta = torch.where(scene.seen, scene.target - scene.coarse, 0)
        total = box_sum(strip.cut(delta, 0.0), self.half)
        count = box_sum(strip.cut(scene.seen.to(delta.dtype), 0.0), self.half).clamp(min=1)
        mean = total / count
        weight = 1 / (mean.abs() + 1e-10)
        return weight / weight.sum(dim=0, keepdim=True), mean


def _likeness(fine: Tensor, coarse: Tensor) -> Tensor:
    """Return R ``(H, W)``: correlation of a pixel's 2C fine with its 2C coarse numbers.

    With one band there are only two numbers, whose correlation says nothing: one minus the mean
    of |F − C| / (F + C) stands for it.
    """
    if fine.shape[1] == 1:
        apart = (fine - coarse).abs() / (fine + coarse).abs().clamp(min=1e-12)
        return (1 - apart.mean(dim=0))[0]
    x, y = fine.flatten(0, 1), coarse.flatten(0, 1)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    size = ((x * x).sum(dim=0) * (y * y).sum(dim=0)).sqrt()
    return torch.where(size > 0, (x * y).sum(dim=0) / size.clamp(min=1e-300), 0.5)


def _deviation(fine: Tensor, seen: Tensor) -> Tensor:
    """Return the standard deviation of every date and band over valid pixels, ``(2, C, 1, 1)``."""
    mask = seen.to(fine.dtype)
    count = mask.sum().clamp(min=1)
    mean = (fine * mask).sum(dim=(-2, -1), keepdim=True) / count
    apart = (fine - mean) * mask
    return ((apart * apart).sum(dim=(-2, -1), keepdim=True) / count).sqrt()


def build(preset: str, **options: Any) -> Estarfm:
    """Build the model; options are the fields of :class:`Estarfm`, over the preset's."""
    return Estarfm(**{**card.presets[preset].options, **options})
