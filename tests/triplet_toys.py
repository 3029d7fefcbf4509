"""Tiny stores of triplets: a fine and a coarse sensor of the same ground, block means apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import toys

from rsbench.catalog import Protocol, load_protocol
from rsbench.core.grid import Grid
from rsbench.store.layout import SensorArrays
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region

RATIO = 4
BANDS = ("red", "nir", "swir")
FINE = toys.sensor_meta("fine", BANDS, display=None, gsd=30.0)
COARSE = replace(FINE, name="coarse", gsd=30.0 * RATIO)


def coarse_of(fine: SensorArrays, ratio: int = RATIO) -> SensorArrays:
    """Block means of the fine images, all valid."""
    T, C, H, W = fine.values.shape
    blocks = fine.values.reshape(T, C, H // ratio, ratio, W // ratio, ratio).mean(axis=(3, 5))
    a, b, c, d, e, f = fine.grid.transform
    grid = Grid(fine.grid.crs, (a * ratio, b, c, d, e * ratio, f), H // ratio, W // ratio)
    valid = np.ones((T, H // ratio, W // ratio), bool)
    values = np.rint(blocks).astype(np.uint16)
    return SensorArrays(values, valid, valid.astype(np.uint16), fine.times, grid, None, None)


def write_store(
    path: Path,
    *,
    regions: int = 6,
    size: int = 64,
    dates: int = 4,
    clouds: dict[int, tuple[slice, slice]] | None = None,
    **changes: Any,
) -> Store:
    """Half of the regions train, one val, the rest test.

    Args:
        clouds: per region the coarse rows and columns that are invalid on the second date.
    """
    for index, part in enumerate(toys.splits(regions)):
        fine = toys.arrays(index, size=size, years=dates, meta=FINE, floor=False, gsd=30.0)
        coarse = coarse_of(fine)
        if clouds and index in clouds:
            coarse.valid[(1, *clouds[index])] = False
        write_region(
            path,
            toys.record(index, split=part, years=dates),
            {"fine": fine, "coarse": coarse},
            {"fine": FINE, "coarse": COARSE},
        )
    metas = {"fine": FINE, "coarse": COARSE}
    options: dict[str, Any] = {"kind": "triplets", "default_protocol": "fusion2", **changes}
    finalise(path, toys.store_meta(metas, **options))
    return open_store(path)


def arrays_of(store: Store, region: str) -> SensorArrays:
    """The fine arrays that a region was written from."""
    index = int(region.rpartition("-")[2]) - 1
    grid, times = store.region(region).grids["fine"], store.region(region).times["fine"]
    return toys.arrays(
        index, size=grid.height, years=len(times), meta=FINE, floor=False, gsd=30.0
    )  # fmt: skip


def protocol(name: str = "fusion2", window: int = 32, **changes: Any) -> Protocol:
    """A protocol of fusion on small windows."""
    update = {"window": window, "stride": window, **changes}
    return load_protocol(name).model_copy(update=update)
