"""Samples of segmentation: which window of which image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from rsbench.core.grid import Window
from rsbench.store.layout import SHARE

TARGET = "labels"
"""Name of what is predicted, in place of a sensor."""
UNIT = SHARE


@dataclass(frozen=True, slots=True)
class Image:
    """One window of one image of a region; ``time`` is the index of its date."""

    region: str
    window: Window
    time: int

    def at(self, window: Window) -> Self:
        """Return the sample with another window."""
        return replace(self, window=window)
