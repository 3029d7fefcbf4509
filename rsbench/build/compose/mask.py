"""Clear pixels of a scene, from class bands and bit words by the rule of the sensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import MaskRule

Bool = npt.NDArray[np.bool_]
Words = npt.NDArray[Any]


def clear(words: Words, rule: MaskRule) -> Bool:
    """Return where a quality layer calls the pixel clear.

    ``words``: class numbers (SCL; MCD43A4 quality) or bit words (QA_PIXEL, state_500m), unsigned,
    of any shape. The layer's own fill value is never clear.
    """
    good = np.ones(words.shape, np.bool_)
    if rule.kind == "none":
        return good
    if rule.fill is not None:
        good &= words != rule.fill
    if rule.classes:
        good &= ~_members(words, rule.classes)
    for field in rule.bits:
        width = field.last - field.first + 1
        value = (words >> field.first) & ((1 << width) - 1)
        good &= ~_members(value, field.bad)
    return good


def present(words: Words, rule: MaskRule) -> Bool:
    """Return where the scene has data at all, cloudy or not."""
    if rule.fill is None:
        return np.ones(words.shape, np.bool_)
    if rule.bits and rule.bits[0].meaning == "fill":
        # QA_PIXEL marks missing pixels by a bit; the word may carry other bits beside it.
        return np.asarray(((words >> rule.bits[0].first) & 1) == 0)
    return np.asarray(words != rule.fill)


PRESENT, CLEAR = 1, 2


def flags(words: Words, rule: MaskRule) -> npt.NDArray[np.uint8]:
    """Return one byte per pixel: ``PRESENT`` where there is data, and ``CLEAR`` where it counts."""
    there = present(words, rule)
    good = clear(words, rule) & there
    return np.asarray(
        there.view(np.uint8) * np.uint8(PRESENT) | good.view(np.uint8) * np.uint8(CLEAR), np.uint8
    )


def valid_values(values: Words, nodata: int, stored_range: tuple[int, int] | None) -> Bool:
    """Return where all bands of ``(..., C, H, W)`` hold data inside the valid stored range.

    The nodata tag of the file is not used: it is missing or wrong in many files.
    """
    good: Bool = np.asarray(values != nodata)
    if stored_range is not None:
        low, high = stored_range
        info = np.iinfo(values.dtype)
        # The test for nodata may cover the lower bound already.
        if low > info.min and not low - 1 == nodata == info.min:
            good &= values >= low
        if high < info.max:
            good &= values <= high
    bands = np.moveaxis(good, -3, 0)
    whole = bands[0].copy()
    for band in bands[1:]:  # much faster than a reduction over an axis in the middle
        whole &= band
    return np.asarray(whole, np.bool_)


def _members(words: Words, values: tuple[int, ...]) -> Bool:
    found = np.zeros(words.shape, np.bool_)
    for value in values:
        found |= words == value
    return found
