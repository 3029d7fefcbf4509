"""Views of the bands of a picture, composed by the script of the page, and the default crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.band_colours import FALSE_COLOUR, TRUE_COLOUR, bands_of

NDVI_RANGE = (-0.2, 1.0)
"""Ends of the colour scale of NDVI."""
NDVI_ERROR = 0.3
"""Difference of NDVI at the full colours of a signed error."""
CROP = 0.25
"""Side of the default crop, in sides of the picture."""


@dataclass(frozen=True)
class View:
    """One way to show the bands of a picture.

    Args:
        label: what stands in the list of views.
        kind: ``rgb``, ``band`` or ``ndvi``.
        bands: indices of its bands among those drawn and then the others: red, green and blue of
            ``rgb``, the one of ``band``, near infrared and red of ``ndvi``.
    """

    label: str
    kind: str
    bands: tuple[int, ...]


def views(drawn: Sequence[str], others: Sequence[str], *, reflectance: bool) -> tuple[View, ...]:
    """Return the views of a picture, the drawn one first.

    Args:
        drawn: bands drawn as red, green and blue, or the one drawn in grey; none of class maps.
        others: further bands that are kept.
        reflectance: whether the bands are reflectance; NDVI of other units is not shown.
    """
    if not drawn:
        return ()
    bands = [*drawn, *others]
    colours = {"true colour": TRUE_COLOUR, "false colour": FALSE_COLOUR}
    named = {name: bands_of(bands, wanted) for name, wanted in colours.items()}
    found: dict[tuple[str, ...], str] = {} if len(drawn) == 1 else {tuple(drawn): "drawn"}
    found |= {shown: name for name, shown in named.items() if shown is not None}

    def at(names: Sequence[str]) -> tuple[int, ...]:
        return tuple(bands.index(name) for name in names)

    rgb = [View(f"{name}: {', '.join(shown)}", "rgb", at(shown)) for shown, name in found.items()]
    pair = bands_of(bands, ("nir", "red")) if reflectance else None
    ndvi = [View("NDVI", "ndvi", at(pair))] if pair else []
    single = [View(band, "band", (i,)) for i, band in enumerate(bands)]
    return (*single, *rgb, *ndvi) if len(drawn) == 1 else (*rgb, *ndvi, *single)


@dataclass(frozen=True)
class Crop:
    """A part of a picture, in its sides from the upper left corner, and the column of its lead."""

    x: float
    y: float
    width: float
    height: float
    column: int = 0


def worst(errors: npt.NDArray[Any]) -> Crop:
    """Return the square with the largest mean error.

    Args:
        errors: ``(leads, H, W)``, NaN where nothing is scored; NaN counts as no error.
    """
    known = np.nan_to_num(errors.astype(np.float64), nan=0.0)
    height, width = known.shape[1:]
    side = max(1, round(CROP * min(height, width)))
    sums = np.zeros((len(known), height + 1, width + 1))
    sums[:, 1:, 1:] = known.cumsum(1).cumsum(2)
    parts = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side]
    parts += sums[:, :-side, :-side]
    column, y, x = np.unravel_index(int(parts.argmax()), parts.shape)
    return Crop(
        float(x) / width, float(y) / height, side / width, side / height, int(column)
    )  # fmt: skip
