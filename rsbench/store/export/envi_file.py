"""One flat binary with an ENVI header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.core.io import write_atomic

TYPES = {"uint8": 1, "float32": 4}
"""Types that are written, and their numbers in ENVI headers."""


def write_envi(path: Path, values: npt.NDArray[Any], grid: Grid, bands: Sequence[str]) -> None:
    """Write ``(C, H, W)`` uint8 or float32 as bands one after the other, and the header beside it.

    Args:
        path: the binary; the header has the suffix ``.hdr`` in place of its own.
        values: the numbers.
        grid: their place.
        bands: names along C.

    Raises:
        InputError: if the type is another, or the grid is rotated.
        DiskFull: if the disk is full.
    """
    a, b, c, d, e, f = grid.transform
    kind = values.dtype.name
    if kind not in TYPES or b or d:
        found = f"numbers of {kind}" if kind not in TYPES else "a rotated grid"
        raise InputError(f"writing {path}", found, "Write uint8 or float32 on a north-up grid")
    held = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    lines = [
        "ENVI", f"samples = {grid.width}", f"lines = {grid.height}", f"bands = {len(values)}",
        "header offset = 0", "file type = ENVI Standard", f"data type = {TYPES[kind]}",
        "interleave = bsq", "byte order = 0",
        f"map info = {{Arbitrary, 1, 1, {c!r}, {f!r}, {a!r}, {-e!r}, 0, North}}",
        f"coordinate system string = {{{_wkt(grid.crs)}}}",
        f"band names = {{{', '.join(bands)}}}", "",
    ]  # fmt: skip
    write_atomic(path, held.tobytes())
    write_atomic(path.with_suffix(".hdr"), "\n".join(lines))


def _wkt(crs: str) -> str:
    """Return a coordinate system in the words of ESRI, as ENVI reads it."""
    from pyproj import CRS

    return str(CRS.from_user_input(crs).to_wkt("WKT1_ESRI"))
