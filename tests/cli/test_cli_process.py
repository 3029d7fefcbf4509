"""The command line as a process: what a person sees after bad input, a full disk, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import build_fixtures as catalogue
import numpy as np
import pytest
import toys
from support import shell
from support.stac_server import Fault, serve

from rsbench.core.errors import InputError
from rsbench.evaluation.scores import Scores
from rsbench.evaluation.table import to_parquet
from rsbench.store.read import open_store

HEAVY = ("torch", "rasterio", "xarray", "pystac")
RUN = ("run", "--model", "persistence", "--data", "toy", "--horizon", "2")
IMPORT = ("import-dataset", "geotiff-series")
REFLECTANCE = ("--unit", "reflectance", "--scale", "0.0001")


@dataclass(frozen=True)
class Place:
    """A folder with good and bad inputs, and a cache of its own; commands run inside it."""

    root: Path

    def command(self, *args: str, flags: tuple[str, ...] = ()) -> list[str]:
        return [sys.executable, *flags, "-m", "rsbench.cli", *args]

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_")}
        return {**kept, "RSBENCH_CACHE": str(self.root / "cache"), "OMP_NUM_THREADS": "1"}

    def rsbench(
        self, *args: str, flags: tuple[str, ...] = (), largest_file: int = 0
    ) -> subprocess.CompletedProcess[str]:
        if not flags:
            return shell.rsbench(self.root, *args, largest_file=largest_file)
        return subprocess.run(
            self.command(*args, flags=flags), cwd=self.root, env=self.environment, text=True,
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*args), cwd=self.root, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c,
        )  # fmt: skip


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs: these, and all they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("process")
    store = toys.write_store(root / "toy", size=32, years=4, simulated=False, simulation=None)
    region = store.regions[-1]
    cut = shutil.copytree(root / "toy", root / "cut")
    shard = max(
        (p for p in (cut / region).rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    unfinished = shutil.copytree(root / "toy", root / "unfinished")
    (unfinished / "index.json").unlink()
    other = shutil.copytree(root / "toy", root / "other-schema") / "index.json"
    other.write_text(json.dumps({**json.loads(other.read_text()), "schema": 99}))
    (root / "empty").mkdir()
    _rasters(root)
    return Place(root)


def _rasters(root: Path) -> None:
    draw = np.random.default_rng(0)
    whole = draw.integers(1, 9000, (1, 160, 160)).astype(np.uint16)
    part = draw.random((1, 160, 160)).astype(np.float32)
    holes = part.copy()
    holes[0, 3, 3] = np.nan
    for folder, first, second in (
        ("good", whole, whole),
        ("dtypes", whole, part),
        ("units", part, 10_000 * part),
        ("nan", holes, holes),
        ("nocrs", whole, whole),
    ):
        crs = None if folder == "nocrs" else "EPSG:32633"
        for year, values in ((2000, first), (2001, second)):
            catalogue.write_raster(root / folder / f"{year}.tif", values, crs=crs)


@pytest.fixture(scope="module")
def finished(place: Place) -> Path:
    """A finished run of the toy store, and one with other keys beside it."""
    done = place.rsbench(*RUN, "--out", "finished")
    assert done.returncode == 0, done.stderr
    scores = Scores.load(place.root / "finished")
    other = replace(scores, run=replace(scores.run, split="val"))
    other.save(place.root / "other-keys")
    to_parquet(other.table(), place.root / "other-keys" / "table.parquet")
    return place.root / "finished"


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that says what is wrong; notes of a run may stand before it."""
    assert "Traceback" not in done.stderr
    *notes, last = done.stderr.splitlines()
    assert last.startswith("rsbench")
    assert not [line for line in notes if line.startswith("rsbench") or "rror" in line]
    assert done.stdout == ""
    return last


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".tmp" in path.name or path.suffix == ".tmp"]


