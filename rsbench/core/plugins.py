"""Plug-ins: objects that installed packages register by name in an entry-point group."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from rsbench.core.errors import InputError, unknown

T = TypeVar("T")
Found = tuple[str, EntryPoint]
Stamp = tuple[tuple[str, int], ...]
OWN = "rsbench"


@dataclass(frozen=True)
class BrokenPlugIn:
    """An entry point that could not be loaded, and the reason."""

    name: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name!r} of {self.distribution} is left out: {self.reason}"


@dataclass(frozen=True)
class PlugIns(Generic[T]):
    """The plug-ins of one entry-point group; of equal names, this package's own comes first.

    Args:
        group: the entry-point group, e.g. ``rsbench.importers``.
        noun: the word for one plug-in in messages, e.g. ``importer``.
        required: in messages, what a plug-in must have.
        fits: returns whether a loaded object has it.
    """

    group: str
    noun: str
    required: str
    fits: Callable[[Any], bool]

    def names(self) -> tuple[str, ...]:
        """Return the sorted names of the installed plug-ins; nothing is loaded."""
        return tuple(sorted({point.name for _, point in self._points()}))

    def get(self, name: str) -> T:
        """Load one plug-in.

        Raises:
            InputError: if it cannot be loaded, or does not fit the group.
            UnknownName: if no package registers the name; the message has the nearest names.
        """
        one = next((one for one in self._points() if one[1].name == name), None)
        if one is None:
            raise unknown(self.noun, name, self.names())
        found = self._load(*one)
        if isinstance(found, BrokenPlugIn):
            remedy = f"Repair or uninstall {found.distribution}"
            raise InputError(f"{self.noun} {name!r}", found.reason, remedy)
        return found

    def all(self) -> dict[str, T | BrokenPlugIn]:
        """Return all plug-ins by sorted name; those that fail to load as :class:`BrokenPlugIn`."""
        first: dict[str, Found] = {}
        for owner, point in self._points():
            first.setdefault(point.name, (owner, point))
        return {name: self._load(*first[name]) for name in sorted(first)}

    def broken(self) -> tuple[BrokenPlugIn, ...]:
        """Return the plug-ins that fail to load, each with the reason."""
        return tuple(one for one in self.all().values() if isinstance(one, BrokenPlugIn))

    def each(self) -> Iterator[tuple[str, str, T | BrokenPlugIn]]:
        """Yield name, package and object of every entry point, including equal names."""
        seen: set[EntryPoint] = set()
        for owner, point in self._points():
            if point not in seen:  # an editable install may be found twice
                seen.add(point)
                yield point.name, owner, self._load(owner, point)

    def _points(self) -> tuple[Found, ...]:
        """Return the entry points and the packages that own them, those of this package first."""
        return _found(self.group, _state_of_path())

    def _load(self, owner: str, point: EntryPoint) -> T | BrokenPlugIn:
        try:
            value = point.load()
        except Exception as error:  # noqa: BLE001 - another package's import may raise anything
            reason = f"{point.value} raises {type(error).__name__}: {error}"
            return BrokenPlugIn(point.name, owner, reason)
        if not self.fits(value):
            reason = f"{point.value} is a {type(value).__name__} without {self.required}"
            return BrokenPlugIn(point.name, owner, reason)
        return cast("T", value)


def _state_of_path() -> Stamp:
    """Return the folders in which packages are looked for, each with its last change in ns."""
    return tuple((folder, _changed(folder)) for folder in sys.path)


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=2)
def _installed(state: Stamp) -> Any:
    """Return the entry points of all installed packages, read once per state of the path."""
    return entry_points()


@lru_cache(maxsize=32)
def _found(group: str, state: Stamp) -> tuple[Found, ...]:
    found = [(_owner(point), point) for point in _installed(state).select(group=group)]
    return tuple(sorted(found, key=lambda one: (one[0] != OWN, one[0], one[1].name)))


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"
