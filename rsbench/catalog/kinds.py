"""The dataset kinds that are installed, by name.

A package adds a kind by an entry point in the group ``rsbench.kinds`` that names an object with
the attributes of ``rsbench.build.kinds.base.DatasetKind``. This module knows of a kind only what
the catalogue needs: its name and the model of its recipes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, runtime_checkable

from pydantic import BaseModel

from rsbench.core.errors import InputError, unknown

GROUP = "rsbench.kinds"
OWNER = "rsbench"


@runtime_checkable
class CataloguedKind(Protocol):
    """The part of a dataset kind that the catalogue reads.

    ``recipe``: the model of its recipes, a subclass of :class:`rsbench.catalog.Recipe`.
    """

    name: str
    recipe: type[BaseModel]


def kind_names() -> tuple[str, ...]:
    """Return the sorted names of all installed kinds."""
    return tuple(sorted(point.name for point in _points()))


def load_kind(name: str) -> CataloguedKind:
    """Return an installed kind.

    Raises:
        UnknownName: if no installed package offers a kind of this name.
        InputError: if the entry point cannot be loaded or is no kind.
    """
    by_name = {point.name: point for point in _points()}
    if name not in by_name:
        raise unknown("dataset kind", name, by_name)
    point = by_name[name]
    try:
        found: object = point.load()
    except Exception as error:  # another package's import may raise anything
        raise _broken(point, f"{point.value} raises {type(error).__name__}: {error}") from error
    if not isinstance(found, CataloguedKind):
        raise _broken(point, f"{point.value} has no name and recipe model")
    if found.name != name:
        raise _broken(point, f"the kind it names is called {found.name!r}")
    return found


def _points() -> Iterator[EntryPoint]:
    """Yield one entry point per name; the kinds of this package cannot be replaced."""
    chosen: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: (_owner(p) != OWNER, _owner(p))):
        chosen.setdefault(point.name, point)
    yield from chosen.values()


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else ""


def _broken(point: EntryPoint, found: str) -> InputError:
    owner = _owner(point) or "the package that offers it"
    return InputError(f"dataset kind {point.name!r}", found, f"Repair or uninstall {owner}")


def installed() -> Mapping[str, str]:
    """Return the name of every installed kind and the object that its entry point names."""
    return {point.name: point.value for point in _points()}
