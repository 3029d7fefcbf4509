"""Batches of fusion samples: fine references, coarse images on the fine grid, and the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from rsbench.core.dates import day_numbers
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window, nesting
from rsbench.store.cache import Cache, open_cache
from rsbench.store.pixels import physical
from rsbench.store.read import Store
from rsbench.tasks.cloud_masks import hidden
from rsbench.tasks.fusion_samples import SensorPair, Triplet, footprint

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class FusionBatch:
    """One batch of B triplets of one shape; no two parts share memory.

    Args:
        samples: one per row B.
        grids: the fine grid of each row's window.
        footprint: fine pixels along one side of a coarse measurement.
        fine: ``(B, K, C, H, W)`` float32 of the K references in the unit; 0 where not valid.
        fine_valid: ``(B, K, 1, H, W)`` bool.
        fine_times: ``(B, K)`` int64, days since 1970-01-01.
        coarse, coarse_valid, coarse_times: the same of the K + 1 dates of references and target,
            ascending, on the fine grid.
        truth, truth_valid, target_times: the same of the one target date.
    """

    pair: SensorPair
    bands: tuple[str, ...]
    samples: tuple[Triplet, ...]
    grids: tuple[Grid, ...]
    footprint: int
    fine: Tensor
    fine_valid: Tensor
    fine_times: Tensor
    coarse: Tensor
    coarse_valid: Tensor
    coarse_times: Tensor
    truth: Tensor
    truth_valid: Tensor
    target_times: Tensor


def fusion_batches(
    store: Store,
    samples: Sequence[Triplet],
    batch_size: int,
    *,
    pair: SensorPair,
    bands: Sequence[str],
    resampling: str = "nearest",
    shuffle_seed: int | Sequence[int] | None = None,
) -> Iterator[FusionBatch]:
    """Yield every sample once, in batches of one size, number of references and footprint.

    Args:
        bands: which bands, in which order.
        resampling: ``nearest`` repeats a coarse pixel over its block; ``bilinear`` interpolates
            between the centres of valid coarse pixels.
        shuffle_seed: seed of the order; the samples' own order where None.
    """
    if batch_size < 1:
        raise InputError("batch size", str(batch_size), "Give 1 or more")
    caches = open_cache(store, pair.fine), open_cache(store, pair.coarse)
    for cache in caches:
        cache.meta.band_index(bands)
    order = np.arange(len(samples))
    if shuffle_seed is not None:
        np.random.default_rng(shuffle_seed).shuffle(order)
    waiting: dict[tuple[int, int, int, int], list[Triplet]] = {}
    for place in order:
        sample = samples[int(place)]
        span = footprint(store, pair, sample.region)
        shape = (len(sample.references), sample.window.height, sample.window.width, span)
        bucket = waiting.setdefault(shape, [])
        bucket.append(sample)
        if len(bucket) == batch_size:
            yield assemble(store, caches, tuple(bucket), tuple(bands), span, resampling)
            bucket.clear()
    for (_, _, _, span), bucket in waiting.items():
        if bucket:
            yield assemble(store, caches, tuple(bucket), tuple(bands), span, resampling)


def assemble(
    store: Store,
    caches: tuple[Cache, Cache],
    samples: tuple[Triplet, ...],
    bands: tuple[str, ...],
    span: int,
    resampling: str,
) -> FusionBatch:
    """Return the batch of some samples of one window size, number of references and footprint.

    Args:
        caches: of the fine and the coarse sensor.
        span: fine pixels along one side of a coarse measurement.
    """
    fine, coarse = caches
    references = [_read(fine, s, s.references, s.window, bands) for s in samples]
    truths = [_read(fine, s, (s.target,), s.window, bands) for s in samples]
    shown = [_coarse(store, fine, coarse, s, bands, span, resampling) for s in samples]
    return FusionBatch(
        pair=SensorPair(fine.sensor, coarse.sensor),
        bands=bands,
        samples=samples,
        grids=tuple(store.region(s.region).grids[fine.sensor].window(s.window) for s in samples),
        footprint=span,
        fine=torch.stack([v for v, _ in references]),
        fine_valid=torch.stack([m for _, m in references]),
        fine_times=_days([s.references for s in samples]),
        coarse=torch.stack([v for v, _ in shown]),
        coarse_valid=torch.stack([m for _, m in shown]),
        coarse_times=_days([s.dates for s in samples]),
        truth=torch.stack([v for v, _ in truths]),
        truth_valid=torch.stack([m for _, m in truths]),
        target_times=_days([(s.target,) for s in samples]),
    )


def _days(dates: Sequence[tuple[date, ...]]) -> Tensor:
    return torch.from_numpy(np.stack([day_numbers(row) for row in dates]).astype(np.int64))


def _read(
    cache: Cache, sample: Triplet, dates: Sequence[date], window: Window, bands: tuple[str, ...]
) -> tuple[Tensor, Tensor]:
    """Return ``(T, C, h, w)`` float32 in the unit and ``(T, 1, h, w)`` bool, in own memory."""
    times = cache.store.region(sample.region).times[cache.sensor]
    absent = [str(day) for day in dates if day not in times]
    if absent:
        raise InputError(
            f"{cache.sensor} images of region {sample.region}",
            f"there is none of {', '.join(absent)}",
            "Choose dates of both sensors",
        )
    raw, seen = cache.patch(sample.region, window, [times.index(day) for day in dates])
    index = list(cache.meta.band_index(bands))
    values = physical(np.ascontiguousarray(raw[:, index]), cache.meta, seen)
    return torch.from_numpy(values), torch.from_numpy(np.array(seen)[:, None])


def _coarse(
    store: Store,
    fine: Cache,
    coarse: Cache,
    sample: Triplet,
    bands: tuple[str, ...],
    span: int,
    resampling: str,
) -> tuple[Tensor, Tensor]:
    """Return the coarse images of a triplet on the fine grid of its window."""
    grids = store.region(sample.region).grids
    ratio = nesting(grids[fine.sensor], grids[coarse.sensor], f"region {sample.region}")
    part = sample.window
    numbers = (part.y, part.x, part.height, part.width)
    if any(number % ratio for number in numbers):
        raise InputError(
            f"window {part.height}×{part.width} at row {part.y}, column {part.x}",
            f"a coarse pixel spans {ratio} fine pixels",
            f"Choose a window on multiples of {ratio}",
        )
    window = Window(*(number // ratio for number in numbers))
    values, valid = _read(coarse, sample, sample.dates, window, bands)
    if sample.cloud:
        cloud = _cloud(sample, grids[coarse.sensor], max(1, span // ratio), window)
        valid[sample.dates.index(sample.target)] &= ~cloud
        values = torch.where(valid, values, 0)
    return enlarge(values, valid, ratio, resampling)


def _cloud(sample: Triplet, grid: Grid, cell: int, window: Window) -> Tensor:
    """Return what a sample's cloud hides of a window: ``(h, w)`` bool.

    A measurement spans ``cell`` pixels of its grid along one side, and is hidden or seen whole.
    """
    rows, columns = -(-grid.height // cell), -(-grid.width // cell)
    whole = hidden(sample.region, sample.cloud, (rows, columns))
    whole = whole.repeat(cell, axis=0).repeat(cell, axis=1)
    return torch.from_numpy(whole[window.slices].copy())


def enlarge(values: Tensor, valid: Tensor, ratio: int, resampling: str) -> tuple[Tensor, Tensor]:
    """Bring coarse images to a grid ``ratio`` times as fine; what is invalid lends no number.

    Args:
        values: ``(T, C, h, w)``.
        valid: ``(T, 1, h, w)`` bool.
        resampling: ``nearest`` or ``bilinear``.

    Returns:
        ``(T, C, h · ratio, w · ratio)`` and the mask of the same size: valid where the block is.
    """
    if resampling not in ("nearest", "bilinear"):
        raise InputError("resampling", repr(resampling), "Choose nearest or bilinear")
    if ratio == 1:
        return values, valid
    mask = _repeat(valid, ratio)
    if resampling == "nearest":
        return _repeat(values, ratio), mask
    weight = valid.to(values.dtype)
    upper = functional.interpolate(values * weight, scale_factor=ratio, mode="bilinear")
    lower = functional.interpolate(weight, scale_factor=ratio, mode="bilinear")
    return torch.where(mask, upper / lower.clamp(min=torch.finfo(values.dtype).tiny), 0), mask


def _repeat(image: Tensor, ratio: int) -> Tensor:
    return image.repeat_interleave(ratio, dim=-2).repeat_interleave(ratio, dim=-1)
