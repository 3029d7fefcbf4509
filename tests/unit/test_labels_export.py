"""Labels in exported GeoTIFFs and in `rsbench inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import segment_toys as toys
from typer.testing import CliRunner

from rsbench.cli.main import app
from rsbench.store.export.geotiff import export_geotiff


def test_exported_labels_are_read_back_with_their_classes(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    store = toys.write_store(tmp_path / "store", regions=3)
    out = tmp_path / "out"
    files = export_geotiff(store, out)
    layers = [file for file in files if file.parent.name == "s2.labels" and file.suffix == ".tif"]
    assert [file.parent.parent.name for file in layers] == list(store.regions)
    for region, path in zip(store.regions, layers, strict=True):
        entry = store.region(region)
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(), store.read(region, "s2", array="labels"))
            assert tuple(file.transform)[:6] == entry.grids["s2"].transform
            assert file.crs.to_string() == entry.grids["s2"].crs
            assert file.nodata == 0
            colours = file.colormap(1)
            assert len({colours[code] for code in (0, *toys.CODES)}) == 4
            assert file.tags(1)["CLASS_2"] == "trees"
            assert file.tags()["LABELS"] == "toy-cover"
        assert path.stem == entry.times["s2"][0].isoformat()
    stated = json.loads((out / "place-00" / "s2.labels" / "classes.json").read_text())
    assert stated["rsbench:classes"] == {str(code): name for code, name in toys.CODES.items()}
    assert not list(out.glob("*/naip.labels"))
    with rasterio.open(out / "place-00" / "s2" / layers[0].name) as file:
        assert file.count == len(toys.BANDS)


def test_inspect_names_the_label_set_and_the_shares(tmp_path: Path) -> None:
    store = toys.write_store(tmp_path / "store", regions=3)
    said = CliRunner().invoke(app, ["inspect", str(store.path)]).stdout
    line = next(line for line in said.splitlines() if line.startswith("labels"))
    assert "toy-cover beside s2: " in line
    codes = np.stack([store.read(region, "s2", array="labels") for region in store.regions])
    for code, name in toys.CODES.items():
        assert f"{name} {(codes == code).mean():.1%}" in line
    assert f"without class {(codes == 0).mean():.1%}" in line
    found = json.loads(CliRunner().invoke(app, ["inspect", str(store.path), "--json"]).stdout)
    assert found["labels"]["s2"]["labels"] == ["toy-cover"]
    assert sum(found["labels"]["s2"]["classes"].values()) + (codes == 0).mean() == pytest.approx(1)
