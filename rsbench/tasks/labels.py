"""The labels of the training split: whose may be used, and what models may know of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store


@dataclass(frozen=True)
class TrainingLabels:
    """The labels that models are fitted and trained with.

    Args:
        stated: fraction and seed of the protocol; None for all labels.
        regions: the training regions whose labels may be used.
        of: number of training regions.
        windows: windows of these regions that have a labelled pixel.
        pixels: class → number of labelled pixels in these windows.
    """

    stated: Mapping[str, Any] | None
    regions: tuple[str, ...]
    of: int
    windows: int
    pixels: Mapping[str, int]

    @property
    def share(self) -> str:
        """Say how many regions are labelled."""
        return f"labels of {len(self.regions)} of {self.of} training regions"

    def __str__(self) -> str:
        """Say which labels are used, and which classes they lack; empty for all of all classes."""
        said = []
        if self.stated is not None:
            said = [f"{self.share} (fraction {self.stated['fraction']:g}, seed "
                    f"{self.stated['seed']})"]  # fmt: skip
        if lacking := sorted(name for name, count in self.pixels.items() if not count):
            said.append(f"no labelled training pixel is of the class {', '.join(lacking)}")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainingLabels:
        """Read the JSON form."""
        return cls(**{**value, "regions": tuple(value["regions"])})


def training_regions(store: Store) -> tuple[str, ...]:
    """Return the regions of the training split; none where the store has no such split."""
    names = (str(e["name"]) for e in store.listed.values() if e["split"] == "train")
    return tuple(sorted(names))


def labelled_regions(store: Store, protocol: Protocol) -> tuple[str, ...]:
    """Return the training regions whose labels may be used, sorted.

    Regions are ordered by the SHA-256 of seed and name; the first ones are taken, so that a larger
    fraction contains a smaller one. Their number is the nearest to the fraction, and at least one.
    """
    names, share = training_regions(store), protocol.labels
    if share is None:
        return names
    count = max(1, math.floor(share.fraction * len(names) + 0.5))
    seed = share.seed
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest())
    return tuple(sorted(order[:count]))
