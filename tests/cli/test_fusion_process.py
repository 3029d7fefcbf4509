"""Fusion by its commands: from a recipe to a table, once for all tests of this file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from support import shell

from rsbench.build.plan.lock import Lock
from rsbench.catalog import load_recipe
from rsbench.store.layout import INDEX, LOCK
from rsbench.store.read import open_store

TRIVIAL = ("copy_f0", "copy_f2", "mean_refs", "interpolate_refs", "add_change", "copy_c1")

PINNED = ("f820520a816387a5", "5f72a4d769d50691")
"""Digests of the small store and of its lock."""


@dataclass(frozen=True)
class Desk:
    """A folder in which commands run."""

    root: Path

    def rsbench(self, *args: str, code: int = 0) -> str:
        done = shell.rsbench(self.root, *args)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "rsbench.cli", *args]

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_")}
        return {**kept, "RSBENCH_CACHE": str(self.root / "cache"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(tmp_path_factory.mktemp("fusion"))
    recipe = load_recipe("demo-fusion")
    assert recipe.simulated is not None
    assert recipe.lattice is not None
    changes = {"regions": 3, "train": 1, "val": 1, "test": 1, "size": 112, "scenes_per_year": 40}
    spec = recipe.simulated.model_copy(update=changes)
    lattice = recipe.lattice.model_copy(update={"size": 32})
    small = recipe.model_copy(update={"name": "small", "simulated": spec, "lattice": lattice})
    (made.root / "small.yaml").write_text(small.model_dump_json())
    made.rsbench("build-dataset", "--recipe", "small.yaml", "--out", "small.zarr")
    made.rsbench("run", "--model", "add_change", "--data", "small.zarr", "--out", "run")
    return made


def test_one_recipe_gives_one_digest_and_a_finished_store_is_left_alone(desk: Desk) -> None:
    first = open_store(desk.root / "small.zarr")
    assert first.validate() == []
    assert first.meta.lock_digest is not None
    assert (first.digest[:16], first.meta.lock_digest[:16]) == PINNED
    before = {p: p.stat().st_mtime_ns for p in first.path.rglob("*") if p.is_file()}
    said = desk.rsbench("build-dataset", "--recipe", "small.yaml", "--out", "small.zarr")
    assert first.digest in said
    assert {p: p.stat().st_mtime_ns for p in first.path.rglob("*") if p.is_file()} == before
    desk.rsbench("build-dataset", "--recipe", "small.yaml", "--out", "again.zarr")
    assert open_store(desk.root / "again.zarr").digest == first.digest


def test_a_frozen_search_and_worker_processes_give_the_same_store(desk: Desk) -> None:
    first = open_store(desk.root / "small.zarr")
    planned = desk.rsbench("build-dataset", "--recipe", "small.yaml", "--dry-run", "--lock", "l")
    assert "3 regions" in planned
    assert Lock.load(desk.root / "l").digest == first.meta.lock_digest
    assert not (desk.root / "locked.zarr").exists()
    options = ("--lock", "l", "--workers", "2", "--out", "locked.zarr")
    command = desk.command("build-dataset", "--recipe", "small.yaml", *options)
    subprocess.run(command, cwd=desk.root, env=desk.environment(), check=True, timeout=120)
    assert open_store(desk.root / "locked.zarr").digest == first.digest


def test_a_killed_build_resumes_to_the_same_store(desk: Desk) -> None:
    command = ("build-dataset", "--recipe", "small.yaml", "--lock", "l", "--out", "killed.zarr")
    desk.rsbench("build-dataset", "--recipe", "small.yaml", "--dry-run", "--lock", "l")
    target = desk.root / "killed.zarr"
    with subprocess.Popen(
        desk.command(*command), cwd=desk.root, env=desk.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as child:  # fmt: skip
        while not (target / LOCK).exists() and child.poll() is None:
            time.sleep(0.01)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert not (target / INDEX).exists()
    desk.rsbench(*command)
    assert open_store(target).digest == open_store(desk.root / "small.zarr").digest


def test_the_table_has_every_trivial_row_and_says_what_it_saw(desk: Desk) -> None:
    table = pd.read_parquet(desk.root / "run" / "table.parquet")
    whole = table.query("band == 'all' and stratum == 'all' and metric == 'mse@1'")
    assert set(whole.loc[whole["value"].notna(), "model"]) == set(TRIVIAL)
    assert set(table["inputs"]) == {"landsat+mod09a1 n_refs=2"}
    assert set(table["lead"]) == {1}
    assert {m for m in table["metric"] if m.startswith("ergas")} == {"ergas.r16@1"}
    bands = set(table.query("metric == 'rmse@1'")["band"])
    assert bands == {"all", "blue", "green", "red", "nir08", "swir16", "swir22"}


def test_the_page_speaks_of_target_dates_and_references(desk: Desk) -> None:
    markdown = (desk.root / "run" / "table.md").read_text()
    assert "| model | preset | target date |" in markdown
    assert "inputs: landsat+mod09a1 n_refs=2" in markdown
    assert "simulated data: no result about real imagery" in markdown
    assert "lead" not in markdown
    page = (desk.root / "run" / "report.html").read_text()
    assert "<dt>References</dt><dd title=" in page
    assert "2 per target" in page
    for word in (
        "Decay with lead",
        "Half-life",
        ">lead 1<",
        "year +1",
        "same starts",
        "<dt>Horizon",
    ):
        assert word not in page


def test_the_recipe_says_which_places_change(desk: Desk) -> None:
    strata = {
        name: open_store(desk.root / "small.zarr").region(name).record.strata["stratum"]
        for name in open_store(desk.root / "small.zarr").regions
    }
    assert set(strata.values()) <= {"land-cover-change", "no-land-cover-change"}
    listed = json.loads(desk.rsbench("inspect", "small.zarr", "--json"))
    assert set(listed["sensors"]) == {"landsat", "mod09a1"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--model", "simvp"), "protocol fusion2 asks for fusion. Choose a model of that task"),
        (("--model", "add_change", "--protocol", "year3"), "holds triplets"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(desk: Desk, args: tuple[str, ...], says: str) -> None:
    said = desk.rsbench("run", *args, "--data", "small.zarr", "--out", "no", code=2)
    lines = [line for line in said.splitlines() if line.startswith("rsbench:")]
    assert len(lines) == 1
    assert says in lines[0], said
    assert "Traceback" not in said
    assert not (desk.root / "no").exists()
