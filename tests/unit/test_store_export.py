"""Export: GeoTIFFs that other programs read as the store reads itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rsbench.core.errors import UnknownName
from rsbench.store.export.geotiff import export_geotiff
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
