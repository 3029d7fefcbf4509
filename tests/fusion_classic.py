"""STARFM, ESTARFM and FSDAF once more, pixel by pixel in NumPy float64, from the papers' equations.

Images are shares of the value range. A pair is (fine, coarse), each ``(C, H, W)``; ``seen`` is
bool ``(H, W)``, where all images of the method are valid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import stats

F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Pair = tuple[F64, F64]
REACHED: Counter[str] = Counter()
"""How often each branch was taken, for tests that must reach all of them."""


def window(y: int, x: int, half: int, shape: Sequence[int]) -> tuple[slice, slice, F64]:
    """Return rows, columns and distances of the window of a pixel, cut at the image's edge."""
    rows = slice(max(0, y - half), min(shape[0], y + half + 1))
    columns = slice(max(0, x - half), min(shape[1], x + half + 1))
    dy = np.arange(rows.start, rows.stop)[:, None] - y
    dx = np.arange(columns.start, columns.stop)[None] - x
    return rows, columns, np.sqrt(dy * dy + dx * dx)


def places(shape: Sequence[int]) -> Iterable[tuple[int, int]]:
    return ((y, x) for y in range(shape[0]) for x in range(shape[1]))


# STARFM ----------------------------------------------------------------------------------


def starfm(
    pairs: Sequence[Pair],
    target: F64,
    *,
    seen: Sequence[npt.NDArray[np.bool_]] | None = None,
    half: int = 15,
    classes: float = 4.0,
    reach: float = 5.0,
    uncertainty: float = 0.005,
    steepness: float = 1e4,
    at: Iterable[tuple[int, int]] | None = None,
) -> F64:
    """Predict; ``seen``: ``(C, H, W)`` per pair. Only the pixels ``at`` are worked out."""
    C, H, W = target.shape
    masks = [np.ones((C, H, W), bool)] * len(pairs) if seen is None else seen
    out = np.full((C, H, W), np.nan)
    for y, x in at if at is not None else places((H, W)):
        rows, columns, distance = window(y, x, half, (H, W))
        for b in range(C):
            top = bottom = plain = 0.0
            for (fine, coarse), good in zip(pairs, masks, strict=True):
                f, c, t = (image[b, rows, columns] for image in (fine, coarse, target))
                ok = good[b, rows, columns]
                own_f, own_c, own_t = fine[b, y, x], coarse[b, y, x], target[b, y, x]
                plain += own_f + own_t - own_c
                if not good[b, y, x]:
                    continue
                room = sqrt(uncertainty**2 + uncertainty**2)
                similar = ok & (np.abs(f - own_f) <= 2 * f[ok].std() / classes)
                spectral, temporal = np.abs(f - c), np.abs(c - t)
                similar &= spectral < abs(own_f - own_c) + room
                similar &= temporal < abs(own_c - own_t) + room
                combined = (steepness * spectral + 1) * (steepness * temporal + 1)
                weight = similar / (combined * (1 + distance / reach))
                bottom += weight.sum()
                top += (weight * (f + t - c)).sum()
            out[b, y, x] = top / bottom if bottom > 0 else plain / len(pairs)
    return out


# ESTARFM ---------------------------------------------------------------------------------


def estarfm(
    pairs: Sequence[Pair],
    target: F64,
    *,
    seen: Mask | None = None,
    half: int = 25,
    classes: float = 4.0,
    reach: float = 25.0,
    similar: int | None = None,
    significant: float | None = None,
    at: Iterable[tuple[int, int]] | None = None,
) -> F64:
    """Predict from two pairs; values below 0 or above 1 are out of range."""
    C, H, W = target.shape
    good = np.ones((H, W), bool) if seen is None else seen
    fine, coarse = (np.stack([pair[i] for pair in pairs]) for i in (0, 1))
    limits = 2 * fine[:, :, good].std(axis=-1) / classes
    limits = np.maximum(limits, 1e-12)
    likeness = _likeness(fine, coarse)
    out = np.full((C, H, W), np.nan)
    for y, x in at if at is not None else places((H, W)):
        rows, columns, distance = window(y, x, half, (H, W))
        gaps = np.abs(fine[:, :, rows, columns] - fine[:, :, y, x][:, :, None, None])
        gaps = gaps / limits[:, :, None, None]
        alike = good[rows, columns] & (gaps < 1).all(axis=(0, 1))
        if similar is not None and alike.sum() > similar:
            rank = np.where(alike, gaps.sum(axis=(0, 1)), np.inf).ravel()
            keep = np.zeros(rank.size, bool)
            keep[np.argsort(rank, kind="stable")[:similar]] = True
            alike = keep.reshape(alike.shape)
        out[:, y, x] = _estarfm_pixel(
            fine[:, :, rows, columns], coarse[:, :, rows, columns], target[:, rows, columns],
            fine[:, :, y, x], alike, good[rows, columns],
            (1 - likeness[rows, columns]) * (1 + distance / reach) + 1e-7, significant,
        )  # fmt: skip
    return out


