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

from rsbench.build.compose.select import medoid, nearest, picked

U16 = npt.NDArray[np.uint16]
Bool = npt.NDArray[np.bool_]
Pixels = npt.NDArray[Any]

BLOCK = 16_384
"""Pixels sorted at a time: a stack of 60 such rows stays in a core's cache."""

_TOP = np.uint16(65535)
_STEP = 4


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


@cache
def _selection(count: int, first: int, last: int) -> tuple[tuple[int, int, bool, bool], ...]:
    """Return the part of the network that the ranks from ``first`` to ``last`` need.

    Of a comparator ``(i, j, low, high)`` one output may be enough.
    """
    needed = set(range(first, last + 1))
    kept = []
    for i, j in reversed(network(count)):
        low, high = i in needed, j in needed
        if low or high:
            kept.append((i, j, low, high))
            needed |= {i, j}
    return tuple(reversed(kept))


def _middle_ranks(number: U16) -> tuple[int, int]:
    """Return the first and the last rank that a median of so many clear values takes.

    In steps, so that the same few selections serve all blocks.
    """
    first = max(int(number.min()) - 1, 0) // 2
    last = int(number.max()) // 2
    return first // _STEP * _STEP, -(-last // _STEP) * _STEP


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
        counter = np.uint8 if count < 256 else np.uint16  # the narrow one adds up four times faster
        work = np.empty((count + 1, min(BLOCK, pixels)), np.uint16)
        for start in range(0, pixels, BLOCK):
            part = slice(start, min(start + BLOCK, pixels))
            number[part] = flat_clear[:, part].view(np.uint8).sum(axis=0, dtype=counter)
            _block(flat[:, part], flat_clear[:, part], number[part], work, median[part])
    return median.reshape(height, width), number.reshape(height, width)


