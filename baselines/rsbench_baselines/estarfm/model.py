"""ESTARFM over whole images: one pass per window offset, memory of a strip of rows.

A pixel c of the window of p is similar if |F_k(c) − F_k(p)| < 2 σ(F_k) / classes in every band and
both pairs, where σ is taken over the whole image, and all five images are valid at c. With more
than five similar pixels: weights W ∝ 1 / ((1 − R) · d + 1e-7) from the correlation R of the fine
with the coarse numbers of c and d = 1 + distance / reach; per band a conversion coefficient V by
least squares of fine on coarse numbers of the similar pixels at both dates, where the coarse mean
differs between the dates by 2 % of the value range or more and 0 < V ≤ 5 (and, where asked for, the
regression is significant), otherwise 1;
F̂_k = F_k(p) + V · Σ W (C_1 − C_k); and the mean of both with weights 1 / |mean(C_1) − mean(C_k)|
over the window. A prediction outside the value range takes Σ W F_k in place of F̂_k. With five or
fewer: F_k(p) plus the window's mean coarse change. So too where p itself is not valid in all five
images, which the publication leaves blank: of the pairs whose fine image shows it, and where none
does, of what fills the gaps of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines._options import accepts
from rsbench_baselines.estarfm import card
from rsbench_baselines.estarfm.loop import summed
from rsbench_baselines.fusion_trivial.compiled import CELLS, check_engine
from rsbench_baselines.fusion_trivial.pairs import ImagePairs, fused
from rsbench_baselines.fusion_trivial.windows import Strip, box_sum, each_strip, offsets, worst_kept

LEAST = 5
"""With this many similar pixels or fewer, no regression is fitted."""

PLANES = 24
"""Arrays per band that are in use at once."""


@dataclass(frozen=True)
class _Scene:
    """One sample as given; strips of it are brought to shares of the value range.

    Args:
        fine, coarse: ``(2, C, H, W)`` of the two references.
        target: ``(C, H, W)``, coarse.
        limits: ``(2, C, 1, 1)``, the thresholds of similarity, as shares.
        seen: ``(H, W)``, valid in all five images.
        known: ``(2, H, W)``, valid in the fine image of each reference.
        low, span: the value range.
    """

    fine: Tensor
    coarse: Tensor
    target: Tensor
    limits: Tensor
    seen: Tensor
    known: Tensor
    low: float
    span: float

    def share(self, values: Tensor) -> Tensor:
        """Return values as shares of the value range, in double precision."""
        return (values.double() - self.low) / self.span


@dataclass(frozen=True)
class _Window:
    """What a strip sees, with its margin.

    Args:
        fine, coarse, target: shares of the value range, 0 outside the image.
        scaled: ``(2C, …)``, fine numbers over the thresholds; infinite where not valid.
        unlike: 1 − R.
        seen: where all five images are valid.
    """

    fine: Tensor
    coarse: Tensor
    target: Tensor
    scaled: Tensor
    unlike: Tensor
    seen: Tensor


@dataclass(frozen=True)
class _Sums:
    """What one pass over the window adds up, over the similar pixels of every pixel.

    Args:
        count, weight: ``(h, w)``, number of similar pixels and ΣW before normalising.
        change: ``(2, C, h, w)``, ΣW (C_1 − C_k).
        x: ``(2, C, h, w)``, Σ C_k.
        y, xx, xy: ``(C, h, w)``, Σ F, Σ C², Σ C·F over both dates.
        steady: ``(2, C, h, w)``, ΣW F_k; None where it was not asked for.
    """

    count: Tensor
    weight: Tensor
    change: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    steady: Tensor | None = None


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
        engine: ``torch``, or ``compiled``: a loop over pixels made by numba, on CPUs.
        significant: largest p value of the regression's F-test for a coefficient to be believed;
            no test where None.
    """

    half: int = 25
    classes: float = 4.0
    reach: float = 25.0
    similar: int | None = None
    least_change: float = 0.02
    largest: float = 5.0
    engine: str = "torch"
    significant: float | None = None

    def predict(self, given: Given, want: Want) -> Prediction:
        """Fuse every sample on its own."""
        return fused(given, want, self.fuse)

    def fuse(self, pairs: ImagePairs, row: int, member: int) -> Tensor:
        """Return ``(C, H, W)`` float32 of one sample."""
        scene = self._scene(pairs, row, member)
        out = torch.empty_like(scene.target)

        def work(strip: Strip) -> None:
            share = self._strip(scene, strip, _window(scene, strip))
            out[:, strip.rows] = (share * scene.span + scene.low).float()

        cells = CELLS if self.engine == "compiled" else None
        each_strip(scene.target, self.half, PLANES * len(scene.target), work, cells)
        return out

    def _scene(self, pairs: ImagePairs, row: int, member: int) -> _Scene:
        low, high = pairs.value_range
        seen = pairs.fine_seen[row, member].all(dim=1).all(dim=0)
        seen = seen & pairs.coarse_seen[row, member].all(dim=1).all(dim=0)
        seen = seen & pairs.target_seen[row, member].all(dim=0)
        fine = pairs.fine[row, member]
        spread = [_deviation(band.double(), seen) for date in fine for band in date]
        limits = 2 / self.classes * torch.stack(spread).view(*fine.shape[:2], 1, 1) / (high - low)
        # A band without any spread sets no pixels apart; a tiny limit would divide by zero.
        return _Scene(
            fine=fine,
            coarse=pairs.coarse[row, member],
            target=pairs.target[row, member],
            limits=limits.clamp(min=1e-12),
            seen=seen,
            known=pairs.fine_seen[row, member].all(dim=1),
            low=low,
            span=high - low,
        )

    def _strip(self, scene: _Scene, strip: Strip, window: _Window) -> Tensor:
        """Return the answer ``(C, h, w)`` of one strip."""
        worst = None
        if self.engine != "compiled" or self.significant is not None:
            worst = self._worst_rank(strip, window.scaled)
        sums = (
            self._looped(window)
            if self.engine == "compiled"
            else self._gather(strip, window, worst)
        )
        fine = strip.inner(window.fine)
        when, mean = self._change(strip, window)
        squares = None if self.significant is None else self._squares(strip, window)
        fitted = fine + self._slope(sums, squares) * sums.change / sums.weight.clamp(min=1e-300)
        answer = (when * fitted).sum(dim=0)
        few = sums.count <= LEAST
        answer = torch.where(few, self._few(scene, strip, when, mean), answer)
        outside = ((answer <= 0) | (answer >= 1)) & ~few
        if not bool(outside.any()):
            return answer
        total = self._steady(strip, window, worst) if sums.steady is None else sums.steady
        held = when * total / sums.weight.clamp(min=1e-300)
        return torch.where(outside, held.sum(dim=0), answer)

    def _few(self, scene: _Scene, strip: Strip, when: Tensor, mean: Tensor) -> Tensor:
        """Return the prediction ``(C, h, w)`` without a fit: references plus mean change."""
        known = scene.known[:, None, strip.rows]
        weight = when * torch.where(known.any(dim=0), known, True)
        filled = scene.share(scene.fine[..., strip.rows, :])
        return (weight * (filled + mean)).sum(dim=0) / weight.sum(dim=0)

    def _similar(
        self, strip: Strip, window: _Window, worst: Tensor | None
    ) -> Iterator[tuple[int, int, Tensor, Tensor]]:
        """Yield ``(dy, dx, similar, weight)`` of every offset; the next call writes over both."""
        centre = strip.inner(window.scaled).nan_to_num()
        gap = torch.empty_like(centre)
        one, weight = torch.empty_like(centre[0]), torch.empty_like(centre[0])
        for dy, dx, distance in offsets(self.half):
            torch.sub(strip.shift(window.scaled, dy, dx), centre, out=gap).abs_()
            torch.lt(torch.amax(gap, dim=0, out=one), 1.0, out=one)
            if worst is not None:
                one *= gap.sum(dim=0) <= worst
            torch.mul(strip.shift(window.unlike, dy, dx), 1 + distance / self.reach, out=weight)
            torch.div(one, weight.add_(1e-7), out=weight)
            yield dy, dx, one, weight

    def _gather(self, strip: Strip, window: _Window, worst: Tensor | None) -> _Sums:
        """Pass over all offsets and add up what the similar pixels hold."""
        f, c, t = window.fine, window.coarse, window.target
        C = len(t)
        weighted = (t - c).flatten(0, 1)
        counted = torch.cat([c.flatten(0, 1), f.sum(0), (c * c).sum(0), (c * f).sum(0)])
        rows, columns = strip.inner(t).shape[-2:]
        new = weighted.new_zeros
        count, weight = new(rows, columns), new(rows, columns)
        by_weight, by_count = new(2 * C, rows, columns), new(5 * C, rows, columns)
        for dy, dx, one, w in self._similar(strip, window, worst):
            count += one
            weight += w
            by_weight.addcmul_(strip.shift(weighted, dy, dx), w)
            by_count.addcmul_(strip.shift(counted, dy, dx), one)
        x = by_count[: 2 * C].view(2, C, rows, columns)
        y, xx, xy = by_count[2 * C :].view(3, C, rows, columns)
        return _Sums(count, weight, by_weight.view(2, C, rows, columns), x, y, xx, xy)

    def _looped(self, window: _Window) -> _Sums:
        """Add up the same pixel by pixel."""
        w = window
        count, weight, sums = summed(
            w.scaled, w.fine, w.coarse, w.target, w.unlike,
            half=self.half, reach=self.reach, similar=self.similar,
        )  # fmt: skip
        y, xx, xy = sums[6:]
        return _Sums(count, weight, sums[:2], sums[2:4], y, xx, xy, steady=sums[4:6])

    def _steady(self, strip: Strip, window: _Window, worst: Tensor | None) -> Tensor:
        """Return ΣW F_k ``(2, C, h, w)``: what stands for an answer out of range, rare enough for
        a pass of its own.
        """
        fine = window.fine.flatten(0, 1)
        total = torch.zeros_like(strip.inner(fine))
        for dy, dx, _, w in self._similar(strip, window, worst):
            total.addcmul_(strip.shift(fine, dy, dx), w)
        return total.view(*window.fine.shape[:2], *total.shape[-2:])

    def _squares(self, strip: Strip, window: _Window) -> Tensor:
        """Return Σ F² over both dates, ``(C, h, w)``, which only the F-test needs."""
        worst = self._worst_rank(strip, window.scaled)
        fine = (window.fine * window.fine).sum(dim=0)
        total = torch.zeros_like(strip.inner(fine))
        for dy, dx, one, _ in self._similar(strip, window, worst):
            total.addcmul_(strip.shift(fine, dy, dx), one)
        return total

    def _worst_rank(self, strip: Strip, scaled: Tensor) -> Tensor | None:
        """Return the distance in numbers of the last similar pixel that is kept, ``(h, w)``."""
        if self.similar is None:
            return None
        centre = strip.inner(scaled).nan_to_num()

        def rank(dy: int, dx: int, part: slice) -> Tensor:
            gap = (strip.shift(scaled, dy, dx)[:, part] - centre[:, part]).abs()
            return torch.where(gap.amax(dim=0) < 1, gap.sum(dim=0), torch.inf)

        return worst_kept(strip, scaled, self.half, self.similar, rank)

    def _slope(self, sums: _Sums, squares: Tensor | None) -> Tensor:
        """Return V ``(C, h, w)``: fine on coarse numbers over the similar pixels of both dates."""
        both = 2 * sums.count.clamp(min=1)
        x = sums.x.sum(dim=0)
        spread = sums.xx - x * x / both
        slope = (sums.xy - x * sums.y / both) / torch.where(spread > 0, spread, torch.inf)
        apart = ((sums.x[0] - sums.x[1]) / sums.count.clamp(min=1)).abs()
        believed = (apart >= self.least_change) & (slope > 0) & (slope <= self.largest)
        if squares is not None and self.significant is not None:
            y = squares - sums.y * sums.y / both
            shared = slope * (sums.xy - x * sums.y / both)
            left = (y - shared).clamp(min=0)
            believed &= shared * (both - 2) >= left * critical(both - 2, self.significant)
        return torch.where(believed, slope, 1.0)

    def _change(self, strip: Strip, window: _Window) -> tuple[Tensor, Tensor]:
        """Return temporal weights and mean coarse changes of the window, both ``(2, C, h, w)``."""
        delta = torch.where(window.seen, window.target - window.coarse, 0)
        count = box_sum(window.seen.to(delta.dtype), self.half).clamp(min=1)
        mean = box_sum(delta, self.half) / count
        weight = 1 / (mean.abs() + 1e-10)
        return weight / weight.sum(dim=0, keepdim=True), mean