def _estarfm_pixel(
    fine: F64, coarse: F64, target: F64, own: F64, alike: Mask, good: Mask, unlike: F64,
    significant: float | None,
) -> F64:  # fmt: skip
    """Return ``(C,)`` from what lies in the window."""
    mean = (target[None] - coarse)[:, :, good].mean(axis=-1) if good.any() else np.zeros(own.shape)
    when = 1 / (np.abs(mean) + 1e-10)
    when = when / when.sum(axis=0)
    if alike.sum() <= 5:
        REACHED["few"] += 1
        found: F64 = (when * (own + mean)).sum(axis=0)
        return found
    weight = (1 / unlike)[alike]
    weight = weight / weight.sum()
    answer = np.empty(own.shape[1])
    for b in range(own.shape[1]):
        c0, c2, t = coarse[0, b][alike], coarse[1, b][alike], target[b][alike]
        f0, f2 = fine[0, b][alike], fine[1, b][alike]
        slope = 1.0
        if abs(c0.mean() - c2.mean()) >= 0.02:
            x, y = np.concatenate([c0, c2]), np.concatenate([f0, f2])
            apart = x - x.mean()
            fitted = (apart * (y - y.mean())).sum() / (apart * apart).sum()
            slope = fitted if 0 < fitted <= 5 else 1.0
            if significant is not None and stats.linregress(x, y).pvalue > significant:
                REACHED["not significant"] += slope == fitted
                slope = 1.0
            REACHED["fitted" if slope == fitted else "not believed"] += 1
        each = [own[k, b] + slope * (weight * (t - c)).sum() for k, c in enumerate((c0, c2))]
        answer[b] = when[0, b] * each[0] + when[1, b] * each[1]
        if not 0 < answer[b] < 1:
            REACHED["outside"] += 1
            answer[b] = when[0, b] * (weight * f0).sum() + when[1, b] * (weight * f2).sum()
    return answer


def _likeness(fine: F64, coarse: F64) -> F64:
    C, H, W = fine.shape[1:]
    out = np.empty((H, W))
    for y, x in places((H, W)):
        f, c = fine[:, :, y, x].ravel(), coarse[:, :, y, x].ravel()
        if C == 1:
            size = np.maximum(np.abs(f + c), 1e-12)
            out[y, x] = 1 - (np.abs(f - c) / size).mean()
        elif f.std() == 0 or c.std() == 0:
            out[y, x] = 0.5
        else:
            out[y, x] = np.corrcoef(f, c)[0, 1]
    return out


# FSDAF -----------------------------------------------------------------------------------


def fsdaf(
    fine: F64,
    coarse: F64,
    target: F64,
    span: int,
    *,
    seen: Mask | None = None,
    half: int = 20,
    similar: int = 20,
    classes: int = 4,
    pure: int = 100,
    tail: float = 1e-4,
) -> F64:
    """Predict from one pair; ``span`` fine pixels along a coarse one, the last blocks cut."""
    C, H, W = fine.shape
    good = np.ones((H, W), bool) if seen is None else seen
    clipped = np.stack([_clipped(band, good, tail) for band in fine])
    labels = _classes(clipped, good, classes)
    blocks = [
        [(slice(y, min(H, y + span)), slice(x, min(W, x + span))) for x in range(0, W, span)]
        for y in range(0, H, span)
    ]
    kinds = np.array([
        [[(labels[at][good[at]] == k).mean() for k in range(classes)] for at in row]
        for row in blocks
    ])  # fmt: skip
    alike = np.empty((H, W))
    for y, x in places((H, W)):
        rows, columns, _ = window(y, x, half, (H, W))
        alike[y, x] = (labels[rows, columns] == labels[y, x]).mean()
    change = np.stack([
        _fsdaf_change(
            clipped[b], coarse[b], target[b], labels, kinds, blocks, good, alike, span, pure
        )
        for b in range(C)
    ])  # fmt: skip
    return _fsdaf_smooth(clipped, coarse, target, change, good, half, similar, classes)


def _clipped(band: F64, good: Mask, tail: float) -> F64:
    known = np.sort(band[good])
    out = int(tail * len(known))
    return np.clip(band, known[out], known[len(known) - 1 - out])


