"""The installed tasks. A package adds one by an entry point in the group ``rsbench.tasks``.

The entry point names an object with the members of :class:`rsbench.tasks.base.Task`, as
``forecast = "rsbench.tasks.forecast.task:TASK"`` does.
"""

from __future__ import annotations

from typing import Any

from rsbench.core.entry_points import load, offered
from rsbench.tasks.base import Task
from rsbench.tasks.config import EvaluationConfig

GROUP = "rsbench.tasks"


def names() -> tuple[str, ...]:
    """Return the names of the installed tasks."""
    return tuple(sorted(offered(GROUP)))


def task(name: str) -> Task[Any]:
    """Return a task by name.

    Raises:
        UnknownName: if no installed package offers it; carries the nearest names.
        InputError: if its entry point cannot be loaded.
    """
    found: Task[Any] = load(GROUP, "task", name)
    return found


def task_of(config: EvaluationConfig) -> Task[Any]:
    """Return the task of a configuration."""
    return task(config.protocol.task)


def fitting(kind: str) -> tuple[Task[Any], ...]:
    """Return the tasks that a store of a kind (``series``, ``triplets`` …) can be used for."""
    return tuple(found for name in names() if kind in (found := task(name)).kinds)
