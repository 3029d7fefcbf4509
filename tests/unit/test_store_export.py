"""Export: GeoTIFFs that other programs read as the store reads itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from import_fixtures import importing

from rsbench.core.errors import UnknownName
from rsbench.core.grid import Window
from rsbench.store.export.geotiff import export_geotiff
from rsbench.store.read import Store, open_store
from rsbench.store.write import finalise, write_region
from tests import toys


def test_files_hold_the_stored_numbers_mask_and_place(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    store = toys.write_store(tmp_path / "s", regions=2, size=32, years=2)
    files = export_geotiff(store, tmp_path / "out")
    assert [f.relative_to(tmp_path / "out").as_posix() for f in files] == [
        f"toy-0{i}/s2/{y}-07-01.tif" for i in (1, 2) for y in (2017, 2018)
    ]
    raw, valid = store.read("toy-02", "s2"), store.read("toy-02", "s2", array="valid")
    with rasterio.open(files[3]) as file:
        assert np.array_equal(file.read(), raw[1])
        assert np.array_equal(file.dataset_mask() > 0, valid[1])
        assert file.crs.to_epsg() == 32633
        assert tuple(file.transform)[:6] == toys.grid(1).transform
        assert file.descriptions == toys.BANDS
        assert file.scales[0] == 1e-4
        assert file.tags()["SIMULATED"] == "true"
    note = json.loads((tmp_path / "out/dataset.json").read_text())
    assert note["digest"] == store.digest


def test_one_region_only_and_no_half_file(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    store = toys.write_store(tmp_path / "s", regions=2, size=32, years=2)
    export_geotiff(store, tmp_path / "out", region="toy-02")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["dataset.json", "toy-02"]
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    with pytest.raises(UnknownName, match="toy-02"):
        export_geotiff(store, tmp_path / "out", region="toy-2")


def with_zeros(root: Path, dtype: str, *, valid_zeros: bool) -> Store:
    """A store of one region whose nodata number is 0; some valid pixels may hold it, too."""
    meta = toys.sensor_meta(dtype=dtype, unit="display", scale=1 / 255)
    made = toys.arrays(size=80, years=2, meta=meta, floor=False, invalid=0.1)
    if valid_zeros:
        made.values[:, 1, ::7] = 0
    write_region(root, toys.record(years=2), {"s2": made}, {"s2": meta})
    finalise(root, toys.store_meta({"s2": meta}))
    return open_store(root)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("valid_zeros", [False, True])
def test_an_export_comes_back_bit_for_bit(tmp_path: Path, dtype: str, valid_zeros: bool) -> None:
    """Where valid pixels hold the nodata number, the mask alone says what is missing."""
    rasterio = pytest.importorskip("rasterio")
    store = with_zeros(tmp_path / "s", dtype, valid_zeros=valid_zeros)
    files = export_geotiff(store, tmp_path / "out")
    for path in files:
        with rasterio.open(path) as file:
            assert file.nodata == (None if valid_zeros else 0)
    stated = {"unit": "display", "scale": 1 / 255, "value_range": (0.0, 20.0)}
    importing("geotiff-series")(files[0].parent, tmp_path / "back", region_size=16, **stated)
    back, whole = open_store(tmp_path / "back"), toys.grid()
    for name in back.regions:
        grid = back.region(name).grids["image"]
        column = round((grid.transform[2] - whole.transform[2]) / 10)
        row = round((whole.transform[5] - grid.transform[5]) / 10)
        part = Window(row, column, grid.height, grid.width)
        valid = store.read("toy-01", "s2", array="valid", window=part)
        assert 0.8 < valid.mean() < 1
        assert np.array_equal(back.read(name, "image", array="valid"), valid)
        ours, theirs = store.read("toy-01", "s2", window=part), back.read(name, "image")
        seen = np.broadcast_to(valid[:, None], ours.shape)
        assert np.array_equal(ours[seen], theirs[seen])
