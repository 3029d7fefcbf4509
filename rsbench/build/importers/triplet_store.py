"""Writing the images of a fine and a coarse sensor of one place as a store of triplets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.importers.blocks import Block, cut
from rsbench.build.importers.geotiff_series import COMPOSITOR
from rsbench.build.importers.raster import Raster, require_plausible
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, PixelError
from rsbench.core.grid import Window
from rsbench.store.export.card import write_card
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.write import finalise, write_region

FINE, COARSE = "fine", "coarse"
_MOST_APART, _LEAST_APART = 5.0, 0.02
"""Medians of both sensors that differ by this factor, and by this reflectance, cannot be true."""

Read = Callable[[Raster, Window], tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]]
"""Stored numbers ``(C, h, w)`` of a window of a file, and where they are valid ``(h, w)``."""


@dataclass(frozen=True)
class SensorFiles:
    """One sensor's files in order of time, and how their numbers are to be read."""

    files: tuple[Raster, ...]
    times: tuple[date, ...]
    meta: SensorMeta
    nodata: float | None
    read: Read


Pair = tuple[SensorFiles, SensorFiles]


def _blocks(fine: Raster, size: int | None, ratio: int) -> tuple[Block, ...]:
    height, width = fine.grid.height, fine.grid.width
    if size is None:
        return (Block(0, 0, Window(0, 0, height, width), "test"),)
    if size % ratio:
        raise InputError(
            f"--region-size {size}",
            f"a coarse pixel spans {ratio} fine pixels",
            f"Give a multiple of {ratio}",
        )
    return cut(height, width, size)


def require_common(folder: Path, pair: Pair) -> None:
    """Refuse two sensors that share no two dates: one to start from, one to predict."""
    common = set(pair[0].times) & set(pair[1].times)
    if len(common) > 1:
        return
    if common:
        raise InputError(
            f"importing {folder}",
            f"the sensors share one date, {common.pop()}",
            "Add another: fusion goes from one date to another",
        )
    shown = (f"{sensor.times[0]} to {sensor.times[-1]}" for sensor in pair)
    raise InputError(
        f"importing {folder}",
        f"the fine images ({next(shown)}) and the coarse ones ({next(shown)}) have no date in "
        "common",
        "State one date for both images of a pair with --dates FILE.csv",
    )


def write_pair(
    folder: Path,
    root: Path,
    pair: Pair,
    *,
    kind: str,
    ratio: int,
    region_size: int | None,
) -> str:
    """Write a store into ``root`` and return its digest.

    Args:
        folder: where the files come from; it names the store.
        kind: kind of import.
        ratio: fine pixels along a coarse pixel of the files.
        region_size: cut the image into blocks of so many fine pixels; one region where None.
    """
    blocks = _blocks(pair[0].files[0], region_size, ratio)
    prefix = "".join(c if c.isalnum() or c in "_.-" else "-" for c in folder.resolve().name)
    common = sorted(set(pair[0].times) & set(pair[1].times))
    middles: list[list[list[float]]] = [[[] for _ in sensor.files] for sensor in pair]
    seen = np.zeros(len(pair[1].files), np.bool_)
    written = []
    for block in blocks:
        fine = _read(pair[0], block.window, middles[0])
        low = _read(pair[1], _coarser(block.window, ratio), middles[1])
        clear = low.valid.any(axis=(1, 2))
        seen |= clear
        if len(blocks) > 1 and not (clear.all() and fine.valid.any()):
            continue  # nothing is known of this block on some date
        name = f"{prefix}-r{block.row:02d}c{block.column:02d}"
        record = RegionRecord(name, block.split, {}, tuple(common) or pair[0].times)
        metas = {FINE: pair[0].meta, COARSE: pair[1].meta}
        write_region(root, record, {FINE: fine, COARSE: low}, metas)
        written.append(name)
    _require_seen(pair[1], seen)
    if not written:
        raise PixelError(
            f"importing {folder} in blocks of {region_size}",
            "in every block some coarse image has no valid pixel",
            "Give a larger --region-size",
        )
    for sensor, middle in zip(pair, middles, strict=True):
        require_plausible(sensor.files, sensor.meta, middle)
    _require_one_scale(folder, pair, middles)
    meta = StoreMeta(
        kind="triplets",
        recipe={
            "name": prefix,
            "importer": kind,
            "unit": pair[0].meta.unit,
            "ratio": ratio,
            "region_size": region_size,
            **{
                sensor.meta.name: {
                    "scale": sensor.meta.scale,
                    "offset": sensor.meta.offset,
                    "nodata": None if sensor.nodata is None else str(sensor.nodata),
                    "files": {r.path.name: sha256_file(r.path) for r in sensor.files},
                }
                for sensor in pair
            },
        },
        lock_digest=None,
        compositor=COMPOSITOR,
        simulated=False,
        complete=True,
        missing=(),
        step="irregular",
        default_preset="default",
        default_protocol="fusion2" if len(common) > 2 else "fusion1",
        sensors={FINE: pair[0].meta, COARSE: pair[1].meta},
    )
    digest = finalise(root, meta, regions=written)
    write_card(root)
    return digest


def _coarser(window: Window, ratio: int) -> Window:
    y, x, height, width = (n // ratio for n in (window.y, window.x, window.height, window.width))
    return Window(y, x, height, width)


def _read(sensor: SensorFiles, window: Window, middle: list[list[float]]) -> SensorArrays:
    """Read one window of every file; note the median of its valid numbers per file."""
    shape = (len(sensor.files), len(sensor.meta.bands), window.height, window.width)
    values = np.empty(shape, sensor.meta.dtype)
    valid = np.empty((shape[0], *shape[2:]), np.bool_)
    for t, raster in enumerate(sensor.files):
        pixels, valid[t] = sensor.read(raster, window)
        values[t] = np.where(valid[t], pixels, sensor.meta.nodata)
        if valid[t].any():
            middle[t].append(float(np.median(pixels[:, valid[t]])))
    grid = sensor.files[0].grid.window(window)
    return SensorArrays(values, valid, valid.astype(np.uint16), sensor.times, grid)


def _require_one_scale(
    folder: Path, pair: Pair, middles: Sequence[Sequence[Sequence[float]]]
) -> None:
    """Refuse two sensors whose reflectances of one ground are worlds apart: one scale is wrong."""
    if pair[0].meta.unit != "reflectance":
        return
    fine, low = (
        float(np.median([v for file in middle for v in file])) * s.meta.scale + s.meta.offset
        for s, middle in zip(pair, middles, strict=True)
    )
    if abs(fine - low) > _LEAST_APART and max(fine, low) > _MOST_APART * min(fine, low):
        raise InputError(
            f"importing {folder} as reflectance",
            f"the fine images have a median of {fine:.3g}, the coarse images {low:.3g}, of the "
            "same ground",
            "State the true scale of each with --scale and --coarse-scale, e.g. 1/255 of bytes",
        )


def _require_seen(low: SensorFiles, seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    for raster, any_valid in zip(low.files, seen, strict=True):
        if not any_valid:
            raise PixelError(
                f"importing {raster.path}",
                "none of its pixels is valid",
                "Remove it: a coarse image without a valid pixel says nothing of its date",
            )
