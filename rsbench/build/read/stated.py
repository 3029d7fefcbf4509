"""What a file of a catalogue states of its own numbers: missing pixels, scale and offset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.read.grids import GridMismatchError
from rsbench.build.read.radiometry import FLOAT32, band_states

Pixels = npt.NDArray[Any]
Rule = tuple[float, float]
"""Scale and offset of a file's numbers as the catalogue has them."""


def require_rule(data: Any, indexes: Sequence[int], rule: Rule) -> None:
    """Refuse a raster whose own scale or offset contradicts the catalogue's.

    Args:
        data: the raster, opened by rasterio; it may state neither.
        indexes: the bands, counted from 1.
        rule: what the catalogue says.

    Raises:
        GridMismatchError: if so.
        InputError: if the file contradicts itself.
    """
    for index in indexes:
        scale, offset = (
            band_states(Path(data.name), data, index - 1, n) for n in ("scale", "offset")
        )
        close = math.isclose(offset, rule[1], rel_tol=FLOAT32, abs_tol=1e-8)
        if (scale, offset) != (1.0, 0.0) and not (
            close and math.isclose(scale, rule[0], rel_tol=FLOAT32)
        ):
            raise GridMismatchError(
                f"its file states scale {scale:g} and offset {offset:g}, the catalogue's rule "
                f"gives {rule[0]:g} and {rule[1]:g}"
            )


def mark_missing(
    data: Any, indexes: Sequence[int], window: Any, pixels: Pixels, nodata: float
) -> None:
    """Set pixels ``(n, h, w)`` that a file states as missing to the sensor's number, in place.

    A nodata tag and a mask of the file count. An alpha band does not: which bands a file has is
    known, and the infrared of some photographs is marked as alpha.

    Args:
        data: the raster, opened by rasterio.
        indexes: the bands, counted from 1.
        window: of the pixels.
        pixels: its stored numbers.
        nodata: of the sensor.
    """
    from rasterio.enums import MaskFlags

    for plane, index in zip(pixels, indexes, strict=True):
        tag = data.nodatavals[index - 1]
        if tag is not None and tag != nodata:
            plane[np.isnan(plane) if math.isnan(tag) else plane == tag] = nodata
    flags = data.mask_flag_enums[indexes[0] - 1]
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        pixels[:, data.read_masks(indexes[0], window=window) == 0] = nodata
