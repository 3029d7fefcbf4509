"""Plug-ins: objects that installed packages register by name in an entry-point group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from rsbench.core.errors import InputError, unknown

T = TypeVar("T")
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
        return tuple(sorted({point.name for point in self._points()}))

    def get(self, name: str) -> T:
        """Load one plug-in.

        Raises:
            InputError: if it cannot be loaded, or does not fit the group.
            UnknownName: if no package registers the name; the message has the nearest names.
        """
        point = next((p for p in self._points() if p.name == name), None)
        if point is None:
            raise unknown(self.noun, name, self.names())
        found = self._load(point)
        if isinstance(found, BrokenPlugIn):
            remedy = f"Repair or uninstall {found.distribution}"
            raise InputError(f"{self.noun} {name!r}", found.reason, remedy)
        return found

    def all(self) -> dict[str, T | BrokenPlugIn]:
        """Return all plug-ins by sorted name; those that fail to load as :class:`BrokenPlugIn`."""
        first: dict[str, EntryPoint] = {}
        for point in self._points():
            first.setdefault(point.name, point)
        return {name: self._load(first[name]) for name in sorted(first)}

    def broken(self) -> tuple[BrokenPlugIn, ...]:
        """Return the plug-ins that fail to load, each with the reason."""
        return tuple(one for one in self.all().values() if isinstance(one, BrokenPlugIn))

    def each(self) -> Iterator[tuple[str, str, T | BrokenPlugIn]]:
        """Yield name, package and object of every entry point, including equal names."""
        for point in dict.fromkeys(self._points()):  # an editable install may be found twice
            yield point.name, _owner(point), self._load(point)

    def _points(self) -> Iterator[EntryPoint]:
        """Yield the entry points, those of this package first."""
        found = entry_points(group=self.group)
        yield from sorted(found, key=lambda p: (_owner(p) != OWN, _owner(p), p.name))

    def _load(self, point: EntryPoint) -> T | BrokenPlugIn:
        try:
            value = point.load()
        except Exception as error:  # noqa: BLE001 - another package's import may raise anything
            reason = f"{point.value} raises {type(error).__name__}: {error}"
            return BrokenPlugIn(point.name, _owner(point), reason)
        if not self.fits(value):
            reason = f"{point.value} is a {type(value).__name__} without {self.required}"
            return BrokenPlugIn(point.name, _owner(point), reason)
        return cast("T", value)


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"
