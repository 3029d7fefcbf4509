"""Prediction in smaller batches where a batch does not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from rsbench.core.errors import InputError, first_line
from rsbench.models.api import Card, Frames, Given, Model, Prediction, Want
from rsbench.training.signals import is_out_of_memory

Rolled = Callable[[Model, Card, Given, Want], Iterator[tuple[int, Prediction]]]
"""Yields leads: :func:`rsbench.models.rollout.roll`, or a cache of predictions."""


def within_memory(rolled: Rolled) -> Rolled:
    """Return a function that predicts as ``rolled`` does, in smaller batches if memory runs out.

    Later batches start with the size that fitted. The batch size changes an answer by rounding
    only, so entries stay comparable.

    Raises:
        InputError: if not even one sample fits.
    """
    fits: list[int] = []

    def predict(
        model: Model, card: Card, given: Given, want: Want
    ) -> Iterator[tuple[int, Prediction]]:
        count = len(want.samples)
        done = 0
        while True:
            size = min([count, *fits])
            try:
                for lead, answer in _rolled(rolled, model, card, given, want, size):
                    if lead > done:
                        done = lead
                        yield lead, answer
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
            # Outside the except block, as the traceback keeps the tensors of the failed batch.
            if size == 1:
                raise _too_large(card, want, reason)
            fits.append(size // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    return predict


def _too_large(card: Card, want: Want, reason: str) -> InputError:
    return InputError(
        f"predicting one sample with {card.name}, {want.members} members",
        f"memory ran out ({reason})",
        "Ask for fewer --members, choose a smaller preset, or a device with more memory",
    )


def _rolled(
    rolled: Rolled, model: Model, card: Card, given: Given, want: Want, size: int
) -> Iterator[tuple[int, Prediction]]:
    """Roll out ``size`` samples at once; finished parts are kept on the CPU."""
    count = len(want.samples)
    if size >= count:
        yield from rolled(model, card, given, want)
        return
    parts = [
        [
            (lead, answer.values.float().cpu())
            for lead, answer in rolled(model, card, *_rows(given, want, range(i, i + size)))
        ]
        for i in range(0, count, size)
    ]
    for same in zip(*parts, strict=True):
        yield same[0][0], Prediction(torch.cat([values for _, values in same]))


def _rows(given: Given, want: Want, index: range) -> tuple[Given, Want]:
    part = slice(index.start, min(index.stop, len(want.samples)))
    return (
        replace(
            given,
            frames={name: _cut(frames, part) for name, frames in given.frames.items()},
            grids={name: tuple(grids[part]) for name, grids in given.grids.items()},
            samples=given.samples[part],
            texts=given.texts[part],
        ),
        replace(want, times=want.times[part], grids=want.grids[part], samples=want.samples[part]),
    )


def _cut(frames: Frames, part: slice) -> Frames:
    return replace(
        frames, values=frames.values[part], valid=frames.valid[part], times=frames.times[part]
    )
