"""Reading pixels: rasterio windows in threads, straight into integer planes.

Nothing is resampled. A raster must lie on the grid that is asked for, or on one whose pixels are
a whole multiple of it (20 m bands on a 10 m grid), which are repeated. A read that fails after
three tries is an error with item, asset and cause; it never becomes pixels.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from rsbench.build.plan.href import is_web, require_public, resolve_href
from rsbench.build.plan.lock import LockAsset
from rsbench.build.read.signing import signer
from rsbench.core.errors import InputError, UnitFailed
from rsbench.core.grid import Grid

Pixels = npt.NDArray[Any]
T = TypeVar("T")

TRIES = 3
REMOTE_THREADS = 24
DRIVER = "GTiff"
"""GDAL drivers that may open a raster; a VRT, for one, could name any local file."""

GDAL_ENV: dict[str, str | int] = {
    # No directory listings and no side files: 5 requests for a window instead of 15.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_CACHEMAX": 64 << 20,  # bytes
}

_LATTICE = 1e-3
_tries = itertools.count(2)


@dataclass(frozen=True, slots=True)
class Scene:
    """What to read of one item: a layer (band or mask) per plane."""

    item: str
    layers: tuple[tuple[str, LockAsset], ...]


@dataclass(frozen=True, slots=True)
class Derived:
    """What is kept instead of the pixels: ``make`` of numbers read as ``dtype``, value by value.

    It is made of a raster's own pixels, before 20 m ones are repeated on a 10 m grid.
    """

    dtype: Any
    make: Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What all files of one call are read for.

    Args:
        grid: of the pixels.
        whole: every raster must cover the grid; else what it does not cover is ``nodata``.
        nodata: of the sensor, or of its quality layers.
        derived: what is kept instead of the pixels; None for the pixels themselves.
    """

    grid: Grid
    whole: bool
    nodata: int
    derived: Derived | None = None


class Engine(Protocol):
    """Fills ``(T, C, H, W)`` integer arrays from scenes; ``bytes`` of them so far."""

    bytes: int

    def fill(self, out: Pixels, scenes: Sequence[Scene], asked: Asked) -> None:
        """Read layer ``c`` of scene ``t`` into ``out[t, c]``, or what is made of it."""

    def close(self) -> None:
        """Stop reading and free the threads."""


class NoEngine:
    """An engine for builders that must not read."""

    bytes = 0

    def fill(self, out: Pixels, scenes: Sequence[Scene], asked: Asked) -> None:
        """Refuse."""
        raise UnitFailed(
            f"reading {len(scenes)} scenes", "this step reads nothing", "Run the missing part again"
        )

    def close(self) -> None:
        """Nothing is open."""


class GridMismatchError(Exception):
    """A raster lies on another grid than asked; reading it again would not help."""


