"""Pixels that hold one number in every band, which files often write where nothing was seen."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rsbench.build.importers.raster import Mask, Pixels

MOST_FILLED = 0.01
"""A larger share of pixels is told, or refused where nothing states what missing pixels hold."""


def fills(pixels: Pixels, valid: Mask) -> Counter[float]:
    """Count the valid pixels that hold 0, or an end of their integer type, in every band.

    Args:
        pixels: stored numbers ``(C, h, w)``.
        valid: where they count ``(h, w)``.
    """
    ends = np.iinfo(pixels.dtype) if pixels.dtype.kind in "iu" else None
    found: Counter[float] = Counter()
    for number in {0, ends.min, ends.max} if ends else {0}:
        same = valid.copy()
        for band in pixels:
            same &= band == number
            if not same.any():
                break
        else:
            found[float(number)] = int(np.count_nonzero(same))
    return found
