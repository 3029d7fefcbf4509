"""Once-silent faults of stores, each of which gave wrong pixels without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsbench import open_store
from rsbench.core.errors import StoreError
from tests import toys


def test_a_missing_chunk_is_not_zero(tmp_path: Path) -> None:
    """Zarr fills what is absent; a store must not."""
    store = toys.write_store(tmp_path, regions=1, size=32, years=2)
    (tmp_path / "toy-01/s2/image/c/0/0/0/0").unlink()
    import zarr

    filled = zarr.open_array(tmp_path / "toy-01/s2/image", mode="r")[...]
    assert (np.asarray(filled) == 0).all()
    with pytest.raises(StoreError, match="absent"):
        store.read("toy-01", "s2")


def test_the_crs_link_is_on_disk(tmp_path: Path) -> None:
    """An encoding given on writing drops `grid_mapping`, and the CRS with it."""
    import json

    toys.write_store(tmp_path, regions=1, size=32, years=2)
    for name in ("image", "valid", "n_valid", "odd", "even"):
        held = json.loads((tmp_path / f"toy-01/s2/{name}/zarr.json").read_text())
        assert held["attributes"]["grid_mapping"] == "spatial_ref"


def test_counts_and_masks_stay_integers_for_other_readers(tmp_path: Path) -> None:
    """`_FillValue` makes xarray turn integers into float32: of images only, which it scales."""
    xarray = pytest.importorskip("xarray")
    toys.write_store(tmp_path, regions=1, size=32, years=2)
    data = xarray.open_zarr(tmp_path, group="toy-01/s2", chunks=None)
    assert data["image"].dtype.kind == "f"
    assert data["n_valid"].dtype == np.uint16
    assert data["valid"].dtype == bool


def test_concurrent_writers_of_one_region_lose_nothing(tmp_path: Path) -> None:
    """Two writers into one shard lose each other's rows; here the region is the unit."""
    from concurrent.futures import ThreadPoolExecutor

    from rsbench.store.write import finalise, write_region

    meta = toys.sensor_meta()

    def work(index: int) -> str:
        made = toys.arrays(index % 2, size=32, years=2)
        return write_region(tmp_path, toys.record(index % 2, years=2), {"s2": made}, {"s2": meta})

    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(work, range(8)))
    assert len(set(digests)) == 2
    finalise(tmp_path, toys.store_meta({"s2": meta}))
    assert open_store(tmp_path).validate() == []
