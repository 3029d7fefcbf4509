"""Embeddings of the coming year that the predictor is trained towards: 64 channels a token.

The published targets are AlphaEarth Foundations embeddings (C. F. Brown et al., arXiv
2507.22291), read from annual rasters where a folder of them is named. Without one a fixed
substitute computed from the target composite is used, and the inputs of the entry state it.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rsbench import InputError, Want
from rsbench_baselines.sat_jepa_diff.sizes import EMBEDDING

SUBSTITUTE = "towards patch-statistics@1"
ALPHA_EARTH = "towards alphaearth-annual"
SEED = 64
EPOCH = date(1970, 1, 1)
INT8_TOP = 127.5
MASKED = -128
PUBLISHED = ("embedding_", "gee_embeddings_")


def substitute(image: Tensor, patch: int) -> Tensor:
    """Return unit vectors ``(B, N, 64)`` of an image ``(B, C, H, W)`` in shares of the range.

    A fixed random projection of each patch's mean, spread, and gradients along rows and columns,
    band by band: it describes the appearance of a patch and not its meaning.
    """
    mean = F.avg_pool2d(image, patch)
    spread = (F.avg_pool2d(image.square(), patch) - mean.square()).clamp(min=0).sqrt()
    half = patch // 2
    quarter = F.avg_pool2d(image, half)
    up, down = quarter[..., ::2, :], quarter[..., 1::2, :]
    rise = F.avg_pool2d(down - up, (1, 2))
    left, right = quarter[..., ::2], quarter[..., 1::2]
    drift = F.avg_pool2d(right - left, (2, 1))
    parts = torch.cat([mean - mean.new_tensor(0.2), 4 * spread, 4 * rise, 4 * drift], dim=1)
    tokens = parts.flatten(2).transpose(1, 2)
    generator = torch.Generator("cpu").manual_seed(SEED)
    mix = torch.randn(tokens.shape[-1], EMBEDDING, generator=generator, device="cpu")
    return F.normalize(tokens @ mix.to(tokens), dim=-1)


class AlphaEarth:
    """Reader of annual embedding rasters of 64 bands on the grids of the store's regions.

    A folder holds ``<region>_<year>.tif``, or is the one that ``import-dataset sat-jepa-diff``
    read: ``<Region>/embedding_<Region>_<year>_10km.tif``, or with the prefix ``gee_embeddings_``;
    there a region of the store may be cut from the published one. Stored int8 is read as
    ``sign(v)·(v / 127.5)²`` with −128 masked; floats are taken as they are, with NaN masked.
    Masked pixels count as zero in a token's mean.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder} of embedding rasters")
        self.folder = folder

    def read(self, want: Want, patch: int) -> Tensor:
        """Return ``(B, N, 64)`` for the first wanted time of every sample.

        Raises:
            InputError: if a raster is absent, has other bands, or is not on the grid.
        """
        found = [self._one(want, index, patch) for index in range(len(want.samples))]
        return torch.from_numpy(np.stack(found)).to(want.times.device)

    def _path(self, region: str, year: int) -> Path:
        flat = self.folder / f"{region}_{year}.tif"
        place = region
        while not (self.folder / place).is_dir() and "-" in place:
            place = place.rpartition("-")[0]  # a part is named after its region: <Region>-train
        published = [
            path
            for prefix in PUBLISHED
            for path in sorted((self.folder / place).glob(f"{prefix}*_{year}_*.tif"))
        ]
        for path in (flat, *published):
            if path.is_file():
                return path
        raise InputError(
            f"embeddings of {region} in {year}",
            f"there is neither {flat} nor a raster of that year in {self.folder / place}",
            "Add it, or leave the option embeddings out: a substitute then stands in",
        )

    def _one(self, want: Want, index: int, patch: int) -> np.ndarray:
        import rasterio
        from rasterio.windows import Window

        sample, grid = want.samples[index], want.grids[index]
        year = (EPOCH + timedelta(days=int(want.times[index, 0]))).year
        path = self._path(sample.region, year)
        w = sample.window
        with rasterio.open(path, driver="GTiff") as source:
            # The grid is that of the window: its corner gives the position in the raster.
            right, _, left, _, down, top = source.transform[:6]
            column = round((grid.transform[2] - left) / right)
            row = round((grid.transform[5] - top) / down)
            window = Window(column, row, w.width, w.height)
            there = cast(tuple[float, ...], tuple(source.window_transform(window)[:6]))
            inside = min(column, row) >= 0 and (
                column + w.width <= source.width and row + w.height <= source.height
            )
            same = inside and np.allclose(there, grid.transform[:6], atol=1e-3, rtol=1e-9)
            if source.count != EMBEDDING or not same or source.crs not in (None, grid.crs):
                raise InputError(
                    f"embeddings of {sample.region} in {path}",
                    f"it has {source.count} bands of {source.width}×{source.height} px in "
                    f"{source.crs}, upper-left corner {source.transform[2]}, {source.transform[5]}",
                    f"It takes {EMBEDDING} bands on the grid of the region",
                )
            values = source.read(window=window)
        if values.dtype == np.int8:
            share = values.astype(np.float32) / INT8_TOP
            real = np.where(values == MASKED, 0, np.sign(share) * share**2)
        else:
            real = np.nan_to_num(values.astype(np.float32))
        rows, columns = w.height // patch, w.width // patch
        tokens = real.reshape(EMBEDDING, rows, patch, columns, patch).mean(axis=(2, 4))
        return np.asarray(tokens.reshape(EMBEDDING, -1).T, np.float32)
