"""Conversion of dates to days since 1970-01-01, the form in stores and tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

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


def iso_dates(texts: Sequence[str]) -> tuple[date, ...]:
    """Return the dates in ISO 8601 texts.

    Raises:
        ValueError: if a text is not a date.
    """
    return tuple(date.fromisoformat(text) for text in texts)
