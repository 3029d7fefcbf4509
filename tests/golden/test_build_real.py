"""Real rasters: a STAC folder built, a series imported; skipped without RSBENCH_TEST_DATA."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from import_fixtures import importing

from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import describe, make_plan
from rsbench.catalog import load_recipe
from rsbench.core.errors import InputError
from rsbench.store.read import open_store

import_geotiff_series = importing("geotiff-series")

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
DEV = Path(DATA or ".") / "dev"
KEMPEN = DEV / "s2_timeseries" / "stac_geotiff_2023-06"
PUCALLPA = DEV / "landsat" / "pucallpa_1985-2020"
RECIPE = """\
name: kempen-june
title: Three dates of June 2023 near Kempen
kind: series
sensors:
  - name: s2export
    title: Sentinel-2, exported as 16-bit integers
    gsd: 10.0
    unit: reflectance
    dtype: int16
    scale: 0.0001
    offset: 0.0
    nodata: -32768
    value_range: [0.0, 1.0]
    display: [B04, B03, B02]
    bands:
      - {name: B04, common_name: red, wavelength_um: 0.665, gsd: 10.0}
      - {name: B03, common_name: green, wavelength_um: 0.56, gsd: 10.0}
      - {name: B02, common_name: blue, wavelength_um: 0.49, gsd: 10.0}
    mask: {kind: none}
    providers:
      local:
        api: ""
        collection: unknown-job
        assets:
          B04: {key: "*.tif", index: 1}
          B03: {key: "*.tif", index: 2}
          B02: {key: "*.tif", index: 3}
    licence: none stated
    attribution: Contains modified Copernicus Sentinel data 2023
    citation: none
years: [2023, 2023]
provider: local
regions:
  - {name: kempen-west, epsg: 32631, origin: [644550, 5676350], split: train, size: 32}
  - {name: kempen-east, epsg: 32631, origin: [644950, 5676350], split: test, size: 33}
default_preset: tiny
default_protocol: year7
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "kempen.yaml"
    path.write_text(RECIPE)
    return path


def test_a_local_stac_folder_is_built(recipe_file: Path, tmp_path: Path) -> None:
    import rasterio

    recipe = load_recipe(recipe_file)
    lock = make_plan(recipe, provider=str(KEMPEN))
    assert describe(lock).scenes == 6
    result = build(recipe, tmp_path / "out", lock=lock)
    store = open_store(result.path)
    assert (result.complete, store.validate()) == (True, [])
    cubes = []
    for path in sorted(KEMPEN.rglob("*.tif")):
        with rasterio.open(path) as data:
            cubes.append(data.read().astype(np.float64))
    for name, cut in (("kempen-west", np.s_[:, :32, :32]), ("kempen-east", np.s_[:, :33, 40:])):
        wanted = np.rint(np.median([cube[cut] for cube in cubes], axis=0))
        assert (store.read(name, "s2export")[0] == wanted).all()
        assert (store.read(name, "s2export", array="n_valid") == 3).all()
    second = build(recipe, tmp_path / "second", lock=lock, engine="stackstac")
    assert second.digest == result.digest
    meta = store.meta.sensors["s2export"]
    assert (meta.dtype, meta.scale, meta.nodata) == ("int16", 1e-4, -32768)


def test_a_provider_must_be_named_where_the_recipe_has_none(recipe_file: Path) -> None:
    with pytest.raises(InputError, match="--provider FOLDER"):
        make_plan(load_recipe(recipe_file))


def test_pucallpa_is_imported_as_display_values(tmp_path: Path) -> None:
    import rasterio

    bands = ("swir16", "nir", "red", "green")
    result = import_geotiff_series(PUCALLPA, tmp_path / "out", unit="display", bands=bands)
    store = open_store(result.path)
    assert store.validate() == []
    assert store.meta.step == "P5Y"
    meta = store.meta.sensors["image"]
    assert (meta.unit, meta.dtype, meta.nodata, meta.value_range) == (
        "display", "uint8", 0, (0.0, 255.0),
    )  # fmt: skip
    assert meta.bands == bands
    assert meta.gsd == pytest.approx(90.0, abs=0.1)
    assert {s: len(store.split(s)) for s in ("train", "val", "test")} == {
        "train": 20, "val": 5, "test": 15,
    }  # fmt: skip
    times = store.region("pucallpa_1985-2020-r03c05").record.times
    assert times == tuple(date(year, 7, 1) for year in range(1985, 2021, 5))
    values = store.read("pucallpa_1985-2020-r03c05", "image")
    valid = store.read("pucallpa_1985-2020-r03c05", "image", array="valid")
    for t, year in enumerate(range(1985, 2021, 5)):
        with rasterio.open(PUCALLPA / f"{year}.tif") as data:
            pixels = data.read()[:, 192:256, 320:384]
        assert (valid[t] == (pixels != 0).all(axis=0)).all()
        assert (values[t][:, valid[t]] == pixels[:, valid[t]]).all()


def test_the_same_import_gives_the_same_digest(tmp_path: Path) -> None:
    made = [
        import_geotiff_series(PUCALLPA, tmp_path / name, unit="display", region_size=128)
        for name in ("a", "b")
    ]
    assert made[0].digest == made[1].digest


def test_landsat_without_crs_is_refused(tmp_path: Path) -> None:
    import tarfile

    archive = next((DEV / "landsat" / "brumadinho_2019").glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "scene", filter="data")
    rasters = sorted((tmp_path / "scene").rglob("*SR_B*.TIF"))
    assert rasters
    with pytest.raises(InputError, match="has no CRS"):
        import_geotiff_series(
            rasters[0].parent, tmp_path / "out", unit="reflectance", scale=2.75e-5, offset=-0.2
        )


def test_two_series_of_naip_on_shifted_grids_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differ in grid"):
        import_geotiff_series(
            DEV / "high_res" / "naip_prairie_2010-2016", tmp_path / "out", unit="display"
        )
