"""Progress on stderr: bars on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Advance = Callable[[str, int, int], None]
"""``advance(label, done, total)``: set the progress of the bar ``label``."""
EVERY = 30.0
"""Seconds between the lines of progress where stderr is no terminal."""
EVERY_VERBOSE = 5.0
"""Likewise with ``Detail.VERBOSE``."""
Show = Callable[[str, str], None]
"""``show(name, text)``: set the line of text of ``name``."""


class Detail(Enum):
    """How much a command prints beside its results."""

    QUIET, NORMAL, VERBOSE = range(3)


_detail = Detail.NORMAL


def detail() -> Detail:
    """Return how much this process prints."""
    return _detail


def set_detail(wanted: Detail) -> None:
    """Set how much this process prints; the command line does, once per command."""
    global _detail
    _detail = wanted


def silent(label: str, done: int, total: int) -> None:
    """Do nothing; an :data:`Advance` without output."""


def _show_nothing(name: str, text: str) -> None:
    """Do nothing; a :data:`Show` without output."""


@contextmanager
def progress() -> Iterator[Advance]:
    """Yield an ``advance`` that draws bars on a terminal and prints lines elsewhere."""
    with progress_workers() as (advance, _):
        yield advance


@contextmanager
def progress_workers() -> Iterator[tuple[Advance, Show]]:
    """Yield an ``advance`` for bars and a ``show`` for lines below them, e.g. one per worker.

    ``show(name, text)`` sets the line of a name; lines are sorted by name.
    """
    if _detail is Detail.QUIET:
        yield silent, _show_nothing
        return
    if not sys.stderr.isatty():
        yield _lines(), _show_nothing
        return
    lines: dict[str, str] = {}
    with _bars(lines) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)

        yield advance, lines.__setitem__


def _lines() -> Advance:
    """Return an ``advance`` that prints a line on stderr, at most one every `EVERY` seconds."""
    every = EVERY_VERBOSE if _detail is Detail.VERBOSE else EVERY
    last = time.monotonic()

    def advance(label: str, done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= every:
            last = now
            sys.stderr.write(f"{label}: {done} of {total}\n")
            sys.stderr.flush()

    return advance


def _bars(lines: dict[str, str]) -> Progress:
    """Return progress bars on stderr with lines of text below them."""
    from rich import progress as rich
    from rich.console import Console, RenderableType
    from rich.text import Text

    class Bars(rich.Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for _, line in sorted(lines.copy().items()):
                yield Text(f"  {line}", overflow="ellipsis", no_wrap=True)

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    return Bars(*columns, console=Console(stderr=True), transient=True)
