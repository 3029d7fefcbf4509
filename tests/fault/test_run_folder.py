"""The folder of a run: one run each, one writer at a time, whole files or a refusal."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toys
from build_fixtures import write_raster
from scores_fixtures import make_scores
from support.damage import spoiled

from rsbench.cli.exit_codes import guarded
from rsbench.cli.main import app
from rsbench.core.errors import InputError
from rsbench.core.file_lock import new_directory, target_lock
from rsbench.evaluation.run_folder import finished, reserved, whole
from rsbench.evaluation.scores import SET_COLUMNS, Scores
from rsbench.evaluation.table import read_table, to_parquet


def write(out: Path, key: str, *, sets: bool = False, report: bool = True) -> None:
    made = make_scores({"extra": {"key": key}}, regions=2)
    row = {
        "model": "simvp", "preset": "tiny", "role": "model", "metric": "fid.inception64@1",
        "lead": 1, "value": 1.0, "interval": "none", "n_regions": 2, "n": 8, "d": 4, "n_missing": 0,
    }  # fmt: skip
    part = pd.DataFrame([row], columns=SET_COLUMNS) if sets else made.sets
    with reserved(out, key) as done:
        assert done is None
        with whole(out) as folder:
            Scores(made.units, made.run, part).save(folder)
            if report:
                (folder / "report.html").write_text(key)


def test_predicted_maps_come_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with whole(out) as folder:
        (folder / "maps").mkdir()
        (folder / "maps" / "classes.json").write_text("{}")
    assert (out / "maps" / "classes.json").is_file()
    with pytest.raises(InputError, match=r"it holds maps and no run\.json"):
        finished(out, "a")


def test_a_run_is_found_by_its_key(tmp_path: Path) -> None:
    write(tmp_path / "run", "a")
    found = finished(tmp_path / "run", "a")
    assert found is not None
    assert found.run.extra["key"] == "a"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda out: None, "another run"),
        (lambda out: (out / "report.html").unlink(), "another run"),
        (lambda out: (out / "run.json").unlink(), "scores.parquet and no run.json"),
        (lambda out: (out / "run.json").write_text("{"), "another run"),
        (lambda out: [p.unlink() for p in out.glob("*.[jp]*")], "report.html and no run.json"),
    ],
)
def test_another_run_is_refused_with_or_without_its_report(
    spoil: Callable[[Path], object], found: str, tmp_path: Path
) -> None:
    write(tmp_path / "run", "a")
    spoil(tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    with pytest.raises(InputError, match=found):
        write(tmp_path / "run", "b")
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


def test_files_of_an_earlier_attempt_do_not_stay(tmp_path: Path) -> None:
    write(tmp_path / "run", "a", sets=True, report=False)
    (tmp_path / "run" / "mine.txt").write_text("kept")
    write(tmp_path / "run", "a")
    assert len(Scores.load(tmp_path / "run").sets) == 0
    names = {"mine.txt", "report.html", "run.json", "scores.parquet"}
    assert {p.name for p in (tmp_path / "run").iterdir()} == names
    shutil.copy(tmp_path / "run" / "scores.parquet", tmp_path / "run" / "sets.parquet")
    assert len(Scores.load(tmp_path / "run").sets) == 0  # run.json does not list it


def test_a_damaged_run_of_the_same_key_is_made_again(tmp_path: Path) -> None:
    write(tmp_path / "run", "a")
    (tmp_path / "run" / "scores.parquet").write_bytes(b"PAR1")
    write(tmp_path / "run", "a")
    assert finished(tmp_path / "run", "a") is not None


def test_a_second_writer_is_refused_and_the_lock_file_goes(tmp_path: Path) -> None:
    with reserved(tmp_path / "run", "a") as done:
        assert done is None
        with pytest.raises(InputError, match="another process is working on it"):
            write(tmp_path / "run", "b")
        (tmp_path / "link").symlink_to(tmp_path / "run")
        with pytest.raises(InputError, match="another process"):
            write(tmp_path / "link", "b")
    (tmp_path / "link").unlink()
    assert list(tmp_path.iterdir()) == []


def test_one_of_many_processes_gets_the_folder(tmp_path: Path) -> None:
    text = (
        "import sys, time\nfrom pathlib import Path\n"
        "from rsbench.core.file_lock import new_directory\n"
        "while not Path(sys.argv[1]).exists(): pass\n"
        "with new_directory(Path(sys.argv[2]), 'writing', 'choose another') as folder:\n"
        "    (folder / 'a').write_text('a')\n    time.sleep(0.3)\n"
    )
    args = [sys.executable, "-c", text, str(tmp_path / "go"), str(tmp_path / "out")]
    many = [subprocess.Popen(args, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    (tmp_path / "go").touch()
    said = [process.communicate(timeout=60)[1] for process in many]
    assert sorted(process.returncode for process in many) == [0, 1, 1]
    others = [s for s, process in zip(said, many, strict=True) if process.returncode]
    assert all("another process is working" in s or "there already" in s for s in others), others
    assert sorted(p.name for p in tmp_path.iterdir()) == ["go", "out"]


def test_a_killed_writer_leaves_nothing_after_the_next_success(tmp_path: Path) -> None:
    text = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from rsbench.core.file_lock import new_directory\n"
        "with new_directory(Path(sys.argv[1]), 'writing', 'choose another'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", text, str(tmp_path / "out")], check=False, timeout=60)
    left = sorted(p.name for p in tmp_path.iterdir())
    assert len(left) == 2  # the folder and the lock file
    # As if another process had its number by now: only the lock tells that it is gone.
    folder = next(p for p in tmp_path.iterdir() if p.is_dir())
    parts = folder.name.split("-")
    folder.rename(tmp_path / "-".join([*parts[:-2], str(os.getpid()), parts[-1]]))
    with new_directory(tmp_path / "out", "writing", "choose another") as made:
        (made / "a").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


INTERRUPTED = """
import atexit, os, signal, sys
from pathlib import Path
from rsbench.core.file_lock import new_directory
from rsbench.core.io import write_atomic

