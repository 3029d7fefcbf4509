"""Colours of classes in pictures and reports."""

from __future__ import annotations

import numpy as np

CLASS_COLOURS = np.array([
    (78, 121, 167), (89, 161, 79), (237, 201, 72), (225, 87, 89), (176, 122, 161), (118, 183, 178),
    (242, 142, 43), (156, 117, 95), (186, 176, 172), (255, 157, 167), (44, 75, 110),
    (140, 209, 125),
], dtype=np.uint8)  # fmt: skip
"""Colours of classes in the order of their codes; more classes than colours begin again."""