class RasterioEngine:
    """The default engine."""

    def __init__(self, catalogue: str, signing: str = "none", threads: int | None = None) -> None:
        self._catalogue = catalogue
        self._sign = signer(signing)
        remote = is_web(catalogue)
        local = min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(
            threads or (REMOTE_THREADS if remote else local), thread_name_prefix="rsbench-read"
        )
        self._stop = threading.Event()
        self.bytes = 0
        _hide_queries()

    def fill(self, out: Pixels, scenes: Sequence[Scene], asked: Asked) -> None:
        """See :class:`Engine`; one task per file, so that a file is opened once."""
        tasks = []
        for t, scene in enumerate(scenes):
            by_file: dict[str, list[int]] = {}
            for c, (_, asset) in enumerate(scene.layers):
                by_file.setdefault(asset.href, []).append(c)
            for href, planes in by_file.items():
                tasks.append(self._pool.submit(self._read, out[t], scene, href, planes, asked))
        try:
            for task in tasks:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
        self.bytes += out.nbytes

    def close(self) -> None:
        """See :class:`Engine`."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _read(
        self, out: Pixels, scene: Scene, href: str, planes: Sequence[int], asked: Asked
    ) -> None:
        indexes = [scene.layers[c][1].index for c in planes]
        names = ", ".join(scene.layers[c][0] for c in planes)
        first = planes[0]
        together = list(planes) == list(range(first, first + len(planes)))

        def read(path: str) -> Pixels:
            return read_window(
                path,
                indexes,
                asked.grid,
                out.dtype,
                whole=asked.whole,
                nodata=asked.nodata,
                derived=asked.derived,
                into=out[first : first + len(planes)] if together else None,
            )

        pixels = self.attempt(scene.item, names, href, read)
        if not np.shares_memory(pixels, out):
            for plane, c in zip(pixels, planes, strict=True):
                out[c] = plane

    def attempt(self, item: str, names: str, href: str, read: Callable[[str], T]) -> T:
        """Return what ``read`` makes of a file, tried three times at newly signed addresses.

        Args:
            item, names: what is read, for the error.
            href: the link that a lock keeps.
            read: takes a path for GDAL.

        Raises:
            UnitFailed: naming item, asset and cause.
        """
        from rasterio.errors import RasterioError
        from requests.exceptions import RequestException

        cause = "the build was stopped"
        for number in range(TRIES):
            if self._stop.is_set():
                break
            if number:
                time.sleep(0.25 * 2**number if is_web(self._catalogue) else 0.0)
            try:
                return read(self._address(href, number))
            except (GridMismatchError, InputError) as error:
                cause = error.found if isinstance(error, InputError) else str(error)
                break
            except (RasterioError, RequestException, OSError, ValueError, MemoryError) as error:
                cause = f"{without_queries(str(error))} ({type(error).__name__})"
        # Raised outside of `except`: the first error may carry a signed address.
        raise UnitFailed(
            f"reading {names} of item {item}",
            f"{cause}; file {href}",
            "Run the same build again, it goes on from here; or leave the item out",
        )

    def _address(self, href: str, attempt: int) -> str:
        full = resolve_href(href, self._catalogue)
        if not is_web(full):
            return full
        require_public(full, self._catalogue)
        signed = self._sign(full, attempt)
        if attempt:
            # GDAL remembers a failed address for the whole process, so one is needed that no other
            # unit has tried either.
            signed += f"{'&' if '?' in signed else '?'}try={next(_tries)}"
        return f"/vsicurl/{signed}"


def read_window(
    path: str,
    indexes: Sequence[int],
    grid: Grid,
    dtype: Any,
    *,
    whole: bool,
    nodata: int,
    derived: Derived | None = None,
    into: Pixels | None = None,
) -> Pixels:
    """Return ``(n, H, W)`` pixels of some bands of one raster on a grid.

    Args:
        derived: see :class:`Engine`; ``dtype`` is then the type of what is made.
        into: an array of the answer's shape and type that may be filled and returned.

    Raises:
        GridMismatchError: if the raster has no CRS, another CRS, other pixels or another type.
    """
    import rasterio
    from rasterio.windows import Window as Part

    held = np.dtype(dtype if derived is None else derived.dtype)
    with rasterio.Env(**GDAL_ENV), rasterio.open(path, driver=DRIVER, sharing=False) as data:
        require_bands(data, indexes, held)
        factor, row, col = place_raster(data, grid)
        top, left = max(row, 0), max(col, 0)
        bottom = min(row + grid.height, data.height * factor)
        right = min(col + grid.width, data.width * factor)
        inside = bottom > top and right > left
        full = (bottom - top, right - left) == (grid.height, grid.width)
        if not inside or (whole and not full):
            raise GridMismatchError(
                f"the raster of {data.width}×{data.height} pixels "
                f"{'covers only a part of' if inside else 'lies outside'} the region"
            )
        first_row, first_col = top // factor, left // factor
        part = Part(
            first_col, first_row, -(-right // factor) - first_col, -(-bottom // factor) - first_row
        )
        if into is not None and full and factor == 1 and derived is None:
            return cast(Pixels, data.read(list(indexes), window=part, out=into))
        pixels = data.read(list(indexes), window=part)
    pixels = pixels.astype(held, copy=False)
    outside: Any = nodata
    if derived is not None:
        pixels = derived.make(pixels)
        outside = derived.make(np.array([nodata], held))[0]
    if factor > 1:
        pixels = pixels.repeat(factor, axis=2).repeat(factor, axis=1)
        y, x = top - first_row * factor, left - first_col * factor
        pixels = pixels[:, y : y + bottom - top, x : x + right - left]
    if full:
        return cast(Pixels, pixels)
    out = np.full((len(indexes), grid.height, grid.width), outside, dtype)
    out[:, top - row : bottom - row, left - col : right - col] = pixels
    return out


def require_bands(data: Any, indexes: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse a raster without these bands, or with numbers of another type.

    Raises:
        GridMismatchError: if so.
    """
    for index in indexes:
        if not 1 <= index <= data.count:
            raise GridMismatchError(f"band {index} is asked of a raster with {data.count}")
        held = np.dtype(data.dtypes[index - 1])
        # Quality layers come as uint8 or uint16 and are read as uint16; nothing may be cut off.
        if held != dtype and not (held == np.uint8 and dtype == np.uint16):
            raise GridMismatchError(f"its numbers are {held}, {dtype} is asked")


def place_raster(data: Any, grid: Grid) -> tuple[int, int, int]:
    """Return how many grid pixels one raster pixel spans and the grid's row and column in it.

    Raises:
        GridMismatchError: if its pixels are not those of the grid, or whole blocks of them.
    """
    from rasterio.crs import CRS

    if data.crs is None:
        raise GridMismatchError("the raster has no CRS")
    asked = CRS.from_user_input(grid.crs)
    # Files spell one system in several ways (names, datum shifts); the same code is the same.
    if data.crs != asked and (asked.to_epsg() is None or data.crs.to_epsg() != asked.to_epsg()):
        raise GridMismatchError(f"its CRS is {_crs_name(data.crs)}, the region's {grid.crs}")
    a, b, c, d, e, f = tuple(data.transform)[:6]
    ga, _, gc, _, ge, gf = grid.transform
    factor = round(a / ga)
    same = factor >= 1 and math.isclose(a, ga * factor, rel_tol=1e-6)
    if not same or not math.isclose(e, ge * factor, rel_tol=1e-6) or b or d:
        raise GridMismatchError(f"its pixels are {a:g}×{e:g}, the region's {ga:g}×{ge:g}")
    col, row = (gc - c) / ga, (gf - f) / ge
    if abs(col - round(col)) > _LATTICE or abs(row - round(row)) > _LATTICE:
        raise GridMismatchError(
            f"its pixels are shifted by a fraction: ({col % 1:.3f}, {row % 1:.3f})"
        )
    return factor, round(row), round(col)


def _crs_name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_string())[:60]


def without_queries(text: str) -> str:
    """Return a message without the query strings of addresses, where tokens stand."""
    return re.sub(r"\?[^\s'\"<>)]*", "", text)


class _QueryFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = without_queries(record.getMessage())
        record.args = ()
        return True


def _hide_queries() -> None:
    """Keep tokens out of rasterio's log; a filter of a parent logger would not see them."""
    for name in ("rasterio", *(f"rasterio.{part}" for part in ("_env", "_err", "_io", "_base"))):
        logger = logging.getLogger(name)
        if not any(isinstance(f, _QueryFilter) for f in logger.filters):
            logger.addFilter(_QueryFilter())
