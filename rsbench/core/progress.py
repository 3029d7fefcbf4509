"""Progress on stderr: bars on a terminal, elsewhere a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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


@runtime_checkable
class Detailed(Protocol):
    """An :data:`Advance` that shows a text beside a bar, e.g. the loss of a training."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Set the progress of the bar ``label``."""

    def detail(self, label: str, text: str) -> None:
        """Set the text of the bar ``label``."""


def describe(advance: Advance, label: str, text: str) -> None:
    """Set the text beside a bar where ``advance`` can show one."""
    if isinstance(advance, Detailed):
        advance.detail(label, text)


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
        yield _Lines(), _show_nothing
        return
    lines: dict[str, str] = {}
    with _bars(lines) as bars:
        yield _Bars(bars), lines.__setitem__


@contextmanager
def shown(wanted: Advance | bool) -> Iterator[Advance]:
    """Yield what shows progress: bars or lines for True, nothing for False, else what is given."""
    if wanted is True:
        with progress() as advance:
            yield advance
    else:
        yield wanted or silent


class _Bars:
    """Bars of rich."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._texts: dict[str, str] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        text = self._texts.get(label, "")
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=total, detail=text)
        self._bars.update(self._tasks[label], completed=done, total=total, detail=text)

    def detail(self, label: str, text: str) -> None:
        self._texts[label] = text


class _Lines:
    """Lines on stderr, at most one every `EVERY` seconds with the time left."""

    def __init__(self) -> None:
        self._every = EVERY_VERBOSE if _detail is Detail.VERBOSE else EVERY
        self._last = time.monotonic()
        self._first: dict[str, tuple[float, int]] = {}
        self._texts: dict[str, str] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        began, start = self._first.setdefault(label, (now, done))
        if done <= start:  # the same work once more, e.g. the next validation
            began, start = self._first[label] = (now, done)
        if now - self._last < self._every:
            return
        self._last = now
        parts = [f"{done} of {total}", self._texts.get(label, "")]
        if done > start:
            parts.append(f"about {_time((now - began) / (done - start) * (total - done))} left")
        sys.stderr.write(f"{label}: {', '.join(filter(None, parts))}\n")
        sys.stderr.flush()

    def detail(self, label: str, text: str) -> None:
        self._texts[label] = text


def _time(seconds: float) -> str:
    """Return a duration for people: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


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
        rich.TextColumn("{task.fields[detail]}"),
    )
    return Bars(*columns, console=Console(stderr=True), transient=True)
