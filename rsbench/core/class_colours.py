"""Colours of classes in pictures, reports and GeoTIFFs."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

CHOSEN = (
    (78, 121, 167), (89, 161, 79), (237, 201, 72), (225, 87, 89), (176, 122, 161), (118, 183, 178),
    (242, 142, 43), (156, 117, 95), (186, 176, 172), (255, 157, 167), (44, 75, 110),
    (140, 209, 125),
)  # fmt: skip
GOLDEN = 0.618033988749895
"""Fraction of the colour circle between the hues of consecutive classes after the chosen ones."""


def class_colours(number: int) -> npt.NDArray[np.uint8]:
    """Return the colours of classes in the order of their codes: ``(number, 3)``."""
    further = [
        [round(255 * part) for part in colorsys.hsv_to_rgb(i * GOLDEN % 1, 0.65, 0.65 + i % 2 / 4)]
        for i in range(len(CHOSEN), number)
    ]
    return np.array([*CHOSEN[:number], *further], dtype=np.uint8)