# Names and numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("modles",), "Did you mean 'models'"),
        (("run", "--mdel", "x"), "--model"),
        (("run",), "Missing option '--model'"),
        (("run", "--model", "persistnce", "--data", "toy"), "Did you mean persistence"),
        ((*RUN, "--preset", "tiny"), "Known: default"),
        ((*RUN, "--suite", "pixl"), "Did you mean pixel"),
        ((*RUN, "--suite", "psnrr@1"), "Did you mean psnr@1"),
        ((*RUN, "--protocol", "yaer7"), "Did you mean year7"),
        ((*RUN, "--split", "tset"), "Did you mean test"),
        ((*RUN, "--keep-predictions", "al"), "Did you mean all"),
        ((*RUN, "--context", "many"), "Give a number, or all"),
        ((*RUN, "--members", "0"), "greater than or equal to 1"),
        ((*RUN, "--horizon", "9"), "the data have 4 dates"),
        (("build-dataset", "--recipe", "dmeo"), "Did you mean demo"),
        (("build-dataset", "--recipe", "demo", "--regions", "smi-01"), "Did you mean sim-01"),
        (("build-dataset", "--regions", "congo"), "Did you mean Kisangani_DR_Congo"),
        (("build-dataset", "--recipe", "demo", "--years", "all"), "Write it as 2017-2024"),
        (("build-dataset", "--provider", "http://127.0.0.1:9/"), "--recipe demo"),
        (("build-dataset", "--provider", "empty"), "no STAC items"),
        (("build-dataset", "--lock", "toy/index.json"), "lock"),
        (("contract", "persistnce"), "Did you mean persistence"),
        (("train", "--model", "simvp", "--augment", "flip"), "Did you mean flips"),
        (("import-dataset", "geotif-series", "good"), "Did you mean geotiff-series"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_a_wrong_name_or_number_is_one_sentence(
    place: Place, args: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    out = () if args[0] in ("contract", "modles", "train") else ("--out", str(tmp_path / "out"))
    done = place.rsbench(*args, *out)
    assert (says in sentence(done), done.returncode) == (True, 2), done.stderr
    assert list(tmp_path.iterdir()) == []


# Stores ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "store", "says"),
    [
        ("run", "nowhere", "nothing is there. Type: rsbench build-dataset"),
        ("run", "empty", "the folder is empty. Type: rsbench build-dataset"),
        ("run", "unfinished", "unfinished"),
        ("run", "cut", "Run the build again"),
        ("run", "other-schema", "schema 99"),
        ("run", "good", "it is no store"),
        ("inspect", "other-schema", "schema 99"),
        ("export", "cut", "Run the build again"),
    ],
)
def test_a_store_that_is_none_is_one_sentence(
    place: Place, command: str, store: str, says: str, tmp_path: Path
) -> None:
    out = ("--out", str(tmp_path / "out"))
    args = {
        "run": ("run", "--model", "persistence", "--horizon", "2", *out, "--data"),
        "inspect": ("inspect",),
        "export": ("export", *out),
    }[command]
    done = place.rsbench(*args, store)
    assert (says in sentence(done), done.returncode) == (True, 2), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_validate_names_the_file_of_a_store_cut_short(place: Place) -> None:
    done = place.rsbench("validate", "cut")
    assert (done.stdout, done.returncode) == ("", 1)
    assert any("image" in line for line in done.stderr.splitlines())
    assert place.rsbench("validate", "toy").returncode == 0


# Rasters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "unit", "says"),
    [
        ("nowhere", REFLECTANCE, "no such folder"),
        ("empty", REFLECTANCE, "Give a folder of .tif files"),
        ("good", (), "no unit is stated"),
        ("good", REFLECTANCE[:2], "no scale is stated"),
        ("nocrs", REFLECTANCE, "State it with --crs"),
        ("dtypes", REFLECTANCE, "differ in dtype: uint16 and float32"),
        ("units", REFLECTANCE[:2], "unlike in 2000.tif"),
        ("nan", REFLECTANCE[:2], "--nodata nan"),
        ("good", (*REFLECTANCE, "--bands", "a,b"), "it names 2 bands"),
        ("good", (*REFLECTANCE, "--crs", "EPSG:0"), "names no coordinate system"),
    ],
)
def test_a_folder_that_cannot_be_imported_is_one_sentence(
    place: Place, source: str, unit: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    done = place.rsbench(*IMPORT, source, *unit, "--out", str(tmp_path / "out"))
    assert (says in sentence(done), done.returncode) == (True, 2), done.stderr
    assert list(tmp_path.iterdir()) == []


# Results ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("check", "finished", "--against", "other-keys"), 3, "split"),
        (("compare", "finished", "other-keys"), 3, "split"),
        (("table", "finished", "other-keys"), 3, "split"),
        (("check", "finished", "--against", "empty"), 2, "rsbench run --out"),
        (("check", "toy", "--against", "finished"), 2, "rsbench run --out"),
        (("report", "nowhere", "--out", "page.html"), 2, "rsbench run --out"),
        (("report", "finished", "--out", "finished/run.json"), 2, "--force"),
        (("table", "finished", "--csv", "--latex"), 2, "Give one"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("finished")
def test_results_that_do_not_fit_are_one_sentence(
    place: Place, args: tuple[str, ...], code: int, says: str
) -> None:
    done = place.rsbench(*args)
    assert (says in sentence(done), done.returncode) == (True, code), done.stderr
    assert not (place.root / "page.html").exists()


def test_a_run_typed_twice_does_nothing_and_says_so(place: Place, finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    done = place.rsbench(*RUN, "--out", "finished")
    assert (done.returncode, "nothing was left to do" in done.stderr) == (0, True), done.stderr
    assert "report: finished/report.html" in done.stdout
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


@pytest.mark.parametrize(
    ("out", "says"), [("finished", "it holds another run"), ("toy/index.json", "is a file")]
)
def test_a_taken_place_is_left_as_it_is(place: Place, finished: Path, out: str, says: str) -> None:
    before = (finished / "run.json").read_bytes(), (place.root / "toy/index.json").read_bytes()
    done = place.rsbench(*RUN, "--seed", "1", "--out", out)
    assert (says in sentence(done), done.returncode) == (True, 2), done.stderr
    assert before == (
        (finished / "run.json").read_bytes(), (place.root / "toy/index.json").read_bytes()
    )  # fmt: skip


@pytest.mark.parametrize(
    "args",
    [(*IMPORT, "good", *REFLECTANCE), ("export", "toy")],
    ids=["import-dataset", "export"],
)
def test_a_folder_with_other_things_is_not_written_into(
    place: Place, args: tuple[str, ...]
) -> None:
    before = sorted((place.root / "nocrs").rglob("*"))
    done = place.rsbench(*args, "--out", "nocrs")
    assert ("Choose another --out" in sentence(done), done.returncode) == (True, 2)
    assert sorted((place.root / "nocrs").rglob("*")) == before


# A full disk -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "room"),
    [
        ((*IMPORT, "good", *REFLECTANCE), 1_000),
        ((*RUN, "--seed", "2"), 4_000),
        ((*RUN, "--seed", "3", "--keep-predictions", "none"), 15_000),
    ],
    ids=["import-dataset", "run", "run-tables"],
)
@pytest.mark.usefixtures("finished")
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(
    place: Place, args: tuple[str, ...], room: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = place.rsbench(*args, "--out", str(out), largest_file=room)
    assert ("no room left" in sentence(done), done.returncode) == (True, 1), done.stderr
    assert not (out / "index.json").exists()
    assert not (out / "run.json").exists()
    assert not leftovers(tmp_path)
    if args[0] != "run" or room < 10_000:  # once is enough for a run
        assert place.rsbench(*args, "--out", str(out)).returncode == 0


# Ctrl-C ----------------------------------------------------------------------------------


def until(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.01)


def interrupted(process: subprocess.Popen[str]) -> str:
    """Send Ctrl-C and return what the process says last."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    # Python may end by the signal itself if it came while a module was loaded: 130 in a shell.
    assert process.returncode in (130, -signal.SIGINT), err
    return sentence(done)


@pytest.fixture
def slow_catalogue(tmp_path: Path) -> Iterator[str]:
    folder = catalogue.random_folder(tmp_path / "stac", per_year=2)
    (tmp_path / "recipe.json").write_text(catalogue.recipe().model_dump_json())
    late = Fault(latency=0.4)
    with serve(folder, fault=lambda r: late if r.path.endswith("B03.tif") else None) as url:
        yield url


def test_ctrl_c_in_a_build_leaves_what_was_finished(
    place: Place, slow_catalogue: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    args = ("build-dataset", "--recipe", str(tmp_path / "recipe.json"), "--provider",
            slow_catalogue, "--workers", "1", "--out", str(out))  # fmt: skip
    process = place.start(*args)
    until((out / ".rsbench-journal" / "build.json").exists, process)
    assert "Type the same command to go on" in interrupted(process)
    with pytest.raises(InputError, match="unfinished"):
        open_store(out)
    assert not leftovers(out)
    done = place.rsbench(*args)
    assert done.returncode == 0, done.stderr
    assert open_store(out).complete


def test_ctrl_c_in_a_run_leaves_nothing_half_written(place: Place, tmp_path: Path) -> None:
    process = place.start(*RUN, "--seed", "7", "--out", str(tmp_path / "out"))
    until(lambda: any(tmp_path.iterdir()), process)  # it scores, its files stand aside
    assert "Type the same command to go on" in interrupted(process)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_training_goes_on_with_the_same_weights(place: Place) -> None:
    args = ("train", "--model", "simvp", "--data", "toy", "--budget", "6steps")
    process = place.start(*args)
    home = place.root / "cache" / "checkpoints"
    until(lambda: list(home.glob("simvp-*/*/*")), process)
    assert "same command" in interrupted(process)
    assert not list(home.rglob("checkpoint.json"))
    done = place.rsbench(*args)
    assert done.returncode == 0, done.stderr
    # One folder: the second process drew the same first weights, so it is the same training.
    assert [str(path) for path in home.glob("simvp-*/*")] == [done.stdout.strip()]
    assert not leftovers(home)


# What a light command loads --------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("models",),
        ("metrics",),
        ("check", "finished", "--against", "finished"),
        ("compare", "finished", "finished"),
        ("table", "finished"),
        ("report", "finished", "--out", "light.html", "--force"),
    ],
    ids=lambda args: args[0],
)
@pytest.mark.usefixtures("finished")
def test_a_light_command_loads_nothing_heavy(place: Place, args: tuple[str, ...]) -> None:
    done = place.rsbench(*args, flags=("-X", "importtime"))
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rsbench.cli.main" in loaded or "typer" in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    "command",
    ["build-dataset", "import-dataset", "inspect", "validate", "export", "train", "run", "check",
     "compare", "report", "table", "models", "metrics", "recipes", "regions", "weights check",
     "weights fetch", "lock diff", "doctor", "demo", "contract"],
)  # fmt: skip
def test_every_command_and_option_is_explained(command: str) -> None:
    import typer
    from typer.testing import CliRunner

    from rsbench.cli.main import app

    assert isinstance(app, typer.Typer)
    done = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=200)
    assert done.exit_code == 0
    for line in done.stdout.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            assert len(line.split()) > 1
            words = line.split("  ")
            assert len([w for w in words if w]) > 1 or not line.strip().startswith("-"), line


def test_doctor_and_lists_answer_at_once(place: Place) -> None:
    assert "torch" in place.rsbench("doctor").stdout
    assert "demo" in place.rsbench("recipes").stdout
    regions = json.loads(place.rsbench("regions", "--json").stdout)
    assert len(regions) == 100
    own = json.loads(place.rsbench("regions", "--recipe", "landsat-modis", "--json").stdout)
    assert len(own) == 20
    assert not {r["name"] for r in own} & {r["name"] for r in regions}
