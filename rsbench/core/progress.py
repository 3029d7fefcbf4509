"""Progress bars on a terminal's stderr, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str, int, int], None]
"""``advance(label, done, total)``: report progress of one named piece of work."""
Show = Callable[[str, str], None]


def silent(label: str, done: int, total: int) -> None:
    """Report nothing."""


def _show_nothing(name: str, text: str) -> None:
    """Show nothing."""


@contextmanager
def progress() -> Iterator[Advance]:
    """Yield an ``advance`` that draws bars on a terminal and does nothing elsewhere."""
    with progress_workers() as (advance, _):
        yield advance


@contextmanager
def progress_workers() -> Iterator[tuple[Advance, Show]]:
    """Yield an ``advance`` for bars and a ``show`` for lines under them, such as one per worker.

    ``show(name, text)`` sets the line of a name; lines stand in the order of their names.
    """
    if not sys.stderr.isatty():
        yield silent, _show_nothing
        return
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    lines: dict[str, str] = {}

    class Bars(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for _, line in sorted(lines.copy().items()):
                yield Text(f"  {line}", overflow="ellipsis", no_wrap=True)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, int] = {}

        def advance(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, total=total)  # type: ignore[arg-type]

        yield advance, lines.__setitem__
