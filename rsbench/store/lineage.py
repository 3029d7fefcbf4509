"""The origin of a synthetic store: which generator drew it, from which store and labels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from rsbench.core.digest import sha256_json
from rsbench.core.errors import StoreError
from rsbench.core.typed import typed

if TYPE_CHECKING:
    from rsbench.store.read import Store

SYNTHETIC = "synthetic"
"""Key of the lineage in the recipe of a store."""


@dataclass(frozen=True)
class Lineage:
    """What a synthetic store was drawn from.

    Args:
        model, preset: of the generator.
        weights: digest of its weights; None for a generator without weights.
        source: digest of the store that it was trained on.
        dataset: recipe of that store.
        labels: fraction and seed of the labels that it was trained with; None for all.
        per_image: synthetic images per image of the labelled training regions.
        seed: of the noise.
        illegal: share of pixels whose bits were no class, so that the nearest one was taken.
    """

    model: str
    preset: str
    weights: str | None
    source: str
    dataset: str
    labels: Mapping[str, Any] | None
    per_image: int
    seed: int
    illegal: float = 0.0

    @property
    def name(self) -> str:
        """Name of the recipe, which is part of the store's digest: it holds a digest of all this.

        So a lineage that is altered does not fit the digest of its store.
        """
        return f"synthetic-{self.model}-{sha256_json(asdict(self))[:12]}"

    def to_json(self) -> dict[str, Any]:
        """Return the recipe of the store."""
        return {"name": self.name, SYNTHETIC: asdict(self)}

    @classmethod
    def of(cls, store: Store) -> Self | None:
        """Return the lineage of a store; None if it is not synthetic.

        Raises:
            StoreError: if the lineage is not the one that the store was written with.
        """
        stated = store.meta.recipe.get(SYNTHETIC)
        if stated is None and not store.recipe.startswith("synthetic-"):
            return None
        found = None
        with suppress(TypeError, ValueError):
            found = typed(cls, dict(stated or {}))
        if found is None or found.name != store.recipe:
            raise StoreError(
                f"the synthetic store {store.path}",
                "what it states of its generator was altered",
                "Type: rsbench synthesize again",
            )
        return found
