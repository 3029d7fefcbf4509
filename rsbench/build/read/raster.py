"""Read pixels: rasterio windows in threads, directly into integer arrays.

Nothing is resampled. A raster must lie on the grid that is asked for, or on one whose pixels are
a whole multiple of it (20 m bands on a 10 m grid), which are repeated. A read that fails three
times is an error with item, asset and cause, and leaves no pixels.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from rsbench.build.plan.href import is_web
from rsbench.build.plan.lock import LockAsset
from rsbench.build.plan.patience import FILE
from rsbench.build.read.grids import GridMismatchError, overlap_with, require_bands, require_pixel
from rsbench.build.read.opened import Source, open_raster, source_of
from rsbench.build.read.remote import without_queries
from rsbench.build.read.signing import SigningError, signer
from rsbench.build.read.stated import Rule, mark_missing, require_rule
from rsbench.core.errors import InputError, ItemFailed, UnitFailed
from rsbench.core.grid import Grid

Pixels = npt.NDArray[Any]
T = TypeVar("T")

TRIES = 3
REMOTE_THREADS = 24


@dataclass(frozen=True, slots=True)
class Scene:
    """What to read of one item: a layer (band or mask) per plane.

    ``rule``: scale and offset of its numbers; None for layers that have none.
    """

    item: str
    layers: tuple[tuple[str, LockAsset], ...]
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Derived:
    """A value-by-value function of the pixels that is kept instead: ``make``, of ``dtype`` numbers.

    It is applied to a raster's own pixels, before 20 m ones are repeated on a 10 m grid.
    """

    dtype: Any
    make: Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How all files of one call are read.

    Args:
        grid: of the pixels.
        whole: every raster must cover the grid; otherwise uncovered pixels are ``nodata``.
        nodata: of the sensor, or of its quality layers.
        derived: what is kept instead of the pixels; None for the pixels themselves.
        quality: the layers are quality layers, see :func:`require_bands`.
        coarsest: layer → largest pixel size of its file, in metres.
        limit: that of the layers that are read.
        rule: scale and offset of their numbers; None where they have none.
    """

    grid: Grid
    whole: bool
    nodata: int
    derived: Derived | None = None
    quality: bool = False
    coarsest: Mapping[str, float] = field(default_factory=dict)
    limit: float = math.inf
    rule: Rule | None = None


class Engine(Protocol):
    """Fills ``(T, C, H, W)`` integer arrays from scenes; ``bytes`` of them so far."""

    bytes: int

    def fill(self, out: Pixels, scenes: Sequence[Scene], asked: Asked) -> None:
        """Read layer ``c`` of scene ``t`` into ``out[t, c]``, or what is derived from it."""

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
        """Do nothing: no file is open."""


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

    def fill(self, out: Pixels, scenes: Sequence[Scene], asked: Asked) -> None:
        """See :class:`Engine`; one task per file, so that a file is opened once."""
        tasks = []
        for t, scene in enumerate(scenes):
            by_file: dict[str, list[int]] = {}
            for c, (_, asset) in enumerate(scene.layers):
                by_file.setdefault(asset.href, []).append(c)
            for planes in by_file.values():
                tasks.append(self._pool.submit(self._read, out[t], scene, planes, asked))
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

    def _read(self, out: Pixels, scene: Scene, planes: Sequence[int], asked: Asked) -> None:
        indexes = [scene.layers[c][1].index for c in planes]
        names = ", ".join(scene.layers[c][0] for c in planes)
        first = planes[0]
        together = list(planes) == list(range(first, first + len(planes)))

        def read(source: Source) -> Pixels:
            into = out[first : first + len(planes)] if together else None
            limit = min(asked.coarsest.get(scene.layers[c][0], math.inf) for c in planes)
            wanted = replace(asked, limit=limit, rule=scene.rule)
            return read_window(source, indexes, wanted, out.dtype, into)

        pixels = self.attempt(scene.item, names, scene.layers[first][1], read)
        if not np.shares_memory(pixels, out):
            for plane, c in zip(pixels, planes, strict=True):
                out[c] = plane

    def attempt(self, item: str, names: str, asset: LockAsset, read: Callable[[Source], T]) -> T:
        """Return the result of ``read``, tried three times with newly signed addresses.

        Args:
            item, names: what is read, for the error.
            asset: the file.
            read: takes what :func:`~rsbench.build.read.opened.open_raster` opens.

        Raises:
            ItemFailed: naming item, asset and cause.
        """
        from rasterio._err import CPLE_BaseError
        from rasterio.errors import RasterioError

        damaged = (RasterioError, CPLE_BaseError, OSError, ValueError, MemoryError)
        cause, unsigned = "the build was stopped", False
        end = time.monotonic() + FILE.seconds
        for number in range(TRIES):
            if self._stop.is_set() or time.monotonic() > end:
                break
            if number:
                time.sleep(0.25 * 2**number if is_web(self._catalogue) else 0.0)
            try:
                sign = partial(self._sign, attempt=number)
                return read(source_of(asset, self._catalogue, sign, end))
            except GridMismatchError as error:
                cause = str(error)
                break
            except InputError as error:
                cause = f"{error.found}. {error.remedy}"
                break
            except damaged as error:
                cause = f"{without_queries(str(error))} ({type(error).__name__})"
                unsigned = isinstance(error, SigningError)
        # Raised outside of `except`: the first error may carry a signed address.
        if unsigned:  # not a fault of this item
            raise UnitFailed(f"reading {names} of item {item}", cause, "Run the same build later")
        raise ItemFailed.of(
            item,
            f"reading {names} of item {item}",
            f"{cause}; file {asset.href}",
            "Run the same build again to resume; or leave the item out with --allow-incomplete, or "
            f"with --exclude {item} and another --out",
        )


def read_window(
    source: Source,
    indexes: Sequence[int],
    asked: Asked,
    dtype: Any,
    into: Pixels | None = None,
) -> Pixels:
    """Return ``(n, H, W)`` pixels of some bands of one raster on a grid.

    Args:
        source: path for GDAL, or a file behind an address.
        indexes: the bands, counted from 1.
        asked: grid, fill and what is made of the pixels.
        dtype: type of the answer, of what is made where something is.
        into: an array of the answer's shape and type that may be filled and returned.

    Raises:
        GridMismatchError: if the raster has no CRS, another CRS, other pixels, another type, or
            another scale or offset.
    """
    from rasterio.windows import Window as Part

    made, grid = asked.derived, asked.grid
    held = np.dtype(dtype if made is None else made.dtype)
    with open_raster(source) as raster:
        require_bands(raster.data, indexes, held, quality=asked.quality)
        overlap = overlap_with(raster.data, grid, whole=asked.whole)
        require_pixel(overlap.factor * grid.transform[0], asked.limit)
        if asked.rule is not None:
            require_rule(raster.data, indexes, asked.rule)
        part = Part.from_slices(*overlap.part())
        full = overlap.size == (grid.height, grid.width)
        direct = into is not None and full and overlap.factor == 1 and made is None
        pixels = raster.read(indexes, part, into if direct else None)
        if not asked.quality:
            mark_missing(raster.data, indexes, part, pixels, asked.nodata)
        if direct:
            return pixels
        pixels = pixels.astype(held, copy=False)
    outside: Any = asked.nodata
    if made is not None:
        pixels, outside = made.make(pixels), made.make(np.array([asked.nodata], held))[0]
    if full:
        return overlap.on_grid(pixels)
    out = np.full((len(indexes), grid.height, grid.width), outside, dtype)
    out[:, *overlap.slices()] = overlap.on_grid(pixels)
    return out
