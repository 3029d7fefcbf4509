"""Batches of physical values from the caches, in the order of the samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

from rsbench.core.errors import InputError
from rsbench.tasks.base import Batch, Reader, S


def batches(reader: Reader[S], samples: Sequence[S], batch_size: int) -> Iterator[Batch[S]]:
    """Yield every sample once, in batches of one shape."""
    if batch_size < 1:
        raise InputError("batch size", str(batch_size), "Give 1 or more")
    return (reader.assemble(part) for part in plan(samples, batch_size, reader.shape))


def plan(
    samples: Sequence[S], batch_size: int, shape: Callable[[S], Hashable]
) -> Iterator[tuple[S, ...]]:
    """Yield the samples of each batch, in order, one shape per batch."""
    waiting: dict[Hashable, list[S]] = {}
    for sample in samples:
        bucket = waiting.setdefault(shape(sample), [])
        bucket.append(sample)
        if len(bucket) == batch_size:
            yield tuple(bucket)
            bucket.clear()
    yield from (tuple(bucket) for bucket in waiting.values() if bucket)
