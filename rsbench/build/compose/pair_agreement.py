"""Agreement of the fine and the coarse image of a pair: correlation by band, and shift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.compose.registration import measure

Plane = npt.NDArray[np.float64]
Planes = Mapping[str, tuple[Plane, Plane]]
"""Name of a band → fine and coarse image on coarse pixels, less their means."""


def centred(
    fine: npt.NDArray[Any], coarse: npt.NDArray[Any], clear: npt.NDArray[np.bool_],
    bands: Mapping[str, tuple[int, int]],
) -> dict[str, tuple[Plane, Plane]]:  # fmt: skip
    """Return both images on coarse pixels, less their mean over clear pixels, and 0 elsewhere.

    Args:
        fine: ``(C, kH, kW)``.
        coarse: ``(C', H, W)``.
        clear: ``(H, W)``, true somewhere.
        bands: name → index of the band in ``fine`` and in ``coarse``.
    """
    height, width = clear.shape
    k = fine.shape[1] // height
    low = fine.reshape(len(fine), height, k, width, k).mean(axis=(2, 4), dtype=np.float64)
    planes = {}
    for name, (i, j) in bands.items():
        one, other = low[i], coarse[j].astype(np.float64)
        one, other = (np.where(clear, plane - plane[clear].mean(), 0.0) for plane in (one, other))
        planes[name] = one, other
    return planes


def correlations(planes: Planes) -> dict[str, float]:
    """Return the correlation of every band in which neither image is flat."""
    norms = {name: np.sqrt((one**2).sum() * (other**2).sum()) for name, (one, other) in
             planes.items()}  # fmt: skip
    return {
        name: round(float((one * other).sum() / norms[name]), 4)
        for name, (one, other) in planes.items()
        if norms[name] > 0
    }


def shift(planes: Planes) -> tuple[float, float]:
    """Return how many coarse pixels the coarse image lies below and right of the fine one.

    Measured in the red band, else in the first by name.
    """
    planes_of = planes["red" if "red" in planes else min(planes)]
    fade = np.outer(*(np.hanning(size) for size in planes_of[0].shape))
    reference, moved = (plane * fade for plane in planes_of)
    return measure(reference, moved)
