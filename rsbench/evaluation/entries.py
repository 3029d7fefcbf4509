"""Entries of a table: each answers a case, lead by lead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from rsbench.core.phases import Phases
from rsbench.evaluation.batch_fallback import Rolled, within_memory
from rsbench.models.api import OF_ITSELF, Card, Model
from rsbench.models.rollout import roll
from rsbench.tasks.base import Bound, Case, Known, Whole

if TYPE_CHECKING:
    from torch import Tensor

Answer = Iterator[tuple[int, "Tensor"]]
"""Leads from 1 on with values in the sensor's unit, ``(B, C, H, W)`` or ``(B, M, C, H, W)``."""
PERMUTED = f"{OF_ITSELF}shuffled"
"""Behind the name of a model: its control that is given the conditions of other samples."""


@dataclass(frozen=True)
class ModelEntry:
    """An entry of the table: its name, preset and role, and how it answers a case.

    ``reference`` replaces truth and mask of a lead, for an entry that is no forecast.
    ``class_map``: its answers are 1 for one class and 0 for the others, and are no probabilities.
    """

    model: str
    preset: str
    role: str
    answer: Callable[[Case], Answer]
    reference: Callable[[Case, int], tuple[Tensor, Tensor]] | None = None
    class_map: bool = False


@dataclass(frozen=True)
class Placement:
    """The device on which a model predicts, and how.

    Args:
        autocast: its type, None for none.
        phases: to which the time of transfers to and from the device is added.
    """

    device: torch.device
    autocast: torch.dtype | None = None
    phases: Phases = field(default_factory=Phases)


def model_entry(
    name: str, preset: str, role: str, model: Model, card: Card, placement: Placement,
    rolled: Rolled = roll,
) -> ModelEntry:  # fmt: skip
    """Return the entry of a model, which is rolled out with all its members."""
    device, autocast, phases = placement.device, placement.autocast, placement.phases
    predict = within_memory(rolled)

    def answer(case: Case) -> Answer:
        with phases.time("transfer"):
            given, want = case.given.to(device), case.want.to(device)
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            for lead, prediction in predict(model, card, given, want):
                if device.type == "cuda":
                    torch.cuda.synchronize(device)  # the copy would wait for it
                with phases.time("transfer"):
                    values = prediction.values[:, :, 0].float().cpu()
                yield lead, values if values.shape[1] > 1 else values[:, 0]

    return ModelEntry(name, preset, role, answer)


def whole_entry(name: str, role: str, whole: Whole) -> ModelEntry:
    """Return an entry whose answers are known per region, e.g. a conditional mean."""

    def answer(case: Case) -> Answer:
        for index in range(case.truth.shape[1]):
            yield index + 1, _cut(whole, case, index)

    return ModelEntry(name, "", role, answer)


def known_entry(known: Known) -> ModelEntry:
    """Return the entry of answers that are known without a model."""

    def answer(case: Case) -> Answer:
        for index in range(case.truth.shape[1]):
            yield index + 1, known.answer(case, index)

    return ModelEntry(known.name, "", known.role, answer)


def permuted_entry(entry: ModelEntry) -> ModelEntry:
    """Return the control of an entry: its answers to the conditions of other samples."""

    def answer(case: Case) -> Answer:
        if case.permuted is None:
            raise AssertionError("the task gives no conditions of other samples")
        return entry.answer(replace(case, given=case.permuted))

    return replace(entry, model=f"{entry.model}{PERMUTED}", role="control", answer=answer)


def bound_entry(bound: Bound) -> ModelEntry:
    """Return the entry of a bound: a conditional mean, or a noise floor with its own truth."""
    entry = whole_entry(bound.name, bound.role, bound.answer)
    truth, valid = bound.truth, bound.valid
    if truth is None or valid is None:
        return entry

    def reference(case: Case, lead: int) -> tuple[Tensor, Tensor]:
        return _cut(truth, case, lead - 1), _cut(valid, case, lead - 1).bool()

    return replace(entry, reference=reference)


def _cut(whole: Whole, case: Case, index: int) -> Tensor:
    parts = []
    for b, sample in enumerate(case.samples):
        rows, columns = sample.window.slices
        field_ = whole(sample.region, case.starts[b], case.targets[b][index])
        parts.append(field_[:, rows, columns])
    return torch.stack(parts)
