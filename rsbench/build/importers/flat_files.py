"""Images that are no GeoTIFFs: NumPy arrays, and flat binaries with an ENVI header beside them.

Both are read through memory maps, and nothing in them is ever executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window

_TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2"}
_AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (2, 0, 1)}
"""Where bands, rows and columns stand in the file's own order of axes."""
_ENTRY = re.compile(r"^\s*([^=\n]+?)\s*=\s*(\{[^}]*\}|[^\n]*)", re.MULTILINE)


@dataclass(frozen=True)
class FlatImage:
    """A memory-mapped image.

    Args:
        pixels: a view ``(C, H, W)`` of the file.
        nodata: the header's own; None where it states none.
        grid: the header's own; None where it states none that can be used.
    """

    pixels: npt.NDArray[Any]
    nodata: float | None
    grid: Grid | None


def open_flat(path: Path, bands: int) -> FlatImage:
    """Open a ``.npy`` file, or a flat binary whose header is called ``FILE.hdr`` or as the file.

    Args:
        bands: how many bands there must be; tells the axes of an array apart.

    Raises:
        InputError: if header, size or number of bands cannot be used.
    """
    if path.suffix.lower() == ".npy":
        return FlatImage(_array(path, bands), None, None)
    return _envi(path, header_of(path), bands)


def header_of(path: Path) -> Path:
    """Return the header of a flat binary.

    Raises:
        InputError: if there is none.
    """
    places = (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr"))
    found = next((p for p in places if p != path and p.is_file()), None)
    if found is None:
        raise InputError(
            f"reading {path}",
            f"there is neither {' nor '.join(p.name for p in places)} beside it",
            "Put its ENVI header there, or convert it to GeoTIFF",
        )
    return found


def read_flat(image: FlatImage, window: Window) -> npt.NDArray[Any]:
    """Return ``(C, h, w)`` in the machine's byte order."""
    rows, columns = window.slices
    part = image.pixels[:, rows, columns]
    return np.ascontiguousarray(part.astype(part.dtype.newbyteorder("="), copy=False))


def _array(path: Path, bands: int) -> npt.NDArray[Any]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"reading {path}", f"it is no plain array ({error})", "Repair it"
        ) from error
    if values.ndim == 2 and bands == 1:
        return np.asarray(values)[None]
    axes = [axis for axis in (0, 2) if values.ndim == 3 and values.shape[axis] == bands]
    if len(axes) != 1:
        raise InputError(
            f"reading {path}",
            f"its shape is {values.shape}, and {bands} bands stand "
            + ("first and last" if axes else "neither first nor last"),
            "Store it as (bands, rows, columns)",
        )
    return np.moveaxis(values, axes[0], 0)


def _envi(path: Path, header: Path, bands: int) -> FlatImage:
    entries = _entries(header)
    try:
        sizes = {"bands": int(entries["bands"]), "lines": int(entries["lines"]),
                 "samples": int(entries["samples"])}  # fmt: skip
        code, layout = int(entries["data type"]), entries.get("interleave", "bsq").lower()
        start, order = int(entries.get("header offset", "0")), int(entries.get("byte order", "0"))
        dtype = np.dtype(_TYPES[code]).newbyteorder("<" if order == 0 else ">")
        axes = _AXES[layout]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"reading {header}",
            f"samples, lines, bands, data type and interleave cannot be told from it ({error})",
            "Repair the header",
        ) from error
    if sizes["bands"] != bands:
        raise InputError(
            f"reading {path}", f"it has {sizes['bands']} bands, not {bands}", "Leave it out"
        )
    by_axis = (sizes["bands"], sizes["lines"], sizes["samples"])
    shape = tuple(by_axis[axes.index(axis)] for axis in range(3))
    wanted = start + int(np.prod(shape)) * dtype.itemsize
    if path.stat().st_size != wanted:
        raise InputError(
            f"reading {path}",
            f"it has {path.stat().st_size} bytes, its header speaks of {wanted}",
            "Bring file and header of one image together",
        )
    raw = np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
    nodata = entries.get("data ignore value")
    return FlatImage(
        raw.transpose(axes), None if nodata is None else float(nodata), _grid(entries, by_axis)
    )


def _entries(header: Path) -> dict[str, str]:
    text = header.read_text(encoding="latin-1")
    if not text.lstrip().upper().startswith("ENVI"):
        raise InputError(f"reading {header}", "it does not begin with ENVI", "Repair the header")
    return {key.lower(): value.strip() for key, value in _ENTRY.findall(text)}


def _grid(entries: dict[str, str], sizes: tuple[int, int, int]) -> Grid | None:
    """Return the grid of a map in UTM or in degrees; None for others and for none at all."""
    parts = [p.strip() for p in entries.get("map info", "").strip("{}").split(",")]
    if len(parts) < 7:
        return None
    try:
        column, row, x, y, wide, high = (float(p) for p in parts[1:7])
    except ValueError:
        return None
    name = parts[0].lower()
    if name.startswith("utm") and len(parts) >= 9 and parts[7].isdigit():
        crs = f"EPSG:{32600 + int(parts[7]) + (100 if parts[8].lower().startswith('s') else 0)}"
    elif name.startswith("geographic"):
        crs = "EPSG:4326"
    else:
        return None
    corner = (x - (column - 1) * wide, y + (row - 1) * high)
    return Grid(crs, (wide, 0.0, corner[0], 0.0, -high, corner[1]), sizes[1], sizes[2])
