"""Recipes that are built without a search: their kind makes the whole store itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from rsbench.build.engine.options import Advance
from rsbench.build.engine.previous import BuildResult
from rsbench.build.kinds.base import kind_of
from rsbench.catalog import Recipe

DirectBuild = Callable[[Recipe, Path, Advance | None], BuildResult]


@runtime_checkable
class DirectKind(Protocol):
    """A dataset kind that makes the stores of some recipes without a search."""

    def direct(self, recipe: Recipe) -> DirectBuild | None:
        """Return the function that makes the store; None if the recipe needs a search."""


def direct_build(recipe: Recipe) -> DirectBuild | None:
    """Return the function that makes a recipe's store without a search, if its kind has one."""
    kind: object = kind_of(recipe)
    return kind.direct(recipe) if isinstance(kind, DirectKind) else None
