"""FSDAF: temporal prediction by class, spatial prediction by spline, residuals, similar pixels.

Step by step, in shares of the value range:

1. Classes of the fine reference; their shares f in every coarse pixel.
2. Per band a change Δ of every class: least squares without intercept of the coarse change on f,
   over the purest coarse pixels of every class whose change lies between the order statistics
   ⌊0.1·n⌋ and ⌊0.9·n⌋ of the n pixels, counted from 0, as in the authors' program.
   Temporal prediction T = F + Δ of the pixel's class.
3. Spatial prediction S: a thin-plate spline through the block means of the coarse target.
4. Residual of a coarse pixel R = coarse change − (mean of T − mean of F), shared out by
   W = E · H + |R| · (1 − H), where H is the share of a window's pixels of the pixel's own class and
   E = |S − T| where that has the sign of R, otherwise 0. W has a mean of 1 in a block; what is
   above 10 becomes 1. So the block means of T + W · R are those of F plus the coarse change.
5. T + W · R is held within the extremes of T and of the coarse target, and minus F it is the change
   of a pixel. The answer is F plus the weighted mean change of the similar pixels around.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsbench import Given, Prediction, Want
from rsbench_baselines._options import accepts
from rsbench_baselines.fsdaf import card
from rsbench_baselines.fsdaf.blocks import Blocks
from rsbench_baselines.fsdaf.classes import classify
from rsbench_baselines.fsdaf.spline import spline
from rsbench_baselines.fusion_trivial.pairs import ImagePairs, fused
from rsbench_baselines.fusion_trivial.windows import Strip, box_sum, each_strip, offsets, worst_kept

PLANES = 24
TINY = 1e-10
MOST_WEIGHT = 10.0
ROWS = 64


@dataclass(frozen=True)
class _Scene:
    """One pair and the coarse target.

    Args:
        fine: ``(C, H, W)`` float32 in shares of the value range, without its outermost values.
        coarse, target: ``(C, H, W)`` as given; bands of them are brought to shares one by one.
        blocks: the coarse pixels, and which fine pixels are valid in all three.
        low, span: the value range.
    """

    fine: Tensor
    coarse: Tensor
    target: Tensor
    blocks: Blocks
    low: float
    span: float

    def share(self, values: Tensor) -> Tensor:
        """Return values as shares of the value range."""
        return (values - self.low) / self.span

    def means(self, image: Tensor) -> Tensor:
        """Return the block means of an image as given, ``(C, h, w)`` shares in float64."""
        return torch.stack([self.blocks.mean(self.share(band)) for band in image])


@dataclass(frozen=True)
class Fsdaf:
    """FSDAF of one pair, any bands, any size.

    Args:
        half: half of the window of similar pixels and of homogeneity.
        similar: so many of the most similar pixels are kept; all of those as alike as the last.
        classes: classes of ground.
        pure: coarse pixels per class that its change is estimated from.
        tail: share of the pixels clipped at either end of every band.
    """

    half: int = 20
    similar: int = 20
    classes: int = 4
    pure: int = 100
    tail: float = 1e-4

    def predict(self, given: Given, want: Want) -> Prediction:
        """Fuse every sample on its own."""
        return fused(given, want, self.fuse)

    def fuse(self, pairs: ImagePairs, row: int, member: int) -> Tensor:
        """Return ``(C, H, W)`` float32 of one sample."""
        scene = self._scene(pairs, row, member)
        labels = classify(scene.fine, scene.blocks.seen, self.classes)
        found = self._smooth(scene, self.change(scene, labels))
        for band, share in enumerate(found):
            coarse, target = (scene.share(image[band]) for image in (scene.coarse, scene.target))
            plain = (scene.fine[band] + target - coarse).clamp(0, 1)
            share.copy_(torch.where((share < 0) | (share > 1), plain, share))
        return found.mul_(scene.span).add_(scene.low)

    def _scene(self, pairs: ImagePairs, row: int, member: int) -> _Scene:
        low, high = pairs.value_range
        seen = pairs.fine_seen[row, member, 0] & pairs.coarse_seen[row, member, 0]
        seen = (seen & pairs.target_seen[row, member]).all(dim=0)
        fine = torch.stack([
            _without_tails((band - low) / (high - low), seen, self.tail)
            for band in pairs.fine[row, member, 0]
        ])  # fmt: skip
        coarse, target = pairs.coarse[row, member, 0], pairs.target[row, member]
        return _Scene(fine, coarse, target, Blocks(pairs.footprint, seen), low, high - low)

    def change(self, scene: _Scene, labels: Tensor) -> Tensor:
        """Return every pixel's own change ``(C, H, W)`` float32, before similar pixels."""
        alike = _homogeneity(labels, self.classes, self.half)
        known = scene.blocks.count > 0
        later = scene.means(scene.target)
        grown = later - scene.means(scene.coarse)
        kinds = torch.stack([scene.blocks.mean(labels == k) for k in range(self.classes)])
        height, width = labels.shape
        smooth = spline(later, known, scene.blocks.span)[:, :height, :width]
        out = torch.empty_like(scene.fine)
        for band, fine in enumerate(scene.fine):
            steps = self.class_changes(kinds[:, known], grown[band, known])
            target = scene.share(scene.target[band])
            lowest, highest = _extremes(fine, steps, labels, target)
            for rows, own in scene.blocks.parts(ROWS):
                temporal = fine[rows].double() + steps[labels[rows]]
                blocks = Blocks(scene.blocks.span, scene.blocks.seen[rows])
                added = residuals(
                    temporal, fine[rows].double(), smooth[band, rows].double(), grown[band, own],
                    alike[rows], blocks,
                )  # fmt: skip
                out[band, rows] = ((temporal + added).clamp(lowest, highest) - fine[rows]).float()
        return out

    def class_changes(self, kinds: Tensor, grown: Tensor) -> Tensor:
        """Return the change of every class ``(K,)`` of one band.

        Args:
            kinds: ``(K, N)``, shares of the classes in the coarse pixels.
            grown: ``(N,)``, their change.
        """
        rows, values = [], []
        for share in kinds:
            order = share.argsort(descending=True, stable=True)[: self.pure]
            order = order[share[order] > 0.01]
            if not len(order):
                continue
            own = grown[order]
            sorted_, count = own.sort().values, len(own)
            low, high = sorted_[count // 10], sorted_[9 * count // 10]
            kept = order[(own >= low) & (own <= high)]
            rows.append(kinds[:, kept].T)
            values.append(grown[kept])
        if not rows:
            return kinds.new_zeros(len(kinds))
        found: Tensor = torch.linalg.pinv(torch.cat(rows)) @ torch.cat(values)
        return found

    def _smooth(self, scene: _Scene, change: Tensor) -> Tensor:
        """Return F plus the weighted mean change of similar pixels, ``(C, H, W)`` float32."""
        seen = scene.blocks.seen
        limits = torch.stack([_deviation(band, seen) for band in scene.fine])
        limits = (2 / self.classes * limits).clamp(min=1e-12)[:, None, None]
        out = torch.empty_like(scene.fine)

        def work(strip: Strip) -> None:
            good = strip.cut(seen, outside=False)
            fine, moved = strip.cut(scene.fine).double(), strip.cut(change).double()
            centre = strip.inner(fine)
            size = (centre + scene.low / scene.span).abs().clamp(min=1e-4)
            reach = torch.where(good, fine, torch.inf)
            worst = self._worst_rank(strip, reach, centre, limits, size)
            total, weight = torch.zeros_like(centre), torch.zeros_like(centre[0])
            for dy, dx, distance in offsets(self.half):
                gap = (strip.shift(reach, dy, dx) - centre).abs_()
                rank = (gap / size).sum(dim=0)
                kept = (gap < limits).all(dim=0) & (rank <= worst)
                w = kept / ((1 + distance / self.half) * (1 + rank))
                weight += w
                total.addcmul_(strip.shift(moved, dy, dx), w)
            mean = torch.where(weight > 0, total / weight.clamp(min=1e-300), strip.inner(moved))
            out[:, strip.rows] = (centre + mean).float()

        each_strip(scene.fine, self.half, PLANES * len(scene.fine), work)
        return out

    def _worst_rank(
        self, strip: Strip, reach: Tensor, centre: Tensor, limits: Tensor, size: Tensor
    ) -> Tensor:
        """Return how unlike the last similar pixel is that is kept, ``(h, w)``."""

        def rank(dy: int, dx: int, part: slice) -> Tensor:
            gap = (strip.shift(reach, dy, dx)[:, part] - centre[:, part]).abs_()
            found = (gap / size[:, part]).sum(dim=0)
            return torch.where((gap < limits).all(dim=0), found, torch.inf)

        return worst_kept(strip, reach, self.half, self.similar, rank)


def residuals(
    temporal: Tensor, fine: Tensor, smooth: Tensor, grown: Tensor, alike: Tensor, blocks: Blocks
) -> Tensor:
    """Return what is added to the temporal prediction ``(H, W)``; its block means are R.

    Args:
        temporal, fine, smooth: ``(H, W)``, T, F and S of one band.
        grown: ``(h, w)``, the coarse change.
        alike: ``(H, W)``, H.
    """
    known = blocks.count > 0
    left = torch.where(known, grown - (blocks.mean(temporal) - blocks.mean(fine)), 0)
    wide = blocks.spread(left)
    apart = smooth - temporal
    apart = torch.where(apart * wide > 0, apart.abs(), 0)
    weight = apart * alike + wide.abs() * (1 - alike) + TINY
    weight = weight / blocks.spread(blocks.mean(weight).clamp(min=TINY))
    weight = torch.where(weight > MOST_WEIGHT, 1.0, weight)
    weight = weight / blocks.spread(blocks.mean(weight).clamp(min=TINY))
    return weight * wide


def _extremes(fine: Tensor, steps: Tensor, labels: Tensor, target: Tensor) -> tuple[float, float]:
    """Return the least and largest value of F + Δ and of the coarse target, within the range."""
    low, high = float(target.min()), float(target.max())
    for k, step in enumerate(steps.tolist()):
        own = fine[labels == k]
        if len(own):
            low, high = min(low, float(own.min()) + step), max(high, float(own.max()) + step)
    return max(low, 0.0), min(high, 1.0)


def _homogeneity(labels: Tensor, classes: int, half: int) -> Tensor:
    """Return the share of a window's pixels that have the pixel's own class, ``(H, W)``."""
    out = torch.empty(labels.shape, dtype=torch.float64, device=labels.device)
    height = labels.shape[0]
    for start in range(0, height, ROWS):
        strip = Strip(start, min(height, start + ROWS), half)
        own = strip.cut(labels, outside=-1)
        middle = strip.inner(own)
        inside = box_sum((own >= 0).double(), half)
        for k in range(classes):
            same = box_sum((own == k).double(), half) / inside
            out[strip.rows] = torch.where(middle == k, same, out[strip.rows])
    return out


def _without_tails(band: Tensor, seen: Tensor, tail: float) -> Tensor:
    """Clip ``(H, W)`` to the quantiles ``tail`` and ``1 − tail`` of its valid pixels."""
    known = band[seen]
    if not len(known):
        return band
    first = min(int(tail * len(known)) + 1, len(known))
    low, high = known.kthvalue(first).values, known.kthvalue(len(known) + 1 - first).values
    return band.clamp(low, high)


def _deviation(band: Tensor, seen: Tensor) -> Tensor:
    known = band[seen].double()
    return known.std(correction=0) if len(known) else known.new_zeros(())


@accepts("half", "similar", "classes", "pure", "tail", of=(Fsdaf,))
def build(preset: str, **asked: Any) -> Fsdaf:
    """Build the model; options are the fields of :class:`Fsdaf`, the preset's where not given."""
    return Fsdaf(**{**card.presets[preset].options, **asked})