def _window(scene: _Scene, strip: Strip) -> _Window:
    """Cut a strip with its margin out of a scene."""
    seen = strip.cut(scene.seen, outside=False)
    fine, coarse, target = (
        torch.where(seen, scene.share(strip.cut(v)), 0)
        for v in (scene.fine, scene.coarse, scene.target)
    )
    # Infinitely unlike where not valid: no comparison of its own is needed.
    scaled = torch.where(seen, (fine / scene.limits), torch.inf)
    start = scene.low / scene.span
    likeness = _likeness(fine + start, coarse + start)
    return _Window(fine, coarse, target, scaled.flatten(0, 1), 1 - likeness, seen)


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


def critical(freedom: Tensor, p: float) -> Tensor:
    """Return the F value of 1 and ``freedom`` degrees of freedom that is exceeded with chance p.

    It is the square of Student's t, from the normal quantile by the Cornish–Fisher expansion
    (Abramowitz & Stegun 1964, 26.7.5): to 1e-3 of itself from ten degrees of freedom on.
    """
    z: Tensor = torch.special.ndtri(
        torch.tensor(1 - p / 2, dtype=torch.float64, device=freedom.device)
    )
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    t: Tensor = z.expand(freedom.shape)
    for power, term in enumerate(terms, start=1):
        t = t + term * freedom.double().clamp(min=1).pow(-power)
    return t.square()


def _deviation(band: Tensor, seen: Tensor) -> Tensor:
    """Return the standard deviation of ``(H, W)`` over valid pixels."""
    known = band[seen]
    return known.std(correction=0) if known.numel() else band.new_zeros(())


@accepts(
    "half",
    "classes",
    "reach",
    "similar",
    "least_change",
    "largest",
    "engine",
    "significant",
    of=(Estarfm,),
)
def build(preset: str, **asked: Any) -> Estarfm:
    """Build the model; options are the fields of :class:`Estarfm`, the preset's where not given."""
    model = Estarfm(**{**card.presets[preset].options, **asked})
    check_engine("estarfm", model.engine)
    return model
