"""Real pairs as files: NAIP, Landsat and land cover; an aerial photograph and Sentinel-2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

PATCH = "naip_landsat_landcover_wv/wv_1m_2014-m_3708020_sw_17_1-0.npz"
AERIAL = "aerial_20cm_with_s2_s1_2020/Abies_alba_1_1005_WEFL_NLF"
NAIP, LANDSAT, COVER = slice(0, 4), slice(11, 15), 8
"""Channels of a patch: red, green, blue, infrared; blue, green, red, infrared; land cover."""
LABEL_SET = """\
name: wv-cover
title: Land cover of 1 m
gsd: 1
nodata: 0
classes: {"1": water, "2": forest, "3": field, "4": barren, "5": impervious}
note: Class names are deduced from the codes.
licence: not stated
attribution: test data
citation: test data
"""


def folder() -> Path:
    found = Path(os.environ.get("RSBENCH_TEST_DATA", "")) / "dev" / "high_res"
    if not os.environ.get("RSBENCH_TEST_DATA") or not found.is_dir():
        pytest.skip("RSBENCH_TEST_DATA has no dev/high_res")
    return found


def write(path: Path, values: npt.NDArray[Any], gsd: float, corner: tuple[float, float],
          crs: str) -> None:  # fmt: skip
    import rasterio

    values = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[2], height=values.shape[1],
        count=len(values), dtype=values.dtype, crs=crs,
        transform=rasterio.Affine(gsd, 0, corner[0], 0, -gsd, corner[1]),
    ) as file:  # fmt: skip
        file.write(values)


def most_frequent(codes: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.uint8]:
    """Return the most frequent code of every k×k block, the least code of equals."""
    height, width = (side // k for side in codes.shape)
    blocks = codes.reshape(height, k, width, k)
    counts = np.stack([(blocks == code).sum(axis=(1, 3)) for code in range(1, 6)])
    return (counts.argmax(0) + 1).astype(np.uint8)


def naip_landsat(root: Path, k: int = 4) -> Path:
    """Write a patch of 256 m; Landsat is taken at every k-th metre of the file's 1 m grid."""
    values = np.load(folder() / PATCH)["arr_0"][0]
    corner, crs = (550_000.0, 4_150_000.0), "EPSG:26917"
    write(root / "fine_2014-07-01.tif", values[NAIP].astype(np.uint8), 1.0, corner, crs)
    coarse = values[LANDSAT, k // 2 :: k, k // 2 :: k].astype(np.int16)
    write(root / "coarse_2014-07-01.tif", coarse, float(k), corner, crs)
    write(root / "labels_2014.tif", most_frequent(values[COVER].astype(np.uint8), k), float(k),
          corner, crs)  # fmt: skip
    (root / "wv-cover.yaml").write_text(LABEL_SET)
    return root


def aerial_sentinel(root: Path) -> Path:
    """Write the photograph of 60.8 m, and one Sentinel-2 date of 60 m around its centre."""
    import shutil

    import rasterio

    photo = root / "fine" / "2020-07-12.tif"
    photo.parent.mkdir(parents=True)
    shutil.copyfile(folder() / f"{AERIAL}.tif", photo)
    with rasterio.open(f'NETCDF:"{folder() / AERIAL}.h5":sen-2-data') as file:
        dates = file.read().reshape(-1, 10, 6, 6)
    with rasterio.open(photo) as file:
        left, bottom, right, top = file.bounds
    corner = (left + right) / 2 - 30, (bottom + top) / 2 + 30
    clear = dates[:, 6].mean(axis=(1, 2)).argsort()[len(dates) // 2]
    write(root / "coarse" / "2020-07-12.tif", dates[clear].astype(np.uint16), 10.0,
          (round(corner[0], 1), round(corner[1], 1)), "EPSG:25832")  # fmt: skip
    return root
