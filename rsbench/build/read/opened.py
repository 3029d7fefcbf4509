"""Open a raster of a folder or of an address, and read pixels whose blocks are whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rsbench.build.plan.checksum import require_checksum
from rsbench.build.plan.href import is_web, resolve_href
from rsbench.build.plan.lock import LockAsset
from rsbench.build.read.blocks import (
    MOST,
    Block,
    Bytes,
    DamagedBlockError,
    Layout,
    blocks_of,
    layout_of,
    require_whole,
    whole_blocks,
)
from rsbench.build.read.remote import RemoteFile, require_size

Pixels = npt.NDArray[Any]
Source = str | RemoteFile
"""A path for GDAL, or a file behind an address."""

DRIVER = "GTiff"
"""The only GDAL driver that may open a raster; a VRT, for example, could name any local file."""

GDAL_ENV: dict[str, str | int] = {
    # No directory listings and no sidecar files.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_CACHEMAX": 64 << 20,  # bytes
}


class Raster:
    """A raster opened by rasterio (``data``), and the bytes of its file.

    ``whole``: where blocks begin that were checked before; others are added.
    """

    def __init__(self, data: Any, file: Bytes | None, whole: set[int] | None = None) -> None:
        self.data, self._file = data, file
        self._seen: set[int] = set() if whole is None else whole

    def read(self, indexes: Sequence[int], window: Any, out: Pixels | None = None) -> Pixels:
        """Return ``(n, H, W)`` pixels of a window.

        Args:
            indexes: the bands, counted from 1.
            window: of rasterio, inside the image.
            out: an array of the answer's shape and type that is filled and returned.

        Raises:
            DamagedBlockError: if a compressed block is damaged, as far as that can be found.
        """
        layout = layout_of(self.data, indexes[0])
        if layout.bytes > MOST:
            raise DamagedBlockError(f"a block of {layout.bytes} bytes is larger than is read")
        if self._file is None or not layout.checked:
            self._prefetch([])
            return self._pixels(indexes, window, out)
        apart = indexes if layout.samples == 1 else indexes[:1]
        blocks = [list(blocks_of(self.data, i, layout, window)) for i in apart]
        self._prefetch([block for band in blocks for block in band])
        if all(block.start in self._seen for band in blocks for block in band):
            return self._pixels(indexes, window, out)
        whole = whole_blocks(layout, window)
        same = whole == window
        pixels = self._pixels(indexes, whole, out if same else None)
        every = list(indexes) == list(range(1, layout.samples + 1))
        self._require_whole(blocks, layout, pixels, whole, together=every)
        if same:
            return pixels
        rows, cols = window.toslices()
        top, left = rows.start - whole.row_off, cols.start - whole.col_off
        part = pixels[:, top : top + window.height, left : left + window.width]
        if out is None:
            return part
        out[...] = part
        return out

    def _pixels(self, indexes: Sequence[int], window: Any, out: Pixels | None) -> Pixels:
        options = {} if out is None else {"out": out}
        pixels: Pixels = self.data.read(list(indexes), window=window, **options)
        if isinstance(self._file, RemoteFile) and self._file.problem:
            raise self._file.problem
        return pixels

    def _prefetch(self, blocks: Sequence[Block]) -> None:
        """Fetch the blocks of a file behind an address, neighbours together."""
        if not isinstance(self._file, RemoteFile):
            return
        ranges: list[tuple[int, int]] = []
        for block in sorted({(b.start, b.count) for b in blocks}):
            start, end = block[0], block[0] + block[1]
            if ranges and start - sum(ranges[-1]) <= _GAP:
                ranges[-1] = ranges[-1][0], max(end, sum(ranges[-1])) - ranges[-1][0]
            else:
                ranges.append((start, end - start))
        self._file.fetch(ranges)

    def _require_whole(
        self,
        blocks: Sequence[Sequence[Block]],
        layout: Layout,
        pixels: Pixels,
        whole: Any,
        *,
        together: bool,
    ) -> None:
        """Check every block.

        ``together``: the pixels are those of all bands that a block holds.
        """
        assert self._file is not None
        for plane, band in zip(pixels, blocks, strict=False):  # one list for bands in one block
            for block in band:
                if block.start in self._seen:
                    continue
                held = plane if layout.samples == 1 else pixels.transpose(1, 2, 0)
                top, left = block.rows.start - whole.row_off, block.cols.start - whole.col_off
                part = held[top : top + layout.shape[0], left : left + layout.shape[1]]
                # Blocks at the edge hold pixels beyond the image, which GDAL does not return.
                complete = part.shape[:2] == layout.shape and (together or layout.samples == 1)
                require_whole(self._file, block, layout, part if complete else None)
                self._seen.add(block.start)


_GAP = 16
"""Bytes between blocks that are fetched with them: GDAL's COG writes eight."""


