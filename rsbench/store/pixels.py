"""Checks of arrays before writing, and conversion of stored numbers to physical values."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window
from rsbench.store.layout import Array, SensorArrays, SensorMeta


def canonical_arrays(name: str, arrays: SensorArrays, meta: SensorMeta) -> SensorArrays:
    """Check the arrays of a region; return them with nodata in every invalid pixel.

    So the digest does not depend on the values of invalid pixels.

    Raises:
        InputError: if shapes, types or dates do not fit together.
        PixelError: if a valid pixel is NaN or infinite.
    """
    asked = f"region {name}, sensor {meta.name}"
    _require_shapes(asked, arrays, meta)
    values = arrays.values
    if values.dtype.kind == "f":
        _require_finite(asked, arrays, meta)
    nodata = np.asarray(meta.nodata, dtype=values.dtype)
    frames = zip(values, arrays.valid, strict=True)
    if all((frame[:, ~valid] == nodata).all() for frame, valid in frames):
        return arrays  # without a copy, which would double the memory
    values = np.where(~arrays.valid[:, None], nodata, values)
    return dataclasses.replace(arrays, values=values)


def _require_shapes(asked: str, arrays: SensorArrays, meta: SensorMeta) -> None:
    t, c, grid = len(arrays.times), len(meta.bands), arrays.grid
    cube, plane = (t, c, grid.height, grid.width), (t, grid.height, grid.width)
    wanted = {
        "values": (cube, meta.dtype),
        "valid": (plane, "bool"),
        "n_valid": (plane, "uint16"),
        "odd": (cube, meta.dtype),
        "even": (cube, meta.dtype),
        "spread": (cube, "uint16"),
        "source": (plane, "uint16"),
        "labels": (plane, "uint8"),
    }
    for key, array in arrays.named().items():
        shape, dtype = wanted[key]
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise InputError(
                f"{asked}, array {key}",
                f"{array.dtype} {array.shape}",
                f"Dates, bands and grid require {dtype} {shape}",
            )
    if t == 0 or any(a >= b for a, b in zip(arrays.times, arrays.times[1:], strict=False)):
        raise InputError(
            asked, f"dates {[str(d) for d in arrays.times]}", "Give them once each, ascending"
        )


def _require_finite(asked: str, arrays: SensorArrays, meta: SensorMeta) -> None:
    for key in ("values", "odd", "even"):
        array = getattr(arrays, key)
        if array is None:
            continue
        shown = arrays.valid[:, None] if key == "values" else True
        bad = ~np.isfinite(array) & shown
        if bad.any():
            t, c = (int(i) for i in np.argwhere(bad.any(axis=(2, 3)))[0])
            raise PixelError(
                f"{asked}, array {key}",
                f"{int(bad.sum())} NaN or infinite pixels that are not masked, "
                f"first at {arrays.times[t]}, band {meta.bands[c]}",
                "Give the nodata value of the source, or mask these pixels",
            )


def physical(
    raw: Array, meta: SensorMeta, valid: Array | None = None, out: Array | None = None
) -> npt.NDArray[np.float32]:
    """Return ``stored · scale + offset`` in float32; 0 where ``valid`` is False.

    Args:
        raw: ``(…, C, H, W)`` stored numbers.
        valid: ``(…, H, W)`` bool.
        out: float32 array of the shape of ``raw`` to write into.
    """
    result: npt.NDArray[np.float32] = np.empty(raw.shape, dtype=np.float32) if out is None else out
    np.multiply(raw, np.float32(meta.scale), out=result, dtype=np.float32, casting="unsafe")
    if meta.offset:
        result += np.float32(meta.offset)
    if valid is not None:
        np.copyto(result, np.float32(0), where=~valid[..., None, :, :])
    return result


def require_inside(window: Window, height: int, width: int, region: str) -> None:
    """Raise if a window is not inside its region; slices would be truncated silently.

    Raises:
        InputError: if a pixel of the window is outside ``height`` × ``width``.
    """
    if not (0 <= window.y <= height - window.height and 0 <= window.x <= width - window.width):
        raise InputError(
            f"window {window.height}×{window.width} at row {window.y}, column {window.x}",
            f"region {region} has {height}×{width} pixels",
            "Choose a window inside the region",
        )
