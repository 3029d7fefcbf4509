"""The installed dataset kinds, by name.

A package adds a kind with an entry point in the group ``rsbench.kinds``. It refers to an object
with the attributes of ``rsbench.build.kinds.base.DatasetKind``. The catalogue uses only its name
and recipe model.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pydantic import BaseModel

from rsbench.core.errors import InputError
from rsbench.core.plugins import PlugIns


@runtime_checkable
class CataloguedKind(Protocol):
    """The part of a dataset kind that the catalogue uses.

    ``recipe``: its recipe model, a subclass of :class:`rsbench.catalog.Recipe`.
    """

    name: str
    recipe: type[BaseModel]


KINDS: PlugIns[CataloguedKind] = PlugIns(
    "rsbench.kinds",
    "dataset kind",
    "a name and a recipe model",
    lambda value: isinstance(value, CataloguedKind),
)


def load_kind(name: str) -> CataloguedKind:
    """Return an installed kind.

    Raises:
        UnknownName: if no installed kind has this name.
        InputError: if the entry point cannot be loaded or is not a kind.
    """
    kind = KINDS.get(name)
    if kind.name != name:
        raise InputError(
            f"dataset kind {name!r}",
            f"the kind that the entry point names is called {kind.name!r}",
            "Repair or uninstall the package that offers it",
        )
    return kind
