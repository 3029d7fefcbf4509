"""The installed tasks. A package adds one by an entry point in the group ``rsbench.tasks``.

The entry point names an object with the members of :class:`rsbench.tasks.base.Task`, as
``forecast = "rsbench.tasks.forecast.task:TASK"`` does.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

from rsbench.catalog import Protocol
from rsbench.core.errors import InputError
from rsbench.core.plugins import BrokenPlugIn, PlugIns
from rsbench.tasks.base import Task
from rsbench.tasks.config import EvaluationConfig


def _fits(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("name", "kinds", "words", "groups", "reader"))


TASKS: PlugIns[Task[Any]] = PlugIns(
    "rsbench.tasks", "task", "the members of rsbench.tasks.base.Task", _fits
)


def names() -> tuple[str, ...]:
    """Return the names of the installed tasks."""
    return TASKS.names()


def task(name: str) -> Task[Any]:
    """Return a task by name.

    Raises:
        UnknownName: if no installed package offers it; carries the nearest names.
        InputError: if its entry point cannot be loaded, or names no task.
    """
    return _task(name, tuple(sys.path))


@lru_cache(maxsize=64)
def _task(name: str, path: tuple[str, ...]) -> Task[Any]:
    """Return a task; what is installed can change only with the import path."""
    return TASKS.get(name)


def require_protocol(protocol: Protocol) -> None:
    """Refuse a protocol whose options are not of its task.

    Raises:
        InputError: names the option.
    """
    own = task(protocol.task)
    own.require_protocol(protocol)
    if protocol.labels is not None and not own.reads_labels:
        raise InputError(
            f"protocol {protocol.name}",
            f"its task is {own.name}, whose truth is no labels",
            "Leave labels and --labelled-fraction out",
        )


def task_of(config: EvaluationConfig) -> Task[Any]:
    """Return the task of a configuration."""
    return task(config.protocol.task)


def fitting(kind: str) -> tuple[Task[Any], ...]:
    """Return the tasks that a store of a kind can be used for; those that fail to load are not.

    Args:
        kind: of the store, as ``series`` or ``triplets``.
    """
    loaded = TASKS.all().values()
    return tuple(t for t in loaded if not isinstance(t, BrokenPlugIn) and kind in t.kinds)