def _block(values: U16, clear: Bool, number: U16, work: U16, out: U16) -> None:
    """Sort one block of pixels in ``work`` and pick its middle values into ``out``."""
    alive = clear.any(axis=1)
    if not alive.all():  # a cloud over the whole block needs no sorting
        values, clear = values[alive], clear[alive]
    count, size = values.shape
    if count == 0:
        out[:] = 0
        return
    whole, work = work, work[:, :size]
    # Branch-free: clear 1 becomes 0 and masked 0 wraps to 65535, which by OR gives the sentinel.
    np.subtract(clear.view(np.uint8), np.uint16(1), out=work[:count], dtype=np.uint16)
    np.bitwise_or(values, work[:count], out=work[:count])
    order = _sorted(work[: count + 1], number)
    # Where the two middle values of n clear ones lie, for every n.
    n, at, held = np.arange(count + 1), np.arange(size), whole.ravel()
    low = held.take((order * whole.shape[1])[np.maximum(n - 1, 0) // 2].take(number) + at)
    high = held.take((order * whole.shape[1])[n // 2].take(number) + at)
    # (low + high) / 2 rounded half to even, without leaving uint16.
    apart = low ^ high
    half = (low & high) + (apart >> np.uint16(1))
    half += apart & half & np.uint16(1)
    np.multiply(half, np.minimum(number, np.uint16(1)), out=out)


def _sorted(work: U16, number: U16) -> npt.NDArray[np.intp]:
    """Sort planes ``(T + 1, n)`` in place; return the row that holds each rank.

    The last plane is spare. Only the middle ranks for these numbers of clear values are sorted.
    """
    count = len(work) - 1
    rows, planes = list(range(count + 1)), list(work)
    first, last = _middle_ranks(number)
    for i, j, low_needed, high_needed in _selection(count, first, min(last, count - 1)):
        if low_needed and high_needed:
            # The minimum goes to the spare plane, which then stands for plane i: no copy.
            np.minimum(planes[i], planes[j], out=planes[count])
            np.maximum(planes[i], planes[j], out=planes[j])
            planes[i], planes[count] = planes[count], planes[i]
            rows[i], rows[count] = rows[count], rows[i]
        elif low_needed:
            np.minimum(planes[i], planes[j], out=planes[i])
        else:
            np.maximum(planes[i], planes[j], out=planes[j])
    return np.asarray(rows, np.intp)


@dataclass(frozen=True, slots=True)
class Rule:
    """How observations become one frame.

    ``kind``: ``median`` per band, ``medoid`` or ``best`` (nearest to day ``day`` of the year) of
    whole observations. A pixel with fewer than ``min_dates`` clear observations, or in fewer than
    ``min_months`` months, is not valid. ``spread``: also the median absolute deviation.
    """

    kind: str = "median"
    min_dates: int = 1
    min_months: int = 1
    spread: bool = False
    day: int = 183

    @property
    def name(self) -> str:
        """Name and version of what makes a frame, as the store states it."""
        name = f"{self.kind}@1"
        if self.min_dates > 1 or self.min_months > 1:
            name += f" dates>={self.min_dates} months>={self.min_months}"
        return name


@dataclass(frozen=True, slots=True)
class When:
    """When the observations were made: ``(T,)`` months and days of the year."""

    months: npt.NDArray[np.uint8]
    days: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Composite:
    """One composite: ``(C, H, W)`` as stored, ``valid`` and ``n_valid`` ``(H, W)``; optional parts.

    ``odd`` and ``even`` are composites of every second observation in time order, beginning with
    the first and with the second: two independent looks at the same year. ``spread``
    ``(C, H, W)`` uint16: median absolute deviation from the median, in stored steps. ``source``
    ``(H, W)`` uint16: number of the observation kept, from 1; 0 where none is.
    """

    values: Pixels
    valid: Bool
    n_valid: U16
    odd: Pixels | None
    even: Pixels | None
    spread: U16 | None = None
    source: U16 | None = None


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


def composite(
    values: Pixels,
    clear: Bool,
    nodata: int,
    *,
    halves: bool = False,
    rule: Rule | None = None,
    when: When | None = None,
) -> Composite:
    """Return the composite of ``(T, C, H, W)`` observations in time order.

    An observation counts where ``clear`` ``(T, H, W)`` says so, for all bands alike, so that the
    bands of a pixel come from the same dates.
    """
    rule = rule or Rule()
    if when is None and (rule.kind == "best" or rule.min_months > 1):
        raise ValueError("this rule needs the dates of the observations")
    keys = to_keys(values)
    whole, number, source = _made(values, keys, clear, nodata, rule, when)
    valid = number >= rule.min_dates
    if when is not None and rule.min_months > 1:
        valid &= months_seen(clear, when.months) >= rule.min_months
    if rule.min_dates > 1 or rule.min_months > 1:
        whole = np.where(valid, whole, np.asarray(nodata, whole.dtype))
    odd = even = None
    if halves:
        odd = _made(values[0::2], keys[0::2], clear[0::2], nodata, rule, _every(when, 0))[0]
        even = _made(values[1::2], keys[1::2], clear[1::2], nodata, rule, _every(when, 1))[0]
    spread = deviation(keys, clear) if rule.spread else None
    return Composite(whole, valid, number, odd, even, spread, source)


def _every(when: When | None, first: int) -> When | None:
    return None if when is None else When(when.months[first::2], when.days[first::2])


def _made(
    values: Pixels, keys: U16, clear: Bool, nodata: int, rule: Rule, when: When | None
) -> tuple[Pixels, U16, U16 | None]:
    if rule.kind == "median":
        return *_bands(keys, clear, values.dtype, nodata), None
    if rule.kind == "medoid":
        index = medoid(values, clear)
    elif rule.kind == "best" and when is not None:
        index = nearest(when.days, clear, rule.day)
    else:
        raise ValueError(f"no composite is called {rule.kind!r}")
    number = clear.sum(axis=0, dtype=np.uint16)
    source = np.where(number > 0, index + 1, 0).astype(np.uint16)
    if len(values) == 0:
        return np.full(values.shape[1:], nodata, values.dtype), number, source
    nothing = np.asarray(nodata, values.dtype)
    return np.where(number > 0, picked(values, index), nothing), number, source


def months_seen(clear: Bool, months: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return ``(H, W)``: in how many different months a pixel was clear."""
    seen = np.zeros(clear.shape[1:], np.uint8)
    for month in np.unique(months):
        seen += clear[months == month].any(axis=0)
    return seen


def deviation(keys: U16, clear: Bool) -> U16:
    """Return ``(C, H, W)``: the median absolute deviation from the median; 0 where none is clear.

    Integers like the median itself: both are rounded half to even.
    """
    count, bands, height, width = keys.shape
    out = np.zeros((bands, height, width), np.uint16)
    rows = max(1, 4 * BLOCK // max(1, width))  # a few rows at a time: no second cube in memory
    for top in range(0, height if count else 0, rows):
        part = np.s_[top : top + rows]
        for band in range(bands):
            held, seen = keys[:, band, part], clear[:, part]
            middle, _ = masked_median(held, seen)
            apart = np.where(held > middle, held - middle, middle - held)
            out[band, part] = masked_median(apart, seen)[0]
    return out


def _bands(keys: U16, clear: Bool, dtype: np.dtype[Any], nodata: int) -> tuple[Pixels, U16]:
    bands, height, width = keys.shape[1:]
    out = np.empty((bands, height, width), dtype)
    number = np.zeros((height, width), np.uint16)
    for band in range(bands):
        median, number = masked_median(keys[:, band], clear)
        out[band] = np.where(number > 0, from_keys(median, dtype), np.asarray(nodata, dtype))
    return out, number
