"""Batches of physical values from the caches, in an order that only the seed decides."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rsbench.core.errors import InputError
from rsbench.tasks.base import Batch, Reader, S

if TYPE_CHECKING:
    Shape = Callable[[S], Hashable]


def batches(
    reader: Reader[S],
    samples: Sequence[S],
    batch_size: int,
    *,
    shuffle_seed: int | Sequence[int] | None = None,
    prefetch: int = 0,
) -> Iterator[Batch[S]]:
    """Yield every sample once, in batches of one shape.

    The order depends on ``samples`` and ``shuffle_seed`` alone, never on ``prefetch``.

    Args:
        shuffle_seed: seed of the order; the samples' own order where None.
        prefetch: batches made ahead by one thread; 0 for none.
    """
    if batch_size < 1:
        raise InputError("batch size", str(batch_size), "Give 1 or more")
    parts = plan(samples, batch_size, reader.shape, shuffle_seed)
    made = (reader.assemble(part) for part in parts)
    return _ahead(made, prefetch) if prefetch > 0 else made


def plan(
    samples: Sequence[S], batch_size: int, shape: Shape[S],
    shuffle_seed: int | Sequence[int] | None = None,
) -> Iterator[tuple[S, ...]]:  # fmt: skip
    """Yield the samples of each batch: in order, or shuffled by the seed; one shape per batch."""
    order = np.arange(len(samples))
    if shuffle_seed is not None:
        np.random.default_rng(shuffle_seed).shuffle(order)
    waiting: dict[Hashable, list[S]] = {}
    for place in order:
        sample = samples[int(place)]
        bucket = waiting.setdefault(shape(sample), [])
        bucket.append(sample)
        if len(bucket) == batch_size:
            yield tuple(bucket)
            bucket.clear()
    for bucket in waiting.values():
        if bucket:
            yield tuple(bucket)


class _Failed:
    """Carries an error from the thread to the consumer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _ahead(source: Iterator[Batch[S]], depth: int) -> Iterator[Batch[S]]:
    """Yield from ``source``, which one thread works through up to ``depth`` batches ahead."""
    ready: queue.Queue[Batch[S] | _Failed | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Batch[S] | _Failed | None) -> bool:
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
