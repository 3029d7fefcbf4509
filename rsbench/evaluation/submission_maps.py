"""Predictions made elsewhere that are maps of class codes: one band of integers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError

if TYPE_CHECKING:
    from rsbench.core.grid import Window
    from rsbench.tasks.base import Asked

NO_PROBABILITIES = "the predictions are maps of class codes, which hold no probabilities"


def is_class_map(item: Asked[Any], shape: tuple[int, ...], dtype: Any) -> bool:
    """Return whether an array is one band of integers for every target, ``(L, 1, H, W)``."""
    whole = (len(item.targets), 1, item.grid.height, item.grid.width)
    return shape == whole and np.dtype(dtype).kind in "iu"


def one_hot(
    codes: npt.NDArray[Any], classes: Mapping[int, int], item: Asked[Any], window: Window
) -> npt.NDArray[np.float32]:
    """Return ``(K, h, w)``: 1 for the class of a pixel and 0 for the others.

    Args:
        codes: ``(h, w)`` integers.
        classes: code → index of its class.
        item: what was asked for.
        window: rows and columns of the codes, for the message.

    Raises:
        InputError: for a code that is no class, with the first pixel.
    """
    values = np.zeros((max(classes.values()) + 1, *codes.shape), np.float32)
    known = np.zeros(codes.shape, np.bool_)
    for code, place in classes.items():
        here = codes == code
        values[place][here] = 1
        known |= here
    if not known.all():
        row, column = (int(place) for place in np.argwhere(~known)[0])
        odd = ", ".join(map(str, np.unique(codes[~known])[:8].tolist()))
        raise InputError(
            f"the prediction of {item}",
            f"{int((~known).sum())} pixels have the code {odd}, which is no class, the first at "
            f"row {window.y + row}, column {window.x + column}",
            f"Write a code of task.json in every pixel: {', '.join(map(str, sorted(classes)))}",
        )
    return values
