"""What entries cost: parameters, seconds and peak memory.

Costs are provenance: they identify no entry, and ``rsbench check`` does not compare them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

    from rsbench.evaluation.entries import ModelEntry
    from rsbench.models.api import Model
    from rsbench.models.checkpoint import Checkpoint
    from rsbench.tasks.base import Case

    Entry = tuple[str, str]

REUSED_SCORES = "its scores were reused, and it did not predict"
COSTS = "costs"
"""Entry of run.json: one cost per entry."""
ROLES = ("model", "trivial", "control")
"""Roles of entries that are made by a model."""


@dataclass(frozen=True)
class Cost:
    """The cost of one entry; None where it is not known, with the reason in ``why``.

    Args:
        parameters: number of parameters of its network.
        training_seconds: spent in training, in all sittings.
        prediction_seconds: per window with all its members and leads, the median over batches.
        peak_bytes: largest memory while it predicted: of a GPU, its allocated memory; of a CPU, the
            resident memory of the whole process.
        device: where it predicted, as ``cpu, 2 threads`` or the name of a GPU.
        why: field → reason.
    """

    model: str
    preset: str
    parameters: int | None = None
    training_seconds: float | None = None
    prediction_seconds: float | None = None
    peak_bytes: int | None = None
    device: str | None = None
    why: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form; fields of later versions are left out."""
        return cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})


@dataclass(frozen=True)
class Made:
    """How an entry came about, as far as it is known before it predicts.

    Args:
        parameters: number of parameters of its network; None: it has none, or it is not known.
        training_seconds: spent in training; None: it was not trained, or it is not known.
        why: field of :class:`Cost` → reason why it is not known; also of what is not measured.
    """

    parameters: int | None = None
    training_seconds: float | None = None
    why: Mapping[str, str] = field(default_factory=dict)

    def by(self, checkpoint: Checkpoint | None) -> Made:
        """Return the same, with the seconds of the training of a checkpoint."""
        if checkpoint is None:
            return self
        if checkpoint.imported or not checkpoint.seconds:
            why = {"training_seconds": "its weights were trained by another program"}
            return replace(self, training_seconds=None, why={**self.why, **why})
        why = {name: text for name, text in self.why.items() if name != "training_seconds"}
        return replace(self, training_seconds=checkpoint.seconds, why=why)


def made(model: Model) -> Made:
    """Return what is known of a model that predicts here, without its training."""
    from rsbench.models.registry import identity

    own = identity(model)
    parameters = own.card.presets[own.preset].parameters
    untrained = "nothing is trained" if not own.card.trainable else "its training is not known"
    why = {} if parameters is not None else {"parameters": "it has no network"}
    return Made(parameters, None, {**why, "training_seconds": untrained})


def made_elsewhere(reason: str, *, known: Made | None = None) -> Made:
    """Return how an entry came about whose predictions are not made here."""
    own = known or Made(why=dict.fromkeys(("parameters", "training_seconds"), reason))
    measured = dict.fromkeys(("prediction_seconds", "peak_bytes", "device"), reason)
    return Made(own.parameters, own.training_seconds, {**own.why, **measured})


class Meter:
    """Measures time and memory of every entry while it answers.

    Args:
        device: the device of the models.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[Entry, list[float]] = {}
        self._peaks: dict[Entry, int] = {}

    def answer(self, entry: ModelEntry, case: Case) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the answers of an entry to a case."""
        key, seconds = (entry.model, entry.preset), 0.0
        answers = entry.answer(case)
        while True:
            self.reset()
            began = time.perf_counter()
            found = next(answers, None)
            seconds += time.perf_counter() - began
            if (peak := self.peak()) is not None:
                self._peaks[key] = max(self._peaks.get(key, 0), peak)
            if found is None:
                break
            yield found
        self._seconds.setdefault(key, []).append(seconds / max(1, len(case.samples)))

    def costs(
        self,
        entries: Iterable[ModelEntry],
        known: Mapping[str, Made],
        unmeasured: str = REUSED_SCORES,
    ) -> list[dict[str, Any]]:
        """Return the costs of entries that models make, as JSON values.

        ``known``: name of the entry → how it came about. ``unmeasured``: why one did not predict.
        """
        rows = []
        for entry in entries:
            if entry.role not in ROLES:
                continue
            own = known.get(entry.model, made_elsewhere("it is not recorded"))
            taken = self._seconds.get((entry.model, entry.preset))
            peak = self._peaks.get((entry.model, entry.preset))
            measured: dict[str, Any] = {
                "prediction_seconds": statistics.median(taken) if taken else None,
                "peak_bytes": peak,
                "device": _named(self._device),
            }
            measured |= dict.fromkeys(measured.keys() & own.why.keys())
            why = {} if peak else {"peak_bytes": "it is not measured on this system"}
            if taken is None:
                why = dict.fromkeys(measured, unmeasured)
                measured = dict.fromkeys(measured)
            rows.append(asdict(Cost(
                entry.model, entry.preset, own.parameters, own.training_seconds, **measured,
                why={**why, **own.why},
            )))  # fmt: skip
        return rows

    def reset(self) -> None:
        """Forget the peak memory so far."""
        if self._device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            _write(Path("/proc/self/clear_refs"), "5")

    def peak(self) -> int | None:
        """Return the peak memory in bytes since it was reset; None where it is not known."""
        if self._device.type == "cuda":
            import torch

            return int(torch.cuda.max_memory_allocated(self._device))
        return _high_water(Path("/proc/self/status")) if self._device.type == "cpu" else None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError:  # not Linux
        return


def _high_water(path: Path) -> int | None:
    """Return the largest resident memory that the kernel states of this process."""
    try:
        lines = path.read_text().splitlines()
    except OSError:  # not Linux
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


def _named(device: torch.device) -> str:
    import torch

    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'' if threads == 1 else 's'}"


def costs_of(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]) -> dict[Entry, Cost]:
    """Return the costs of the entries of several runs, by model and preset; the first run's count.

    ``runs``: further keys of each run.json, with model of the run → name on the page.
    """
    found: dict[Entry, Cost] = {}
    for extra, called in runs:
        for value in extra.get(COSTS) or []:
            cost = Cost.from_json({**value, "model": called.get(value["model"], value["model"])})
            found.setdefault((cost.model, cost.preset), cost)
    return found
