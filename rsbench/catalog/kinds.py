"""The dataset kinds that are installed, by name.

A package adds a kind by an entry point in the group ``rsbench.kinds`` that names an object with
the attributes of ``rsbench.build.kinds.base.DatasetKind``. This module knows of a kind only what
the catalogue needs: its name and the model of its recipes.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pydantic import BaseModel

from rsbench.core.errors import InputError
from rsbench.core.plugins import PlugIns


@runtime_checkable
class CataloguedKind(Protocol):
    """The part of a dataset kind that the catalogue reads.

    ``recipe``: the model of its recipes, a subclass of :class:`rsbench.catalog.Recipe`.
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
        UnknownName: if no installed package offers a kind of this name.
        InputError: if the entry point cannot be loaded or is no kind.
    """
    kind = KINDS.get(name)
    if kind.name != name:
        raise InputError(
            f"dataset kind {name!r}",
            f"the kind that the entry point names is called {kind.name!r}",
            "Repair or uninstall the package that offers it",
        )
    return kind