class _LocalBytes:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def at(self, start: int, count: int) -> bytes:
        return os.pread(self._handle, count, start)


def source_of(asset: LockAsset, catalogue: str, sign: Callable[[str], str], end: float) -> Source:
    """Return what :func:`open_raster` opens of an asset of a lock.

    Args:
        asset: the file.
        catalogue: where the lock's files lie.
        sign: returns an address with its signature.
        end: when the file must be read, by :func:`time.monotonic`.

    Raises:
        InputError: if its link leads out of the catalogue, or a local file has another size or
            checksum.
        OSError: if it cannot be signed, or there is no such local file.
    """
    full = resolve_href(asset.href, catalogue)
    if is_web(full):
        return RemoteFile(sign(full), catalogue, end, asset.size, asset.checksum)
    if asset.size or asset.checksum:
        _require_stated(asset, Path(full))
    return full


def _require_stated(asset: LockAsset, path: Path) -> None:
    """Compare size and checksum of a local file with what its catalogue states."""
    found = path.stat()
    if asset.size:
        require_size(found.st_size, asset.size)
    if asset.checksum:
        _require_checksum(path, _version(found), asset.checksum)


@lru_cache(maxsize=1 << 14)
def _require_checksum(path: Path, version: tuple[int, ...], checksum: str) -> None:
    """Compare a checksum, once for all windows that one process reads of a file."""
    with path.open("rb") as file:
        require_checksum(file, checksum)


@contextmanager
def open_raster(source: Source) -> Iterator[Raster]:
    """Open a GeoTIFF.

    Raises:
        RasterioIOError: if it is none.
        OSError, InputError: if the file behind an address cannot be read, or all of it was and
            its checksum differs.
    """
    import rasterio

    with rasterio.Env(**GDAL_ENV):
        if isinstance(source, RemoteFile):
            with _opened_remote(source) as data:
                yield Raster(data, source)
            source.require_checksum()
            return
        with rasterio.open(source, driver=DRIVER, sharing=False) as data:
            if not os.path.isfile(source):  # noqa: PTH113 - a path of GDAL may be no path
                yield Raster(data, None)
                return
            with checked(data, source) as raster:
                yield raster


@contextmanager
def checked(data: Any, path: Path | str) -> Iterator[Raster]:
    """Yield a local GeoTIFF that rasterio has opened as one whose blocks are checked."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield Raster(
            data, _LocalBytes(handle), _whole_blocks(str(path), _version(os.fstat(handle)))
        )
    finally:
        os.close(handle)


def _version(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=1 << 12)
def _whole_blocks(path: str, version: tuple[int, ...]) -> set[int]:
    """Return where blocks of one version of a file begin that this process found whole."""
    return set()


@contextmanager
def _opened_remote(source: RemoteFile) -> Iterator[Any]:
    import rasterio
    from rasterio.errors import RasterioError

    source.at(0, 4)  # an error of the network is raised here, and not hidden by GDAL
    try:
        # The name is of no file: GDAL knows it only for this opener.
        with rasterio.open("raster.tif", driver=DRIVER, sharing=False, opener=source.open) as data:
            yield data
    except RasterioError:
        if source.problem:
            raise source.problem from None
        raise
