"""Readers and splits of both tasks, for tests that look at batches."""

from __future__ import annotations

from typing import Any

from rsbench.catalog import Protocol, load_protocol
from rsbench.models.api import Frames, Given, Want
from rsbench.models.noise import Noise
from rsbench.store.read import Store
from rsbench.tasks.base import Batch, Reader, Reading
from rsbench.tasks.registry import task
from rsbench.tasks.split import Question, split


def reader_of(
    store: Store, protocol: str | Protocol = "year3", bands: tuple[str, ...] | None = None
) -> Reader[Any]:
    """Return what reads the samples of a protocol's task."""
    rules = load_protocol(protocol) if isinstance(protocol, str) else protocol
    own = task(rules.task)
    sensor = own.sensor(store)
    return own.reader(Reading(store, rules, sensor, bands or store.sensor(sensor).bands))


def split_of(batch: Batch[Any], **options: Any) -> tuple[Given, Want, Frames]:
    """Return given, want and truth of a batch, with the noise of seed 0."""
    return split(batch, Question(Noise(0), **options))
