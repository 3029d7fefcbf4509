"""Images that are no GeoTIFFs: NumPy arrays, and flat binaries with an ENVI header beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError, first_line

ARRAY, ENVI = "npy", "ENVI"


def open_array(path: Path, bands: int) -> npt.NDArray[Any]:
    """Return a memory-mapped view ``(C, H, W)`` of a ``.npy`` file; nothing is unpickled.

    Args:
        path: the file; its array is ``(C, H, W)``, ``(H, W, C)`` or, for one band, ``(H, W)``.
        bands: number of bands C; used to identify the axes.

    Raises:
        InputError: if it is no plain array, or no axis can be that of the bands.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, TokenError) as error:
        raise InputError(
            f"reading {path}", f"it is no plain array ({first_line(error)})", "Repair it"
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


def header_of(path: Path) -> Path:
    """Return the ENVI header of a flat binary: ``FILE.hdr``, or the suffix replaced by ``.hdr``.

    Raises:
        InputError: if there is none, or it is no ENVI header.
    """
    places = (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr"))
    found = next((p for p in places if p != path and p.is_file()), None)
    if found is None:
        raise InputError(
            f"reading {path}",
            f"there is neither {' nor '.join(p.name for p in places)} beside it",
            "Put its ENVI header there, or convert it to GeoTIFF",
        )
    with found.open("rb") as file:
        if not file.read(64).lstrip().upper().startswith(b"ENVI"):
            raise InputError(f"reading {found}", "it does not begin with ENVI", "Repair the header")
    return found


def require_size(path: Path, data: Any, header: Mapping[str, str]) -> None:
    """Refuse a flat binary whose size is not the one its header states.

    Args:
        path: the binary.
        data: it, opened by rasterio.
        header: entries of its header, as GDAL names them.

    Raises:
        InputError: if so.
    """
    pixels = int(data.count) * int(data.height) * int(data.width)
    stated = int(header.get("header_offset", 0)) + pixels * np.dtype(data.dtypes[0]).itemsize
    held = path.stat().st_size
    if held != stated:
        raise InputError(
            f"reading {path}",
            f"it has {held} bytes, its header states {stated}",
            "Bring file and header of one image together",
        )


def header_crs(header: Mapping[str, str]) -> str | None:
    """Return the coordinate system of ``map info`` in WGS 84; None for others and for none.

    GDAL takes a UTM zone without a datum for NAD 27; published files without one are in WGS 84.
    """
    parts = [part.strip() for part in header.get("map_info", "").strip("{}").split(",")]
    name = parts[0].lower()
    if name.startswith("utm") and len(parts) >= 9 and parts[7].isdigit():
        return f"EPSG:{32600 + int(parts[7]) + (100 if parts[8].lower().startswith('s') else 0)}"
    return "EPSG:4326" if name.startswith("geographic") and len(parts) >= 7 else None