root = Path(sys.argv[1])

def attempt(stop):
    left = stop
    def trace(frame, event, _):
        nonlocal left
        frame.f_trace_opcodes = True
        left -= 1
        if left == 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace
    sys.settrace(trace)
    try:
        with new_directory(root / "out", "writing", "choose another") as folder:
            write_atomic(folder / "a", "a")
    finally:
        sys.settrace(None)
    return left > 0

with new_directory(root / "warm", "writing", "choose another"):  # imports are not traced
    write_atomic(root / "warm.txt", "a")
(root / "warm").rmdir()
(root / "warm.txt").unlink()
stop, done = 1, False
while not done:
    child = os.fork()
    if not child:
        code = 0
        try:
            code = int(attempt(stop))
        except KeyboardInterrupt:
            pass
        atexit._run_exitfuncs()
        os._exit(code)
    done = os.waitpid(child, 0)[1] != 0
    names = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert names in (set(), {"out", "out/a"}), (stop, names)
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    stop += 17
print(stop)
"""


def test_ctrl_c_at_any_instruction_leaves_nothing(tmp_path: Path) -> None:
    """Also between making a folder and guarding it, and between its end and its removal."""
    args = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


def test_a_lock_of_another_holder_is_not_removed(tmp_path: Path) -> None:
    with target_lock(tmp_path / "out", "writing", "choose another"):
        with pytest.raises(InputError), target_lock(tmp_path / "out", "w", "c"):
            pass
        with pytest.raises(InputError), target_lock(tmp_path / "out", "w", "c"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_commands_refuse_an_output_that_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    toys.write_store(tmp_path / "toy", size=32, years=3, simulated=False, simulation=None)
    for year in (2000, 2001):
        values = np.arange(160 * 160, dtype=np.uint16).reshape(1, 160, 160) % 5000 + year
        write_raster(tmp_path / "tifs" / f"{year}.tif", values, crs="EPSG:32633")
    data, out = str(tmp_path / "toy"), str(tmp_path / "out")
    for args in (
        ("run", "--model", "persistence", "--data", data, "--horizon", "1", "--out", out),
        ("export", data, "--out", out),
        ("export-task", data, out, "--horizon", "1"),
        ("import-dataset", "geotiff-series", str(tmp_path / "tifs"), "--unit", "reflectance",
         "--scale", "0.0001", "--out", out),
    ):  # fmt: skip
        with target_lock(tmp_path / "out", "writing", "choose another"):
            assert guarded(partial(app, args, standalone_mode=False)) == 2, args
        said = capsys.readouterr().err.splitlines()[-1]
        assert "another process is working on it. Wait until it has finished, or" in said, args
        assert not (tmp_path / "out").exists()


# Digests ---------------------------------------------------------------------------------


def test_no_damage_of_a_run_changes_a_number(tmp_path: Path) -> None:
    """A hundred random changes of each file: the same table, or one sentence."""
    made = make_scores({"extra": {"key": "a"}}, regions=2, horizon=1)
    made.save(tmp_path / "run")
    wanted = Scores.load(tmp_path / "run").table()
    draw = random.Random(0)
    refused = 0
    for name in ("run.json", "scores.parquet"):
        path = tmp_path / "run" / name
        content = path.read_bytes()
        for _ in range(100):
            path.write_bytes(spoiled(content, draw))
            found = table_or_sentence(tmp_path / "run")
            if isinstance(found, str):
                refused += 1
            else:
                pd.testing.assert_frame_equal(found, wanted)
        path.write_bytes(content)
    assert refused > 190


def table_or_sentence(run: Path) -> pd.DataFrame | str:
    try:
        return Scores.load(run).table()
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    return said


def test_no_damage_of_a_table_changes_a_number(tmp_path: Path) -> None:
    path, draw = tmp_path / "table.parquet", random.Random(0)
    to_parquet(make_scores(regions=2, horizon=1).table(), path)
    content, wanted = path.read_bytes(), read_table(path)
    for _ in range(60):
        path.write_bytes(spoiled(content, draw))
        with suppress(InputError):
            pd.testing.assert_frame_equal(read_table(path), wanted)


def test_a_changed_run_is_named_with_a_way_out(tmp_path: Path) -> None:
    made = make_scores(regions=2)
    made.save(tmp_path / "run")
    value = json.loads((tmp_path / "run" / "run.json").read_text())
    for change in ({"best_trivial": "persistence"}, {"files": {}}, {"files": None}):
        (tmp_path / "run" / "run.json").write_text(json.dumps({**value, **change}))
        with pytest.raises(InputError, match=r"run\.json is damaged.*remove it and run it again"):
            Scores.load(tmp_path / "run")
    bare = {k: v for k, v in value.items() if k not in ("files", "sha256")}
    (tmp_path / "run" / "run.json").write_text(json.dumps(bare))  # as earlier versions wrote it
    assert Scores.load(tmp_path / "run").units.equals(made.units)
