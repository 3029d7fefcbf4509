"""Conversion of dates to days since 1970-01-01, the form in stores and tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Return the number of days from 1970-01-01 to a date; negative for earlier dates."""
    return (day - EPOCH).days


def day_numbers(days: Sequence[date]) -> npt.NDArray[np.int32]:
    """Return the days from 1970-01-01 to each date, ``(T,)`` int32."""
    return np.array([day_number(day) for day in days], dtype=np.int32)


def date_of(number: int) -> date:
    """Return the date ``number`` days after 1970-01-01."""
    return EPOCH + timedelta(days=int(number))


UNEVEN = 0.25
"""Largest deviation of one step between dates from the usual step, as a share of it."""


def usual_step(days: Sequence[date]) -> int:
    """Return the median number of days between ascending dates; 0 for fewer than two."""
    steps = sorted((b - a).days for a, b in pairwise(days))
    return steps[len(steps) // 2] if steps else 0


def uneven(days: Sequence[date]) -> tuple[date, int] | None:
    """Return the first date that another step than the usual follows, and its days; else None."""
    usual = usual_step(days)
    for before, after in pairwise(days):
        step = (after - before).days
        if abs(step - usual) > UNEVEN * usual:
            return before, step
    return None


def iso_dates(texts: Sequence[str]) -> tuple[date, ...]:
    """Return the dates in ISO 8601 texts.

    Raises:
        ValueError: if a text is not a date.
    """
    return tuple(date.fromisoformat(text) for text in texts)
