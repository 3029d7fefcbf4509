"""Damage of compressed blocks that GDAL decodes without an error.

A DEFLATE block ends with the Adler-32 sum of what was compressed. libtiff does not compare it
where a damaged block decodes to more bytes than fit, so that a flipped bit or a tail of zeros
becomes pixels. The sum is computed again from the decoded pixels; where that is not possible, or it
differs, the block is decompressed again. Other compressions have no sum: LZW and ZSTD blocks
that end in zeros are refused, other damage of them is not found.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

try:
    from zlib_ng.zlib_ng import adler32
except ImportError:  # without a wheel for this platform: the same sum, 15 times slower
    from zlib import adler32

Pixels = npt.NDArray[Any]

MOST = 1 << 30
"""Bytes of one block, decoded."""
TAIL = 4
"""Zeros at the end of a block that no encoder of LZW or ZSTD writes."""


class DamagedBlockError(OSError):
    """The compressed bytes of a block are damaged."""


class Bytes(Protocol):
    """The bytes of a file."""

    def at(self, start: int, count: int) -> bytes:
        """Return bytes from a place on."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a raster is stored: ``shape`` of its blocks, ``size`` of the image, both rows first.

    ``samples``: bands in one block. ``predictor``: 2 where rows hold differences.
    """

    compression: str
    shape: tuple[int, int]
    size: tuple[int, int]
    dtype: np.dtype[Any]
    samples: int
    predictor: int

    @property
    def checked(self) -> bool:
        """Whether damage can be found."""
        return self.compression in ("DEFLATE", "LZW", "ZSTD")

    @property
    def bytes(self) -> int:
        """Bytes of one block, decoded."""
        return self.shape[0] * self.shape[1] * self.samples * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a band: place in the image (rows and columns) and in the file."""

    rows: slice
    cols: slice
    start: int
    count: int


def layout_of(data: Any, index: int) -> Layout:
    """Return how a band of a raster, opened by rasterio, is stored."""
    stored = data.tags(ns="IMAGE_STRUCTURE")
    together = stored.get("INTERLEAVE") == "PIXEL"
    return Layout(
        compression=stored.get("COMPRESSION", ""),
        shape=data.block_shapes[index - 1],
        size=(data.height, data.width),
        dtype=np.dtype(data.dtypes[index - 1]),
        samples=data.count if together else 1,
        predictor=int(stored.get("PREDICTOR", 1)),
    )


def blocks_of(data: Any, index: int, layout: Layout, window: Any) -> Iterator[Block]:
    """Yield the blocks that a window touches and that have bytes; others are nodata."""
    (high, wide), (rows, cols) = layout.shape, window.toslices()
    for y in range(rows.start // high, -(-rows.stop // high)):
        for x in range(cols.start // wide, -(-cols.stop // wide)):
            start = data.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=index)
            count = data.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=index)
            if start is not None and count is not None:
                place = slice(y * high, y * high + high), slice(x * wide, x * wide + wide)
                yield Block(*place, int(start), int(count))


def whole_blocks(layout: Layout, window: Any) -> Any:
    """Return the window of all blocks that a window touches, within the image."""
    from rasterio.windows import Window

    rows, cols = window.toslices()
    top, bottom = _spread(rows, layout.shape[0], layout.size[0])
    left, right = _spread(cols, layout.shape[1], layout.size[1])
    return Window(left, top, right - left, bottom - top)


def _spread(part: slice, step: int, size: int) -> tuple[int, int]:
    return part.start // step * step, min(-(-part.stop // step) * step, size)


def require_whole(file: Bytes, block: Block, layout: Layout, pixels: Pixels | None) -> None:
    """Refuse a block whose bytes are damaged, as far as that can be found.

    Args:
        pixels: ``(h, w)`` pixels of the whole block, ``(h, w, n)`` of one that holds n bands; None
            where they are not all there.

    Raises:
        DamagedBlockError: if it is damaged.
    """
    tail = file.at(block.start + block.count - TAIL, TAIL) if block.count >= TAIL else b""
    if layout.compression != "DEFLATE":
        if tail == bytes(TAIL):
            raise DamagedBlockError(f"a block at byte {block.start} ends in zeros")
    elif pixels is None or _sum(pixels, layout.predictor) != tail:
        _require_deflate(file.at(block.start, block.count), block, layout)


def _sum(pixels: Pixels, predictor: int) -> bytes:
    """Return the Adler-32 sum of a block as its encoder saw it."""
    if predictor == 2:
        encoded = np.empty(pixels.shape, pixels.dtype)
        encoded[:, 0] = pixels[:, 0]
        np.subtract(pixels[:, 1:], pixels[:, :-1], out=encoded[:, 1:])
        pixels = encoded
    little = pixels.dtype.newbyteorder("<")
    return adler32(np.ascontiguousarray(pixels, little).data).to_bytes(4, "big")


def _require_deflate(raw: bytes, block: Block, layout: Layout) -> None:
    decoder = zlib.decompressobj()
    try:
        got = len(decoder.decompress(raw, layout.bytes + 1))
        whole = decoder.eof or not decoder.decompress(decoder.unconsumed_tail, 1)
    except zlib.error as error:
        said = f"a DEFLATE block at byte {block.start} is damaged ({error})"
        raise DamagedBlockError(said) from error
    if not (decoder.eof and whole) or got > layout.bytes:
        raise DamagedBlockError(f"a DEFLATE block at byte {block.start} is damaged (its length)")
