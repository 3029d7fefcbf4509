"""Callbacks of a training: told its settings, every step and every point of its learning curve.

A package adds one with an entry point in the group ``rsbench.callbacks`` that refers to a
subclass of :class:`TrainingCallback`, called without arguments; ``--log NAME`` and
``rb.train(log=...)`` then take its name.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsbench.core.errors import InputError
from rsbench.core.io import disk_errors, write_atomic
from rsbench.core.plugins import PlugIns

HISTORY = "history.csv"
COLUMNS = ("stage", "step", "seconds", "loss", "validation", "rate")
"""First columns of the file; terms of the loss follow."""


@dataclass(frozen=True)
class TrainingStart:
    """What a callback is told before the first step.

    Args:
        model, preset: names.
        folder: the checkpoint's folder, which exists.
        settings: what decides the weights: stages, budget, seed, precision, options …
        history: points of the learning curve from before an interruption.
        step: optimiser steps taken before.
    """

    model: str
    preset: str
    folder: Path
    settings: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...] = ()
    step: int = 0


class TrainingCallback:
    """Base of callbacks; each method does nothing. Called in the first process only.

    The training waits for every call. An exception ends the training; its state stays on disk.
    """

    def begin(self, start: TrainingStart) -> None:
        """Take the settings, before the first step."""

    def step(self, step: int, terms: Mapping[str, float]) -> None:
        """Take the terms of the loss at an optimiser step, counted from 1 over all stages."""

    def point(self, point: Mapping[str, Any]) -> None:
        """Take a point of the learning curve.

        It has ``stage``, ``step``, ``seconds``, mostly ``loss`` (mean since the last point) and
        ``rate``, and in the last stage ``validation``: the mean squared error in the unit squared.
        """

    def end(self, outcome: str) -> None:
        """Take how the training ended: ``finished``, ``interrupted`` or ``failed``."""


CALLBACKS: PlugIns[type[TrainingCallback]] = PlugIns(
    "rsbench.callbacks", "log", "the base class rsbench.TrainingCallback",
    lambda found: isinstance(found, type) and issubclass(found, TrainingCallback),
)  # fmt: skip


def named(names: Sequence[str]) -> tuple[TrainingCallback, ...]:
    """Return callbacks by the names that packages registered.

    Raises:
        InputError: if there is none of a name, or a package that it needs is not installed.
    """
    return tuple(CALLBACKS.get(name)() for name in names)


class Callbacks:
    """Several callbacks, called one after the other."""

    def __init__(self, each: Sequence[TrainingCallback] = ()) -> None:
        self._each = tuple(each)

    @contextmanager
    def during(self, start: TrainingStart) -> Iterator[None]:
        """Tell the start, and how the body of the ``with`` block ended."""
        outcome = "failed"
        for one in self._each:
            one.begin(start)
        try:
            yield
            outcome = "finished"
        except BaseException as error:
            if getattr(error, "exit_code", 0) >= 128 or isinstance(error, KeyboardInterrupt):
                outcome = "interrupted"
            raise
        finally:
            for one in self._each:
                one.end(outcome)

    def step(self, step: int, terms: Mapping[str, float]) -> None:
        """Tell a step."""
        for one in self._each:
            one.step(step, terms)

    def point(self, point: Mapping[str, Any]) -> None:
        """Tell a point."""
        for one in self._each:
            one.point(point)


def flat(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point with the terms of the loss as ``terms.NAME``."""
    found: dict[str, Any] = {}
    for key, value in point.items():
        inner = isinstance(value, Mapping)
        found |= {f"{key}.{name}": v for name, v in value.items()} if inner else {key: value}
    return found


class HistoryFile(TrainingCallback):
    """Writes the learning curve to ``history.csv`` beside the checkpoint, anew at every point."""

    def begin(self, start: TrainingStart) -> None:
        """Take the folder and the points from before an interruption."""
        self._path = start.folder / HISTORY
        self._points = [flat(point) for point in start.history]

    def point(self, point: Mapping[str, Any]) -> None:
        """Add a row; a column that a point does not have stays empty."""
        self._points.append(flat(point))
        text = io.StringIO()
        found = {key for row in self._points for key in row}
        writer = csv.DictWriter(text, sorted(found, key=_place), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._points)
        with disk_errors(f"writing {self._path}", "set RSBENCH_CACHE to another device"):
            write_atomic(self._path, text.getvalue())


class TensorBoard(TrainingCallback):
    """Writes event files for TensorBoard into ``tensorboard`` beside the checkpoint."""

    def __init__(self) -> None:
        _package("tensorboard")
        self._open: Any = importlib.import_module("torch.utils.tensorboard").SummaryWriter

    def begin(self, start: TrainingStart) -> None:
        """Open the files; what was written after the step that training resumes from is hidden."""
        self._writer = self._open(start.folder / "tensorboard", purge_step=start.step + 1)

    def step(self, step: int, terms: Mapping[str, float]) -> None:
        """Write the terms of the loss."""
        for name, value in terms.items():
            self._writer.add_scalar(f"train/{name}", value, step)

    def point(self, point: Mapping[str, Any]) -> None:
        """Write the numbers of a point."""
        for name, value in _numbers(point).items():
            self._writer.add_scalar(f"curve/{name}", value, point["step"])
        self._writer.flush()

    def end(self, outcome: str) -> None:
        """Close the files."""
        self._writer.close()


class WeightsAndBiases(TrainingCallback):
    """Logs to Weights & Biases, project ``rsbench``; its own environment variables apply."""

    def __init__(self) -> None:
        self._package = _package("wandb")

    def begin(self, start: TrainingStart) -> None:
        """Start a run, or go on with that of the same checkpoint folder."""
        self._run = self._package.init(
            project="rsbench", name=f"{start.model}-{start.preset}", id=start.folder.name,
            resume="allow", config=dict(start.settings), dir=str(start.folder),
        )  # fmt: skip

    def step(self, step: int, terms: Mapping[str, float]) -> None:
        """Log the terms of the loss."""
        self._run.log({f"train/{name}": value for name, value in terms.items()}, step=step)

    def point(self, point: Mapping[str, Any]) -> None:
        """Log the numbers of a point."""
        found = {f"curve/{name}": value for name, value in _numbers(point).items()}
        self._run.log(found, step=point["step"])

    def end(self, outcome: str) -> None:
        """End the run."""
        self._run.finish(exit_code=int(outcome != "finished"))


def _place(column: str) -> tuple[int, str]:
    return (COLUMNS.index(column) if column in COLUMNS else len(COLUMNS)), column


def _numbers(point: Mapping[str, Any]) -> dict[str, float]:
    return {name: v for name, v in flat(point).items() if isinstance(v, int | float)}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"--log {name}", f"the package {name} is not installed",
            f"Type: pip install 'rsbench[{name}]'",
        ) from error  # fmt: skip
