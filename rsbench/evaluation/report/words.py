"""The words of a run's task."""

from __future__ import annotations

from rsbench.evaluation.scores import RunInfo
from rsbench.tasks.registry import task
from rsbench.tasks.words import Words


def words_of(run: RunInfo) -> Words:
    """Return the words of a run's task.

    Raises:
        UnknownName: if no installed package offers the task.
    """
    return task(run.task).words
