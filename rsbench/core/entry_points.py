"""Objects that installed packages offer by entry points, loaded by group and name."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from rsbench.core.errors import InputError, first_line, unknown


def offered(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; none of them is loaded."""
    return _offered(group, tuple(sys.path))


@lru_cache(maxsize=32)
def _offered(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def load(group: str, kind: str, name: str) -> Any:
    """Return what an entry point names.

    Args:
        group: the group, as ``rsbench.tasks``.
        kind: what it holds, for errors, as ``task``.

    Raises:
        UnknownName: if no installed package offers the name.
        InputError: if it cannot be imported.
    """
    points = offered(group)
    if name not in points:
        raise unknown(kind, name, points)
    try:
        return points[name].load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{kind} {name!r}",
            f"its entry point {points[name].value} cannot be loaded ({first_line(error)})",
            "Repair or uninstall the package that offers it",
        ) from error
