"""Where the time of a command goes: seconds by phase."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
_END = object()


class Phases:
    """Seconds of wall-clock time by phase, of one thread.

    A phase within another is not counted twice: the outer one stands still meanwhile.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time of the ``with`` block to a phase."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items of an iterable, and add the time that making them takes to a phase."""
        source: Iterator[T | object] = iter(items)
        while True:
            with self.time(name):
                item = next(source, _END)
            if item is _END:
                return
            yield item  # type: ignore[misc]

    def add(self, name: str, seconds: float) -> None:
        """Add time that was measured elsewhere, e.g. in another process."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def seconds(self) -> dict[str, float]:
        """Return phase → seconds to a millisecond, in the order in which phases began."""
        self._charge()
        return {name: round(value, 3) for name, value in self._seconds.items()}

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.add(self._open[-1], now - self._since)
        self._since = now


def phase_lines(seconds: Mapping[str, float]) -> list[str]:
    """Return a table of phases as lines of text: name, seconds and share, the longest first."""
    total = sum(seconds.values())
    rows = sorted(seconds.items(), key=lambda row: -row[1])
    rows = [*rows, ("all phases", total)] if total else []
    return [f"{name:12} {value:9.1f} s {value / total:6.1%}" for name, value in rows]
