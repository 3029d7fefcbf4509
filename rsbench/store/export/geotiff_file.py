"""One GeoTIFF, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsbench.core.grid import Grid
from rsbench.core.io import write_atomic


@contextmanager
def geotiff(rasterio: Any, path: Path, profile: Mapping[str, Any]) -> Iterator[Any]:
    """Yield an open GeoTIFF with an internal mask, written atomically at the end of the block.

    GDAL writes into memory, because it does not report every failed write to a disk.

    Raises:
        OSError: if the file cannot be written.
    """
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.MemoryFile() as memory:
        with memory.open(**profile) as file:
            yield file
        write_atomic(path, memory.getbuffer())


def profile_of(
    rasterio: Any, grid: Grid, dtype: str, count: int, nodata: float | None = None
) -> dict[str, Any]:
    """Return what rasterio needs to create a compressed file of ``count`` bands on a grid."""
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    return {
        "driver": "GTiff", "dtype": dtype, "count": count, "height": grid.height,
        "width": grid.width, "crs": grid.crs, "transform": rasterio.Affine(*grid.transform),
        "nodata": nodata, "compress": "deflate",
        **(tiled if min(grid.height, grid.width) >= 256 else {}),
    }  # fmt: skip
