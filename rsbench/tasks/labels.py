"""What models may know of the labels of the training split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


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
