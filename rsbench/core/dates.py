"""Dates as counts of days since 1970-01-01, the form in which stores and tensors hold them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Return the days from 1970-01-01 to a date; negative before it."""
    return (day - EPOCH).days


def day_numbers(days: Sequence[date]) -> npt.NDArray[np.int32]:
    """Return the days from 1970-01-01 to each date, ``(T,)`` int32."""
    return np.array([day_number(day) for day in days], dtype=np.int32)


def date_of(number: int) -> date:
    """Return the date that is a number of days after 1970-01-01."""
    return EPOCH + timedelta(days=int(number))


def iso_dates(texts: Sequence[str]) -> tuple[date, ...]:
    """Read ISO 8601 dates.

    Raises:
        ValueError: if a text is not one.
    """
    return tuple(date.fromisoformat(text) for text in texts)
