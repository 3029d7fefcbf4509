"""Shares of valid pixels in what samples are given: too little of it is not scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from rsbench.core.grid import Window

if TYPE_CHECKING:
    from rsbench.store.read import Store

Shares = npt.NDArray[np.float64]
Place = tuple[str, Window]
"""A region and a window of it."""
_KNOWN: WeakKeyDictionary[Store, dict[tuple[str, str, Window], Shares]] = WeakKeyDictionary()


def valid_shares(store: Store, sensor: str, places: Iterable[Place]) -> dict[Place, Shares]:
    """Return the share of valid pixels of every date, ``(T,)`` in 0 … 1, in windows of regions.

    The masks of a region are read once per store.

    Args:
        sensor: the sensor whose masks and grid count.
    """
    known = _KNOWN.setdefault(store, {})
    asked = tuple(dict.fromkeys(places))
    lacking: dict[str, list[Window]] = defaultdict(list)
    for region, window in asked:
        if (sensor, region, window) not in known:
            lacking[region].append(window)
    for region, windows in lacking.items():
        valid = store.read(region, sensor, array="valid")
        for window in windows:
            rows, columns = window.slices
            known[sensor, region, window] = valid[:, rows, columns].mean(axis=(1, 2))
    return {(region, window): known[sensor, region, window] for region, window in asked}


def enough(share: float, least: float) -> bool:
    """Return whether a share of valid pixels is above 0 and reaches the least that is asked."""
    return share > 0 and share >= least


def lack(least: float) -> str:
    """Return what is said of a share that is not enough."""
    return f"below {100 * least:g} % valid" if least > 0 else "without a valid pixel"
