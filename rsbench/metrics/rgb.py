"""Which bands are red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from rsbench.catalog.models_sensor import Unit
from rsbench.core.errors import InputError, unknown

if TYPE_CHECKING:
    import torch

WHITE = 0.6
"""Reflectance shown as white by ``display@1``."""
GAMMA = 2.2
"""Its exponent is 1 / 2.2."""


@dataclass(frozen=True)
class RgbMapping:
    """Which bands are red, green and blue, their unit, and the device of the networks.

    Args:
        bands: indices along C.
        unit: of the values. display@1 maps ``reflectance`` by a fixed curve, ``kelvin`` and
            ``display`` by the data range. None where it is not stated: then only metrics that scale
            the bands by the data range, whatever the unit, have a value.
        device: of the networks; that of the images where None.
    """

    bands: tuple[int, int, int]
    unit: str | None = None
    device: torch.device | None = None

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit not in get_args(Unit):
            raise unknown("unit", self.unit, get_args(Unit))

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


def stated_rgb(display: RgbMapping | None, unit: str | None, bands: int) -> RgbMapping | None:
    """Return the mapping with the unit that was stated beside it.

    Three bands without a mapping are red, green and blue. None where more bands have no mapping.

    Raises:
        InputError: for an unknown unit, or one that contradicts the mapping's.
    """
    if display is None:
        whole = RgbMapping((0, 1, 2), unit)
        return whole if bands == 3 else None
    if unit is None or unit == display.unit:
        return display
    if display.unit is None:
        return replace(display, unit=unit)
    raise InputError(
        f"unit={unit!r}", f"`display` states the unit {display.unit!r}", "State one of them"
    )
