"""Batches of physical values from the cache, in an order that only the seed decides."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from rsbench.core.dates import day_numbers
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.store.cache import Cache, open_cache
from rsbench.store.pixels import physical
from rsbench.store.read import Store
from rsbench.tasks.forecast_samples import Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch; context and truth share no memory.

    Args:
        samples: one per row B.
        grids: the grid of each row's window.
        context: ``(B, T, C, H, W)`` float32 in the sensor's unit; 0 where not valid.
        valid: ``(B, T, 1, H, W)`` bool.
        context_times: ``(B, T)`` int64, days since 1970-01-01.
        truth, truth_valid, target_times: the same of the L leads.
    """

    sensor: str
    bands: tuple[str, ...]
    samples: tuple[Sample, ...]
    grids: tuple[Grid, ...]
    context: Tensor
    valid: Tensor
    context_times: Tensor
    truth: Tensor
    truth_valid: Tensor
    target_times: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on a device."""
        tensors = ("context", "valid", "context_times", "truth", "truth_valid", "target_times")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def batches(
    source: Store | Cache,
    samples: Sequence[Sample],
    batch_size: int,
    *,
    sensor: str | None = None,
    bands: Sequence[str] | None = None,
    shuffle_seed: int | Sequence[int] | None = None,
    prefetch: int = 0,
) -> Iterator[Batch]:
    """Yield every sample once, in batches of one shape.

    Samples with other numbers of dates or other windows go into batches of their own. The order
    depends on ``samples`` and ``shuffle_seed`` alone, never on ``prefetch``.

    Args:
        source: a store (its cache is opened, and built where needed) or an open cache.
        bands: which bands, in which order; all where None.
        shuffle_seed: seed of the order; the samples' own order where None.
        prefetch: batches made ahead by one thread; 0 for none.
    """
    if batch_size < 1:
        raise InputError("batch size", str(batch_size), "Give 1 or more")
    cache = source if isinstance(source, Cache) else open_cache(source, sensor)
    if sensor is not None and cache.sensor != sensor:
        raise InputError(
            f"batches of {sensor}", f"the cache holds {cache.sensor}", "Open the cache of it"
        )
    chosen = tuple(bands) if bands is not None else cache.meta.bands
    cache.meta.band_index(chosen)
    made = (assemble(cache, part, chosen) for part in plan(samples, batch_size, shuffle_seed))
    return _ahead(made, prefetch) if prefetch > 0 else made


def plan(
    samples: Sequence[Sample], batch_size: int, shuffle_seed: int | Sequence[int] | None = None
) -> Iterator[tuple[Sample, ...]]:
    """Yield the samples of each batch: in order, or shuffled by the seed; one shape per batch."""
    order = np.arange(len(samples))
    if shuffle_seed is not None:
        np.random.default_rng(shuffle_seed).shuffle(order)
    waiting: dict[tuple[int, int, int, int], list[Sample]] = {}
    for place in order:
        sample = samples[int(place)]
        shape = (
            len(sample.context),
            len(sample.targets),
            sample.window.height,
            sample.window.width,
        )
        bucket = waiting.setdefault(shape, [])
        bucket.append(sample)
        if len(bucket) == batch_size:
            yield tuple(bucket)
            bucket.clear()
    for bucket in waiting.values():
        if bucket:
            yield tuple(bucket)


def assemble(cache: Cache, samples: Sequence[Sample], bands: tuple[str, ...]) -> Batch:
    """Return the batch of some samples of one shape."""
    entries = {name: cache.store.region(name) for name in {s.region for s in samples}}
    context, valid = _frames(cache, samples, bands, [s.context for s in samples])
    truth, truth_valid = _frames(cache, samples, bands, [s.targets for s in samples])
    dates = {name: day_numbers(entry.times[cache.sensor]) for name, entry in entries.items()}
    return Batch(
        sensor=cache.sensor,
        bands=bands,
        samples=tuple(samples),
        grids=tuple(entries[s.region].grids[cache.sensor].window(s.window) for s in samples),
        context=context,
        valid=valid,
        context_times=_times([dates[s.region][list(s.context)] for s in samples]),
        truth=truth,
        truth_valid=truth_valid,
        target_times=_times([dates[s.region][list(s.targets)] for s in samples]),
    )


def _times(rows: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.int32]]]) -> Tensor:
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def _frames(
    cache: Cache,
    samples: Sequence[Sample],
    bands: tuple[str, ...],
    times: Sequence[tuple[int, ...]],
) -> tuple[Tensor, Tensor]:
    """Return ``(B, T, C, H, W)`` float32 and ``(B, T, 1, H, W)`` bool in memory of their own."""
    meta, window = cache.meta, samples[0].window
    whole = bands == meta.bands
    picked = list(meta.band_index(bands))
    count = (len(samples), len(times[0]))
    values = torch.empty((*count, len(bands), window.height, window.width), dtype=torch.float32)
    valid = torch.empty((*count, 1, window.height, window.width), dtype=torch.bool)
    values_out, valid_out = values.numpy(), valid.numpy()
    for row, sample in enumerate(samples):
        raw, seen = cache.patch(sample.region, sample.window, times[row])
        valid_out[row, :, 0] = seen
        physical(raw if whole else raw[:, picked], meta, seen, out=values_out[row])
    return values, valid


class _Failed:
    """Carries an error from the thread to the consumer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _ahead(source: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """Yield from ``source``, which one thread works through up to ``depth`` batches ahead."""
    ready: queue.Queue[Batch | _Failed | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Batch | _Failed | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for batch in source:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the batch is awaited
            put(_Failed(error))

    thread = threading.Thread(target=work, name="rsbench-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()
