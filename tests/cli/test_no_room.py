"""Every command that writes: a full disk, a cache or an output that cannot be written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import build_fixtures as catalogue
import numpy as np
import pytest
import toys
import yaml
from scores_fixtures import make_scores, save_run
from support.shell import rsbench

from rsbench.build.engine.builder import build
from rsbench.evaluation.submissions import export_task
from rsbench.store.export.release import write_release
from rsbench.store.read import open_store
from rsbench.tasks.config import EvaluationOptions

SIMULATED = {
    "name": "tiny-sim", "title": "t", "sensors": ["s2"], "bands": {"s2": ["B02"]},
    "years": [2017, 2017], "provider": "simulated", "default_preset": "tiny",
    "default_protocol": "year7",
    "simulated": {
        "seed": 0, "regions": 3, "train": 1, "val": 1, "test": 1, "size": 64,
        "scenes_per_year": 1, "years": [2017, 2017],
    },
}  # fmt: skip
WRITERS: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "--model", "persistence", "--data", "toy", "--horizon", "1", "--suite",
            "mae@1", "--out", "OUT/run"),
    "score": ("score", "answers", "--data", "toy", "--suite", "mae@1", "--out", "OUT/score"),
    "export": ("export", "toy", "--out", "OUT/export"),
    "task-npy": ("export-task", "toy", "OUT/task", "--horizon", "1"),
    "task-zarr": ("export-task", "toy", "OUT/task", "--horizon", "1", "--format", "zarr"),
    "task-geotiff": ("export-task", "toy", "OUT/task", "--horizon", "1", "--format", "geotiff"),
    "import": ("import-dataset", "geotiff-series", "rasters", "--unit", "reflectance", "--scale",
               "0.0001", "--out", "OUT/store"),
    "build": ("build-dataset", "--recipe", "./recipe.json", "--provider", "stac", "--out",
              "OUT/store"),
    "icechunk": ("build-dataset", "--recipe", "./recipe.json", "--provider", "stac", "--out",
                 "OUT/store", "--store", "icechunk"),
    "release": ("build-dataset", "--recipe", "./recipe.json", "--provider", "stac", "--out",
                "built", "--release", "OUT/release"),
    "download": ("download", "released", "--out", "OUT/store"),
    "report": ("report", "done", "--out", "OUT/report.html"),
    "expected": ("check", "done", "--against", "OUT/expected.toml", "--write"),
    "lock": ("build-dataset", "--recipe", "./recipe.json", "--provider", "stac", "--dry-run",
             "--lock", "OUT/lock.json"),
}  # fmt: skip
CACHED = {
    "train": ("train", "--model", "simvp", "--data", "toy", "--budget", "1steps"),
    "run": WRITERS["run"],
    "task-npy": WRITERS["task-npy"],
    "simulated": ("build-dataset", "--recipe", "./sim.yaml", "--out", "OUT/store"),
}
WITHOUT_CACHE = ("import", "build", "download")
Found = Mapping[str, Mapping[str, CompletedProcess[str]]]


@dataclass(frozen=True)
class Batch:
    """Commands with a size limit of files, 0 for any, and a cache."""

    cases: Mapping[str, tuple[str, ...]]
    limit: int = 0
    cache: str = "cache"


@dataclass(frozen=True)
class Desk:
    """A folder with inputs; commands run inside it."""

    root: Path

    def run(self, batches: Mapping[str, Batch]) -> Found:
        """Run commands, each with an output folder of its own."""
        return {
            batch: {
                name: rsbench(
                    self.root, *(a.replace("OUT", f"{batch}/{name}") for a in args),
                    largest_file=some.limit, RSBENCH_CACHE=str(self.root / some.cache),
                )
                for name, args in some.cases.items()
            }
            for batch, some in batches.items()
        }  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    root = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(root / "cache"))
        store = toys.write_store(root / "toy", size=64, years=3, simulated=False, simulation=None)
        stac = catalogue.random_folder(root / "stac", per_year=1)
        build(catalogue.recipe(), root / "built", provider=str(stac))
        write_release(root / "built", root / "released")
        task = export_task(store, root / "task", options=EvaluationOptions(horizon=1))
    (root / "recipe.json").write_text(catalogue.recipe().model_dump_json())
    (root / "sim.yaml").write_text(yaml.safe_dump(SIMULATED))
    draw = np.random.default_rng(0)
    for year in (2000, 2001):
        values = draw.integers(1, 9000, (1, 160, 160)).astype(np.uint16)
        catalogue.write_raster(root / "rasters" / f"{year}.tif", values, crs="EPSG:32633")
    save_run(root / "done", make_scores(regions=2, horizon=1))
    answer(task, root / "answers")
    return Desk(root)


def answer(task: Path, place: Path) -> None:
    shutil.copytree(task / "predictions", place)
    note = json.loads((place / "answer.json").read_text())
    (place / "answer.json").write_text(json.dumps({**note, "model": "mine"}))
    for item in json.loads((task / "task.json").read_text())["forecasts"]:
        last = np.load(task / "context" / item["region"] / f"{item['context'][-1]}.npy")
        (place / item["region"]).mkdir(exist_ok=True)
        np.save(place / item["region"] / f"{item['name']}.npy", last[None])


@pytest.fixture(scope="module")
def found(desk: Desk) -> Found:
    for name in ("file", "no-cache"):
        (desk.root / name).write_text("in the way")
    whole = {name: WRITERS[name] for name in WITHOUT_CACHE}
    return desk.run({
        "full": Batch(WRITERS, limit=500),
        "file": Batch({name: args for name, args in WRITERS.items() if name != "score"}),
        "c": Batch(CACHED, cache="no-cache/c"),
        "f": Batch(CACHED, limit=500, cache="new"),
        "w": Batch(whole, cache="no-cache/c"),
    })  # fmt: skip


def sentence(done: CompletedProcess[str], name: str) -> str:
    """The one sentence of a command that failed."""
    said = [line for line in done.stderr.splitlines() if line.startswith("rsbench: ")]
    assert len(said) == 1, (name, done.stderr)
    assert "Traceback" not in done.stderr, (name, done.stderr)
    assert "internal error" not in said[0], (name, said[0])
    assert ".tmp-" not in said[0], (name, said[0])
    return said[0]


def left(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(".tmp-*")]


def test_a_full_disk_is_one_sentence_of_every_command(desk: Desk, found: Found) -> None:
    for name, done in found["full"].items():
        said = sentence(done, name)
        assert done.returncode == 1, (name, said)
        assert f"full/{name}" in said or f"{desk.root}/cache" in said, (name, said)
        assert "no room left" in said, (name, said)
        assert "Free some space" in said, (name, said)
        kept = (desk.root / "full" / name / "store" / ".rsbench-journal").is_dir()
        assert "are kept" not in said or kept or name in ("icechunk", "download"), (name, said)
        if name != "download":  # it goes on with what it fetched
            assert left(desk.root / "full" / name) == [], name


def test_an_output_that_cannot_be_written_is_one_sentence_of_every_command(
    found: Found,
) -> None:
    for name, done in found["file"].items():
        said = sentence(done, name)
        assert done.returncode == 2, (name, said)
        assert f"file/{name}" in said, (name, said)
        assert "Not a directory" in said or "file is a file" in said, (name, said)


@pytest.mark.parametrize(("batch", "code", "path"), [("c", 2, "no-cache/c"), ("f", 1, "new/")])
def test_a_cache_that_cannot_be_written_is_named(
    found: Found, batch: str, code: int, path: str
) -> None:
    for name, done in found[batch].items():
        said = sentence(done, name)
        assert done.returncode == code, (name, said)
        assert path in said, (name, said)
        assert "RSBENCH_CACHE" in said, (name, said)


def test_what_is_whole_is_not_failed_by_the_cache(desk: Desk, found: Found) -> None:
    for name, done in found["w"].items():
        assert done.returncode == 0, (name, done.stderr)
        assert "is whole, but it is not recorded as the default of --data" in done.stderr, name
        assert not open_store(desk.root / "w" / name / "store").validate()
