"""Exact masked median over time, by a sorting network on whole planes.

Batcher's odd–even merge network (Batcher 1968, Sorting networks and their applications, AFIPS
SJCC 32) sorts ``T`` planes with a fixed list of min/max pairs, which numpy runs over many pixels
at once. Masked observations are set to the largest integer and so sort last; the count of clear
ones is kept apart, so that every value of the integer range, 0 and 65535 too, is a valid one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

U16 = npt.NDArray[np.uint16]
Bool = npt.NDArray[np.bool_]
Pixels = npt.NDArray[Any]

BLOCK = 16_384
"""Pixels sorted at a time: a stack of 60 such rows stays in a core's cache."""

_TOP = np.uint16(65535)


@cache
def network(count: int) -> tuple[tuple[int, int], ...]:
    """Return the comparators ``(i, j)``, i < j, that sort ``count`` values in ascending order."""
    pairs: list[tuple[int, int]] = []
    p = 1
    while p < count:
        k = p
        while k >= 1:
            for j in range(k % p, count - k, 2 * k):
                for i in range(min(k, count - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return tuple(pairs)


def masked_median(values: U16, clear: Bool) -> tuple[U16, U16]:
    """Return the median over time of the clear observations and their number.

    For an even number the mean of the two middle values is rounded half to even, so that no
    brightness bias builds up. Where nothing is clear the median is 0 and the number 0.

    Args:
        values: ``(T, H, W)`` uint16, any values.
        clear: ``(T, H, W)`` bool.

    Returns:
        median ``(H, W)`` uint16 and number of clear observations ``(H, W)`` uint16.
    """
    count, height, width = values.shape
    if clear.shape != values.shape:
        raise ValueError(f"values {values.shape} and clear {clear.shape} differ in shape")
    if count > int(_TOP):
        raise ValueError(f"{count} observations do not fit the counter")
    pixels = height * width
    flat, flat_clear = values.reshape(count, pixels), clear.reshape(count, pixels)
    median = np.zeros(pixels, np.uint16)
    number = np.zeros(pixels, np.uint16)
    if count:
        work = np.empty((count + 1, min(BLOCK, pixels)), np.uint16)
        for start in range(0, pixels, BLOCK):
            part = slice(start, min(start + BLOCK, pixels))
            number[part] = flat_clear[:, part].sum(axis=0, dtype=np.uint16)
            _block(flat[:, part], flat_clear[:, part], number[part], work, median[part])
    return median.reshape(height, width), number.reshape(height, width)


def _block(values: U16, clear: Bool, number: U16, work: U16, out: U16) -> None:
    """Sort one block of pixels in ``work`` and pick its middle values into ``out``."""
    count, size = values.shape
    work = work[:, :size]
    # Branch-free: clear 1 becomes 0 and masked 0 wraps to 65535, which by OR gives the sentinel.
    np.subtract(clear.view(np.uint8), np.uint16(1), out=work[:count], dtype=np.uint16)
    np.bitwise_or(values, work[:count], out=work[:count])
    rows = list(range(count + 1))
    planes = list(work)
    for i, j in network(count):
        # The minimum goes to the spare plane, which then takes the place of plane i: no copy.
        np.minimum(planes[i], planes[j], out=planes[count])
        np.maximum(planes[i], planes[j], out=planes[j])
        planes[i], planes[count] = planes[count], planes[i]
        rows[i], rows[count] = rows[count], rows[i]
    order = np.asarray(rows, np.intp)
    n = number.astype(np.intp)
    at = np.arange(size)
    low = work[order[np.maximum(n - 1, 0) // 2], at].astype(np.uint32)
    high = work[order[np.minimum(n // 2, count - 1)], at].astype(np.uint32)
    total = low + high
    half = total >> 1
    half += (total & 1) & (half & 1)
    out[:] = np.where(n > 0, half, 0)


@dataclass(frozen=True, slots=True)
class Composite:
    """One composite: medians ``(C, H, W)`` as stored, ``n_valid`` ``(H, W)``; optional halves.

    ``odd`` and ``even`` are medians of every second observation in time order, beginning with the
    first and with the second: two independent looks at the same year.
    """

    values: Pixels
    valid: Bool
    n_valid: U16
    odd: Pixels | None
    even: Pixels | None


def to_keys(stored: Pixels) -> U16:
    """Map stored integers to uint16 keys of the same order (parity kept, so rounding agrees)."""
    if stored.dtype == np.uint16:
        return stored
    if stored.dtype == np.uint8:
        return stored.astype(np.uint16)
    if stored.dtype == np.int16:
        return stored.view(np.uint16) ^ np.uint16(0x8000)
    raise TypeError(f"no exact median for {stored.dtype}")


def from_keys(keys: U16, dtype: np.dtype[Any]) -> Pixels:
    """Undo :func:`to_keys`."""
    if dtype == np.int16:
        return (keys ^ np.uint16(0x8000)).view(np.int16)
    return keys.astype(dtype, copy=False)


def composite(values: Pixels, clear: Bool, nodata: int, *, halves: bool = False) -> Composite:
    """Return the median composite of ``(T, C, H, W)`` observations in time order.

    An observation counts where ``clear`` ``(T, H, W)`` says so, for all bands alike, so that the
    bands of a pixel come from the same dates.
    """
    keys = to_keys(values)
    whole, number = _bands(keys, clear, values.dtype, nodata)
    odd = even = None
    if halves:
        odd = _bands(keys[0::2], clear[0::2], values.dtype, nodata)[0]
        even = _bands(keys[1::2], clear[1::2], values.dtype, nodata)[0]
    return Composite(whole, number > 0, number, odd, even)


def _bands(keys: U16, clear: Bool, dtype: np.dtype[Any], nodata: int) -> tuple[Pixels, U16]:
    bands, height, width = keys.shape[1:]
    out = np.empty((bands, height, width), dtype)
    number = np.zeros((height, width), np.uint16)
    for band in range(bands):
        median, number = masked_median(keys[:, band], clear)
        out[band] = np.where(number > 0, from_keys(median, dtype), np.asarray(nodata, dtype))
    return out, number