def _classes(image: F64, good: Mask, count: int) -> npt.NDArray[np.int64]:
    known = image[:, good].T
    order = np.argsort(known.mean(axis=1), kind="stable")
    centres = np.stack([known[part].mean(axis=0) for part in np.array_split(order, count)])
    for _ in range(50):
        own = np.array([((pixel - centres) ** 2).sum(axis=1).argmin() for pixel in known])
        moved = np.stack([
            known[own == k].mean(axis=0) if (own == k).any() else centres[k] for k in range(count)
        ])  # fmt: skip
        still = np.abs(moved - centres).max() < 1e-7
        centres = moved
        if still:
            break
    labels = np.empty(good.shape, np.int64)
    for y, x in places(good.shape):
        labels[y, x] = ((image[:, y, x] - centres) ** 2).sum(axis=1).argmin()
    return labels


def _fsdaf_change(
    fine: F64, coarse: F64, target: F64, labels: npt.NDArray[np.int64], kinds: F64,
    blocks: list[list[tuple[slice, slice]]], good: Mask, alike: F64, span: int, pure: int,
) -> F64:  # fmt: skip
    from scipy.interpolate import RBFInterpolator

    def means(image: F64) -> F64:
        return np.array([[image[at][good[at]].mean() for at in row] for row in blocks])

    grown = means(target) - means(coarse)
    share, step = kinds.reshape(-1, kinds.shape[2]), grown.ravel()
    rows, values = [], []
    for k in range(share.shape[1]):
        order = np.argsort(-share[:, k], kind="stable")[:pure]
        order = order[share[order, k] > 0.01]
        if not len(order):
            continue
        ranked = sorted(step[order])
        low, high = ranked[len(ranked) // 10], ranked[len(ranked) * 9 // 10]
        kept = order[(step[order] >= low) & (step[order] <= high)]
        rows.append(share[kept])
        values.append(step[kept])
    solved = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)[0]
    temporal = fine + solved[labels]
    middle = (span - 1) / 2
    nodes = np.array([
        [i * span + middle, j * span + middle]
        for i in range(len(blocks)) for j in range(len(blocks[0]))
    ])  # fmt: skip
    surface = RBFInterpolator(
        nodes, means(target).ravel(), kernel="thin_plate_spline", degree=1, smoothing=0
    )
    pixels = np.stack(np.meshgrid(*(np.arange(n) for n in fine.shape), indexing="ij"), axis=-1)
    smooth = surface(pixels.reshape(-1, 2).astype(float)).reshape(fine.shape)
    added = np.empty_like(fine)
    for i, row in enumerate(blocks):
        for j, at in enumerate(row):
            ok = good[at]
            left = grown[i, j] - (temporal[at][ok].mean() - fine[at][ok].mean())
            apart = smooth[at] - temporal[at]
            apart = np.where(np.sign(apart) == np.sign(left), np.abs(apart), 0.0)
            weight = apart * alike[at] + abs(left) * (1 - alike[at]) + 1e-10
            weight = weight / weight[ok].mean()
            REACHED["heavy"] += int((weight > 10).sum())
            weight = np.where(weight > 10, 1.0, weight)
            added[at] = weight / weight[ok].mean() * left
    lowest = max(0.0, min(temporal.min(), target.min()))
    highest = min(1.0, max(temporal.max(), target.max()))
    return np.clip(temporal + added, lowest, highest) - fine


def _fsdaf_smooth(
    fine: F64, coarse: F64, target: F64, change: F64, good: Mask, half: int, similar: int,
    classes: int,
) -> F64:  # fmt: skip
    C, H, W = fine.shape
    limits = 2 * fine[:, good].std(axis=1) / classes
    out = np.empty_like(fine)
    for y, x in places((H, W)):
        rows, columns, distance = window(y, x, half, (H, W))
        gaps = np.abs(fine[:, rows, columns] - fine[:, y, x][:, None, None])
        size = np.maximum(np.abs(fine[:, y, x]), 1e-4)
        rank = (gaps / size[:, None, None]).sum(axis=0)
        alike = good[rows, columns] & (gaps < limits[:, None, None]).all(axis=0)
        if alike.sum() > similar:
            alike &= rank <= np.sort(rank[alike])[similar - 1]
        weight = 1 / ((1 + distance[alike] / half) * (1 + rank[alike]))
        for b in range(C):
            moved = change[b, rows, columns][alike]
            mean = (weight * moved).sum() / weight.sum() if alike.any() else change[b, y, x]
            out[b, y, x] = fine[b, y, x] + mean
            if not 0 <= out[b, y, x] <= 1:
                REACHED["outside"] += 1
                plain = fine[b, y, x] + target[b, y, x] - coarse[b, y, x]
                out[b, y, x] = min(max(plain, 0.0), 1.0)
    return out
