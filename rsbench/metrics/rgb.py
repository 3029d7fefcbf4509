"""Which bands are red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RgbMapping:
    """Which bands are red, green and blue, their unit, and the device of the networks.

    Args:
        bands: indices along C.
        unit: ``reflectance`` is mapped by display@1, any other unit by the data range.
        device: of the networks; that of the images where None.
    """

    bands: tuple[int, int, int]
    unit: str = "display"
    device: torch.device | None = None

    @classmethod
    def of(
        cls,
        shown: Sequence[str] | None,
        bands: Sequence[str],
        unit: str,
        device: torch.device | None = None,
    ) -> RgbMapping | None:
        """Return the mapping of three band names, or None where a band is missing."""
        if shown is None or len(shown) != 3 or not set(shown) <= set(bands):
            return None
        red, green, blue = (list(bands).index(band) for band in shown)
        return cls((red, green, blue), unit, device)
