"""Stored numbers of rasters, and where a file says that something is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.build.importers.flat_files import ARRAY, open_array
from rsbench.build.importers.onto import part_of
from rsbench.build.importers.raster import Mask, Pixels, Raster, opened
from rsbench.build.importers.zarr_cubes import ZARR, read_band
from rsbench.build.read.blocks import DamagedBlockError
from rsbench.build.read.opened import DRIVER, checked
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window, nesting


def read_part(raster: Raster, window: Window) -> tuple[Pixels, Mask]:
    """Return the stored numbers of a window, and where the file says that something is there.

    Returns:
        ``(C, h, w)`` in the machine's byte order, and ``(h, w)``: false where a mask of the file
        (internal or ``.msk``) or its alpha band is 0. Nodata numbers are not looked at.

    Raises:
        InputError: if the file is damaged, or a band marked as alpha holds more than a mask.
    """
    from rasterio.windows import Window as Part

    if raster.native is not None:
        return _onto(raster, raster.native, window)
    if raster.mask is not None:
        pixels, present = read_part(replace(raster, mask=None), window)
        return pixels, present & _unmasked(raster, raster.mask, window)
    if raster.parts:
        read = [read_part(part, window) for part in raster.parts]
        pixels = np.concatenate([stored for stored, _ in read])
        return pixels, np.logical_and.reduce([mask for _, mask in read])
    if raster.south_up:
        below = raster.grid.height - window.y - window.height
        turned = Window(below, window.x, window.height, window.width)
        pixels, mask = read_part(replace(raster, south_up=False), turned)
        return np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(mask[::-1])
    if raster.driver == ARRAY:
        rows, columns = window.slices
        part = open_array(raster.path, raster.bands)[:, rows, columns]
        pixels = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("="), copy=False))
        return pixels, np.ones(pixels.shape[1:], np.bool_)
    if raster.driver == ZARR:
        at = raster.only[0] - 1 if raster.only else None
        pixels = read_band(raster.path, raster.source, raster.variable, at, window)
        return pixels, np.ones(pixels.shape[1:], np.bool_)
    with opened(raster.path, raster.driver, raster.source) as data, damage_refused(raster.path):
        area = Part(window.x, window.y, window.width, window.height)
        numbers = raster.only or range(1, raster.bands + 1)
        pixels = np.asarray(_pixels(raster, data, list(numbers), area))
        return pixels, _present(raster, data, area)


@contextmanager
def damage_refused(path: Path) -> Iterator[None]:
    """Refuse a file if reading its pixels fails.

    Raises:
        InputError: if so.
    """
    from rasterio.errors import RasterioError

    try:
        yield
    except (RasterioError, DamagedBlockError) as error:
        said = str(error) if isinstance(error, DamagedBlockError) else type(error).__name__
        raise InputError(f"reading {path}", f"it is damaged ({said})", "Repair it") from error


def _pixels(raster: Raster, data: Any, numbers: list[int], area: Any) -> Pixels:
    """Return pixels of a file; compressed blocks of a GeoTIFF are checked."""
    if raster.driver != DRIVER:
        return np.asarray(data.read(numbers, window=area))
    with checked(data, raster.path) as whole:
        return whole.read(numbers, area)


def _onto(raster: Raster, native: Grid, window: Window) -> tuple[Pixels, Mask]:
    """Return a window of another grid: of each pixel the number of the file's pixel under it."""
    part, rows, columns, inside = part_of(raster.grid.window(window), native)
    if part is None:
        empty = np.zeros((raster.bands, window.height, window.width), raster.dtype)
        return empty, inside
    pixels, present = read_part(replace(raster, grid=native, native=None), part)
    return pixels[:, rows, columns], present[rows, columns] & inside


def _unmasked(raster: Raster, mask: Raster, window: Window) -> Mask:
    """Return where a mask file, perhaps of coarser pixels, shows a window as valid."""
    ratio = nesting(raster.grid, mask.grid, mask.path.name)
    top, left = window.y // ratio, window.x // ratio
    below, right = -(-(window.y + window.height) // ratio), -(-(window.x + window.width) // ratio)
    stored, present = read_part(mask, Window(top, left, below - top, right - left))
    shown = np.isin(stored[0], raster.mask_valid) & present
    rows, columns = window.y - top * ratio, window.x - left * ratio
    whole = shown.repeat(ratio, axis=0).repeat(ratio, axis=1)
    part: Mask = whole[rows : rows + window.height, columns : columns + window.width]
    return part


def _present(raster: Raster, data: Any, area: Any) -> Mask:
    """Return where mask and alpha band show a pixel ``(h, w)``."""
    from rasterio.enums import MaskFlags

    present = np.ones((int(area.height), int(area.width)), np.bool_)
    flags = data.mask_flag_enums[0]
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        present &= data.read_masks(1, window=area) != 0
    if raster.alpha is not None:
        alpha = _pixels(raster, data, [raster.alpha], area)[0]
        top = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1
        if not np.isin(alpha, (0, 1, 255, top)).all():
            raise InputError(
                f"importing {raster.path}",
                f"its band {raster.alpha} is marked as alpha, but holds more than present and "
                "absent",
                "If it is data, name all bands with --bands; else make it 0 or 255",
            )
        present &= alpha != 0
    return present
