"""The main job on real imagery, by its commands; skipped without RSBENCH_TEST_DATA."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from support import shell

from rsbench.evaluation.scores import COLUMNS

DATA = os.environ.get("RSBENCH_TEST_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="RSBENCH_TEST_DATA is not set")
PUCALLPA = Path(DATA or ".") / "dev" / "landsat" / "pucallpa_1985-2020"
SIDE, LEADS = 64, 7


@dataclass(frozen=True)
class Desk:
    """A folder with an imported store, its runs, and what the commands said."""

    root: Path

    def rsbench(self, *args: str) -> str:
        done = shell.rsbench(self.root, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def table(self, run: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / run / "table.parquet")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(tmp_path_factory.mktemp("real"))
    made.rsbench(
        "import-dataset", "geotiff-series", str(PUCALLPA), "--unit", "display",
        "--bands", "swir16,nir,red,green", "--out", "puc.zarr",
    )  # fmt: skip
    asked = ("--data", "puc.zarr", "--horizon", str(LEADS))
    made.rsbench("run", "--model", "persistence", *asked, "--out", "persistence")
    made.rsbench(
        "run", "--model", "simvp", "--preset", "tiny", *asked, "--budget", "4steps",
        "--out", "simvp",
    )  # fmt: skip
    return made


def images() -> list[np.ndarray]:
    """The eight composites as (C, H, W) float64, read without the package."""
    read = []
    for path in sorted(PUCALLPA.glob("*.tif")):
        with rasterio.open(path) as file:
            read.append(file.read().astype(np.float64))
    return read


def test_persistence_is_what_a_loop_over_the_files_gives(desk: Desk) -> None:
    """0 is nodata by the files' own tag; a hole in the only frame given takes the band's mean."""
    table = desk.table("persistence")
    found = table.query(
        "model == 'persistence' and metric == 'mse@1' and band == 'all' and stratum == 'all'"
    ).set_index("lead")["value"]
    index = json.loads((desk.root / "puc.zarr" / "index.json").read_text())
    tests = [r["name"] for r in index["regions"] if r["split"] == "test"]
    first, *later = images()
    by_hand = []
    for after in later:
        errors = []
        for name in tests:
            row, column = (int(part) for part in name.rsplit("-r", 1)[1].split("c"))
            y, x = row * SIDE, column * SIDE
            a, b = (image[:, y : y + SIDE, x : x + SIDE] for image in (first, after))
            known, seen = (a != 0).all(axis=0), (b != 0).all(axis=0)
            filled = np.where(known, a, a[:, known].mean(axis=1)[:, None, None])
            errors.append(float(((filled - b) ** 2)[:, seen].mean()))
        by_hand.append(sum(errors) / len(errors))
    assert found.loc[list(range(1, LEADS + 1))].tolist() == pytest.approx(by_hand, rel=1e-5)


def test_the_table_says_what_it_was_made_from(desk: Desk) -> None:
    table = desk.table("simvp")
    assert tuple(table.columns) == tuple(COLUMNS)
    assert set(table["step"]) == {"P5Y"}
    assert set(table["dataset"]) == {"pucallpa_1985-2020 (one scene)"}
    assert {"simvp", "persistence", "damped_persistence"} <= set(
        table.loc[table["value"].notna(), "model"]
    )
    scored = table[table["value"].notna() & (table["interval"] != "none")]
    assert len(scored)
    assert scored["interval"].str.endswith("-one-scene").all()
    simvp = table.query("model == 'simvp' and metric == 'mse@1' and stratum == 'all'")
    assert set(simvp["lead"]) == set(range(1, LEADS + 1))
    assert simvp["weights"].notna().all()
    markdown = (desk.root / "simvp" / "table.md").read_text()
    assert "blocks of one scene" in markdown
    report = (desk.root / "simvp" / "report.html").read_text()
    assert "blocks of one series" in report
    assert "each lead always has the same target date" in report


def test_no_training_block_touches_a_test_block(desk: Desk) -> None:
    index = json.loads((desk.root / "puc.zarr" / "index.json").read_text())
    places = {"train": [], "test": [], "val": []}
    for region in index["regions"]:
        row, column = region["name"].rsplit("-r", 1)[1].split("c")
        places[region["split"]].append((int(row), int(column)))
    gaps = [
        max(abs(a[0] - b[0]), abs(a[1] - b[1]))
        for a in places["train"]
        for b in places["test"] + places["val"]
    ]
    assert min(gaps) >= 2  # one whole block between them
