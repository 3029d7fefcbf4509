"""Fusion of real imagery by its commands, from raw files to table; skipped without
RSBENCH_TEST_DATA.

Three sets: Kranj (six bands in float32, × 10000 beside 0 … 1, no CRS in the files), BOREAS (three
bands in int16, ENVI, no place stated) and Yanco (land-surface temperature in kelvin, two dates).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import shell

from rsbench.store.read import open_store

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
SETS = Path(DATA or ".") / "dev" / "coarse_fine"
SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m"
IMPORT = ("import-dataset", "geotiff-triplets")
PAIR_DATES = r"^(?P<year>\d{4})(?P<doy>\d{3})_"


@dataclass(frozen=True)
class Desk:
    """A folder in which commands run."""

    root: Path

    def rsbench(self, *args: str, code: int = 0) -> str:
        done = shell.rsbench(self.root, *args, timeout=280)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def scores(self, run: str) -> pd.DataFrame:
        """Return the headline values, models down and metrics across."""
        table = pd.read_parquet(self.root / run / "table.parquet")
        whole = table.query("band == 'all' and stratum == 'all'")
        return whole.pivot_table(index="model", columns="metric", values="value")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("fusion"))


def copy(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder / file.name)


# Kranj -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kranj(desk: Desk) -> Desk:
    source = SETS / "kranj_2020"
    copy(sorted((source / "landsat/filled").glob("*.tif")), desk.root / "kranj" / "landsat")
    copy(sorted((source / "modis/filled").glob("*.tif")), desk.root / "kranj" / "modis")
    desk.rsbench(
        *IMPORT, "kranj", "--unit", "reflectance", "--scale", "0.0001", "--crs", SINUSOIDAL,
        "--bands", "blue,green,red,nir,swir1,swir2", "--dates", PAIR_DATES,
        "--coarse-gsd", "463", "--out", "kranj.zarr",
    )  # fmt: skip
    return desk


def test_kranj_gives_the_numbers_known(kranj: Desk) -> None:
    """RMSE, CC, SAM in radians and ERGAS at 1/16 were worked out by another program."""
    kranj.rsbench("run", "--model", "estarfm", "--data", "kranj.zarr", "--out", "kranj-run")
    found = kranj.scores("kranj-run")
    expected = {
        "copy_f0": (0.9429, 0.0645, 1.3892),
        "copy_f2": (0.9598, 0.0590, 0.7718),
        "mean_refs": (0.9718, 0.0527, 0.9093),
        "add_change": (0.9429, 0.0833, 1.1317),
        "copy_c1": (0.5512, 0.1418, 2.0839),
        "estarfm": (0.9737, 0.0661, 0.8115),
    }
    assert set(found.index) == {*expected, "interpolate_refs"}
    for model, (cc, sam, ergas) in expected.items():
        row = found.loc[model]
        shown = (row["cc@1"], np.deg2rad(row["sam@1"]), row["ergas.r16@1"])
        assert shown == pytest.approx((cc, sam, ergas), abs=1e-4), model
    table = (kranj.root / "kranj-run" / "table.md").read_text()
    assert "inputs: fine+coarse n_refs=2" in table
    assert "simulated" not in table


def test_one_reference_models_are_averaged_and_the_table_says_so(kranj: Desk) -> None:
    kranj.rsbench("run", "--model", "fsdaf", "--data", "kranj.zarr", "--out", "kranj-fsdaf")
    table = (kranj.root / "kranj-fsdaf" / "table.md").read_text()
    assert "fsdaf: fine+coarse n_refs=2, one at a time, averaged" in table


def test_two_scales_in_one_set_are_refused(kranj: Desk) -> None:
    """MODIS is 0 … 1: the scale of Landsat, stated for both, cannot be true."""
    said = kranj.rsbench(
        *IMPORT, "kranj", "--unit", "reflectance", "--scale", "0.0001", "--coarse-scale", "0.0001",
        "--crs", SINUSOIDAL, "--dates", PAIR_DATES, "--coarse-gsd", "463", "--out", "no.zarr",
        code=2,
    )  # fmt: skip
    assert "of the same ground" in said
    assert not (kranj.root / "no.zarr").exists()


# BOREAS ----------------------------------------------------------------------------------


def test_boreas(desk: Desk) -> None:
    """Files without a place get a plain grid of 30 m; two pairs, and the July image is truth."""
    import rasterio
    from affine import Affine
    from rasterio.errors import NotGeoreferencedWarning

    source = SETS / "boreas_2001"
    for name, folder in (("tm", "fine"), ("modis", "coarse")):
        (desk.root / "boreas" / folder).mkdir(parents=True)
        for day in ("0524", "0711", "0812"):
            with pytest.warns(NotGeoreferencedWarning), rasterio.open(source / f"{name}{day}") as f:
                values = f.read()
            with rasterio.open(
                desk.root / "boreas" / folder / f"2001{day}.tif", "w", driver="GTiff", count=3,
                height=400, width=400, dtype="int16", transform=Affine(30, 0, 0, 0, -30, 12000),
            ) as out:  # fmt: skip
                out.write(values)
    stated = (
        "boreas", "--unit", "reflectance", "--scale", "0.0001", "--coarse-scale", "0.0001",
        "--bands", "green,red,nir", "--coarse-gsd", "480", "--out", "boreas.zarr",
    )  # fmt: skip
    assert "it has no CRS" in desk.rsbench(*IMPORT, *stated, code=2)
    desk.rsbench(*IMPORT, *stated, "--crs", "EPSG:32613")
    desk.rsbench("run", "--model", "starfm", "--data", "boreas.zarr", "--out", "boreas-run")
    found = desk.scores("boreas-run")
    # In this season the coarse images tell much: change beats every copy, STARFM beats change.
    assert found.loc["starfm", "rmse@1"] < found.loc["add_change", "rmse@1"]
    assert found.loc["starfm", "rmse@1"] < found.loc["copy_f0", "rmse@1"]
    run = json.loads((desk.root / "boreas-run" / "run.json").read_text())
    assert run["inputs"]["starfm"] == "fine+coarse n_refs=2"
    assert run["starts"] == ["2001-05-24"]


# Yanco -----------------------------------------------------------------------------------


def test_yanco_in_kelvin(desk: Desk) -> None:
    """Fine images of two dates only: one reference, and the third coarse image is not asked for."""
    source = SETS / "yanco_lst_2016"
    copy(sorted(source.glob("Landsat*.tif")), desk.root / "yanco" / "fine")
    copy(sorted(source.glob("MOD11A1*.tif")), desk.root / "yanco" / "coarse")
    desk.rsbench(
        *IMPORT, "yanco", "--unit", "kelvin", "--bands", "lst", "--coarse-gsd", "1000",
        "--out", "yanco.zarr",
    )  # fmt: skip
    store = open_store(desk.root / "yanco.zarr")
    assert (store.meta.default_protocol, store.sensor("fine").unit) == ("fusion1", "kelvin")
    desk.rsbench("run", "--model", "starfm", "--data", "yanco.zarr", "--out", "yanco-run")
    found = desk.scores("yanco-run")
    assert {"copy_f0", "add_change", "copy_c1", "starfm"} == set(found.index)
    assert 0.1 < found.loc["starfm", "rmse@1"] < 20
    table = (desk.root / "yanco-run" / "table.md").read_text()
    assert "copy_f2: needs 2 reference dates, the table has 1" in table
    assert "mean_refs: needs 2 reference dates, the table has 1" in table
