"""Agreement of a fine and a coarse image: correlation, shift, and change between dates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]

FLAG = 0.5
"""Coarse pixels of shift above which an accepted date or pair is flagged."""
REACH = 1.5
"""Largest shift in each direction that is tried, in coarse pixels."""
SEEN = 0.5
"""Share of valid fine pixels from which a block counts."""
_FEW = 16
"""Fewest blocks from which a correlation is computed."""
_COARSE_STEPS = 4


@dataclass(frozen=True, slots=True)
class Shift:
    """How many coarse pixels the coarse image lies below and to the right of the fine one."""

    rows: float
    columns: float
    correlation: float

    @property
    def apart(self) -> float:
        """Length of the shift, in coarse pixels."""
        return float(np.hypot(self.rows, self.columns))


def means_of(fine: Plane, valid: Bool, ratio: int) -> tuple[npt.NDArray[np.float64], Bool]:
    """Return means ``(C, h, w)`` of the valid pixels of blocks, and which blocks count.

    Args:
        fine: ``(C, H, W)`` numbers; ``valid`` ``(H, W)``.
    """
    height, width = (n // ratio for n in valid.shape)
    blocks = (height, ratio, width, ratio)
    count = valid.reshape(blocks).sum(axis=(1, 3))
    total = np.stack(
        [np.where(valid, p, 0).reshape(blocks).sum(axis=(1, 3), dtype=np.float64) for p in fine]
    )
    return total / np.maximum(count, 1), count >= SEEN * ratio**2


def correlation(one: Plane, other: Plane, both: Bool) -> float | None:
    """Return Pearson's correlation where both are valid; None if a plane is flat or few are."""
    a, b = one[both].astype(np.float64), other[both].astype(np.float64)
    if a.size < _FEW:
        return None
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else None


def best_of(found: Mapping[str, float | None], bands: int) -> float | None:
    """Return the ``bands``-th best correlation of bands; None where fewer have one."""
    known = sorted((c for c in found.values() if c is not None), reverse=True)
    asked = min(bands, len(found))
    return known[asked - 1] if len(known) >= asked else None


def uncorrelated(found: Mapping[str, float | None], bands: int, least: float) -> str:
    """Say that fewer than ``bands`` bands correlate by ``least``; empty where they do."""
    best = best_of(found, bands)
    if best is not None and best >= least:
        return ""
    shown = ", ".join(f"{n} {'flat' if c is None else f'{c:.2f}'}" for n, c in found.items())
    return f"fewer than {min(bands, len(found))} bands correlate by {least:g} ({shown})"


def noted(found: Mapping[str, float | None], shift: Shift | None) -> dict[str, Any]:
    """Return what a store keeps of the agreement of a date, as JSON values."""
    return {
        "correlation": {n: None if c is None else round(c, 4) for n, c in found.items()},
        "shift": None if shift is None else [shift.rows, shift.columns],
        "shifted": shift is not None and shift.apart > FLAG,
    }


def change(one: Plane, other: Plane, both: Bool) -> float | None:
    """Return 1 − the mean over bands of the correlation of two dates; None if none has one.

    Args:
        one, other: ``(C, h, w)``; ``both`` ``(h, w)``.
    """
    found = [correlation(a, b, both) for a, b in zip(one, other, strict=True)]
    known = [c for c in found if c is not None]
    return round(1 - sum(known) / len(known), 4) if known else None


def shift_of(fine: Plane, valid: Bool, coarse: Plane, seen: Bool, ratio: int) -> Shift | None:
    """Return where block means of the fine image agree best with the coarse one.

    The blocks are moved by whole fine pixels, 1 / ratio of a coarse one, within ``REACH`` each
    way: first in steps of a quarter of a coarse pixel, then pixel by pixel around the best.

    Args:
        fine, valid: ``(H, W)``; ``coarse``, ``seen``: ``(H / ratio, W / ratio)``.

    Returns:
        None where too little is valid, or a plane is flat.
    """
    rim = int(np.ceil(REACH))
    if min(coarse.shape) <= 2 * rim:
        return None
    total = _summed(np.where(valid, fine, 0).astype(np.float64))
    count = _summed(valid.astype(np.float64))
    inner = tuple(slice(rim, size - rim) for size in coarse.shape)
    rows, columns = (np.arange(rim, size - rim) * ratio for size in coarse.shape)

    def agreement(place: tuple[int, int]) -> tuple[float, int, int, int]:
        at = (rows + place[0], columns + place[1], ratio)
        number = _blocks(count, *at)
        both = seen[inner] & (number >= SEEN * ratio**2)
        found = correlation(_blocks(total, *at) / np.maximum(number, 1), coarse[inner], both)
        return -2.0 if found is None else found, -abs(place[0]) - abs(place[1]), *place

    reach, step = round(REACH * ratio), max(1, ratio // _COARSE_STEPS)
    steps = range(-(reach // step) * step, reach + 1, step)
    best = max(map(agreement, product(steps, steps)))
    if best[0] < -1.0:
        return None
    below, beside = (range(max(c - step + 1, -reach), min(c + step, reach + 1)) for c in best[2:])
    value, _, down, right = max(map(agreement, product(below, beside)))
    # What the coarse image shows here lies further down in the fine one: it was moved up.
    return Shift(-down / ratio + 0.0, -right / ratio + 0.0, value)


def _summed(plane: Plane) -> Plane:
    """Sums over all above and left, with a row and a column of zeros before them."""
    return np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _blocks(summed: Plane, rows: Plane, columns: Plane, size: int) -> Plane:
    """Sums over squares of ``size`` pixels with these upper left corners."""
    top, bottom = summed[rows], summed[rows + size]
    return np.asarray(
        bottom[:, columns + size] - bottom[:, columns] - top[:, columns + size] + top[:, columns]
    )
