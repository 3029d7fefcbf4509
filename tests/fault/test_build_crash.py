"""Builds stopped at every step they take on disk: none shows a part, all end equal.

A crash is injected into the calls by which a build changes its folder. From then on every such
call fails, so that nothing is tidied up and the folder is what a killed process would leave.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe

from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.core.errors import DiskFull, InputError
from rsbench.store.read import open_store

SMALL = {"years": (2021, 2021), "bands": {"s2": ("B02",)}}


class Crash(BaseException):
    """The process is gone."""


class Disk:
    """Counts the steps that change a folder, and stops at one of them.

    ``stop``: number of the step, from 1; 0 for none. ``after``: stop when it is done.
    ``error``: an error number for this step alone, in place of a crash.
    """

    def __init__(self, root: Path, stop: int = 0, *, after: bool = False, error: int = 0) -> None:
        self.root, self.stop, self.after, self.error = str(root), stop, after, error
        self.steps: list[str] = []
        self.dead = False
        self._lock = threading.Lock()

    def run(self, name: str, path: Any, call: Callable[[], Any]) -> Any:
        where = self._inside(path)
        if where is None:
            return call()
        with self._lock:
            if self.dead:
                raise Crash(name)
            self.steps.append(f"{name} {where}")
            here = len(self.steps) == self.stop
            if here and self.error:
                raise OSError(self.error, os.strerror(self.error), str(path))
            if here and not self.after:
                self.dead = True
                raise Crash(name)
            try:
                return call()
            finally:
                if here:
                    self.dead = True
                    raise Crash(name)

    def _inside(self, path: Any) -> str | None:
        text = behind(path) if isinstance(path, int) else os.fspath(path)
        return role(text[len(self.root) :]) if text.startswith(self.root) else None

    @contextmanager
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
        with monkeypatch.context() as patch:
            for name in ("mkdir", "rename", "replace", "unlink", "rmdir"):
                patch.setattr(os, name, self._step(name, getattr(os, name)))
            plain = io.open

            def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
                if not set(mode) & set("wxa+") or isinstance(file, int):
                    return plain(file, mode, *rest, **named)
                return self.run("write", file, lambda: plain(file, mode, *rest, **named))

            patch.setattr(os, "fsync", self._step("fsync", lambda handle: None))  # slow, unseen
            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            yield self

    def _step(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(path: Any, *rest: Any, **named: Any) -> Any:
            if named.get("dir_fd") is not None:  # rmtree: the folder it clears is the place
                held = f"{behind(named['dir_fd'])}/{path}"
                return self.run(name, held, lambda: call(path, *rest, **named))
            return self.run(name, path, lambda: call(path, *rest, **named))

        return step


def behind(handle: int) -> str:
    """The path of an open file or folder."""
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def role(path: str) -> str:
    """What a path is for: temporary names, regions and years fall together."""
    path = re.sub(r"\.tmp-[^/]*|\.[^/]*\.partial", "TMP", path)
    path = re.sub(r"\.[0-9a-f]{32}", ".TMP", path)
    path = re.sub(r"/(west|east)\b", "/REGION", path)
    path = re.sub(r"/s2\.\w+\.npy", "/ARRAY.npy", path)
    path = re.sub(r"^/TMP/s2.*", "/TMP/ARRAYS", path)
    return re.sub(r"/\d{4}\b", "/YEAR", path) or "/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"), per_year=1)


@pytest.fixture(scope="module")
def lock(folder: Path) -> Lock:
    return make_plan(recipe(**SMALL), provider=str(folder))


@pytest.fixture(scope="module")
def wanted(lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> str:
    return go(lock, tmp_path_factory.mktemp("whole") / "out")


@pytest.fixture(scope="module")
def steps(lock: Lock, wanted: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every step of an undisturbed build, by name."""
    out = tmp_path_factory.mktemp("steps") / "out"
    with pytest.MonkeyPatch.context() as patch, Disk(out).watched(patch) as disk:
        assert go(lock, out) == wanted
    return disk.steps


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def go(lock: Lock, out: Path) -> str:
    return build(recipe(**SMALL), out, lock=lock, workers=1).digest


def failure(lock: Lock, out: Path) -> str:
    """What a build says of the disk; nothing if it went well."""
    try:
        go(lock, out)
    except (DiskFull, InputError) as error:
        return str(error)
    return ""


def first_of_each(steps: list[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, name in enumerate(steps, 1):
        numbers.setdefault(name, number)
    return numbers


def require_nothing_partial(out: Path, wanted: str) -> None:
    """A store without index says so; a region with a manifest is whole; an index is the last."""
    if not (out / "index.json").exists():
        with pytest.raises(InputError):
            open_store(out)
    else:
        store = open_store(out)
        assert store.digest == wanted
        assert [f for f in store.validate() if f.kind != "extra"] == []
    for manifest in out.glob("[!.]*/manifest.json"):
        held = json.loads(manifest.read_text())
        for name, file in held["files"].items():
            assert (manifest.parent / name).stat().st_size == file["size"]


def test_the_steps_are_those_that_matter(steps: list[str]) -> None:
    names = set(first_of_each(steps))
    for wanted_step in (
        "write /.rsbench-journal/TMP",  # the identity of the build
        "replace /.rsbench-journal/TMP",
        "write /.rsbench-journal/REGION/TMP/ARRAY.npy",  # the journal's parts
        "fsync /.rsbench-journal/REGION/TMP/ARRAY.npy",
        "write /.rsbench-journal/REGION/TMP/part.json",
        "rename /.rsbench-journal/REGION/TMP",
        "fsync /.rsbench-journal/REGION",
        "write /TMP/manifest.json",  # a region
        "fsync /TMP/manifest.json",
        "rename /TMP",
        "fsync /",
        "replace /TMP",  # index, root metadata, lock, card
    ):
        assert wanted_step in names, sorted(names)
    order = [name for name in steps if name in ("rename /TMP", "replace /TMP")]
    assert len(order) >= 2 + 4


def test_a_crash_before_and_after_every_step_ends_equal(
    steps: list[str], lock: Lock, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = first_of_each(steps)
    # What stands in place at once is tried each time, not only the first of its name.
    final = {
        n
        for n, name in enumerate(steps, 1)
        if name.startswith(("rename ", "replace ")) and "ARRAYS" not in name
    }
    points = {(n, False) for n in {*numbers.values(), *final}}
    # After an fsync is before the next step.
    points |= {(n, True) for n, _ in points if not steps[n - 1].startswith("fsync")}
    hit = 0
    for number, after in sorted(points):
        out = tmp_path / f"{number}-{after}"
        disk = Disk(out, number, after=after)
        with disk.watched(monkeypatch):
            try:
                go(lock, out)
            except Crash:
                hit += 1
        point = f"{'after' if after else 'before'} {number}: {steps[number - 1]}"
        assert disk.dead, point
        require_nothing_partial(out, wanted)
        assert go(lock, out) == wanted, point
        assert open_store(out).validate() == [], point
        assert not list(out.rglob(".*")), point
        shutil.rmtree(out)
    assert hit == len(points) > 50


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def test_a_disk_that_fails_at_any_step_is_named_and_loses_nothing(
    error: int,
    steps: list[str],
    lock: Lock,
    wanted: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = first_of_each(steps)
    writing = [n for name, n in numbers.items() if not name.startswith(("unlink", "rmdir"))]
    named = 0
    for number in writing[:: 1 if error == errno.ENOSPC else 4]:
        out = tmp_path / str(number)
        point = f"{number}: {steps[number - 1]}"
        with Disk(out, number, error=error).watched(monkeypatch):
            said = failure(lock, out)
        if said:
            named += 1
            wanted_words = "no room left" if error == errno.ENOSPC else "cannot be written to"
            assert wanted_words in said, point
        require_nothing_partial(out, wanted)
        assert go(lock, out) == wanted, point
        assert open_store(out).validate() == [], point
        shutil.rmtree(out)
    assert named > 5


# Killed processes ----------------------------------------------------------------------

NURSERY = """
import os, random, signal, sys, time
sys.path.insert(0, {tests!r})
import numpy, rasterio, xarray, zarr  # once, before the processes part
from pathlib import Path
from rsbench.build.engine import builder
from rsbench.build.plan.plan import Lock
from build_fixtures import recipe

lock = Lock.load(Path({lock!r}))

def child(out):
    pid = os.fork()
    if pid == 0:
        try:
            builder.build(recipe(), out, lock=lock, workers=2)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return pid

begun = time.monotonic()
assert os.waitpid(child({base!r} + "/whole"), 0)[1] == 0
length = time.monotonic() - begun
draw = random.Random(5)
kills = rounds = 0
while kills < 20 and rounds < 60:
    out = {base!r} + "/" + str(rounds // 3)  # three times into the same folder
    rounds += 1
    pid = child(out)
    time.sleep(draw.uniform(0.05, 0.95) * length)
    os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    kills += status == signal.SIGKILL
print(kills, rounds, flush=True)
"""


def test_twenty_random_kills_end_equal(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    lock.save(tmp_path / "lock.json.gz")
    tests = str(Path(__file__).parents[1])
    base = tmp_path / "outs"
    text = NURSERY.format(tests=tests, lock=str(tmp_path / "lock.json.gz"), base=str(base))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, env=env, timeout=120
    )
    assert done.returncode == 0, done.stderr
    kills, rounds = map(int, done.stdout.split())
    assert kills >= 20
    wanted = open_store(base / "whole").digest
    for number in range(-(-rounds // 3)):
        out = base / str(number)
        require_nothing_partial(out, wanted)
        assert build(recipe(), out, lock=lock).digest == wanted
        assert open_store(out).validate() == []
        assert not list(out.rglob(".*"))


TWO = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from rsbench.build.engine import builder
from rsbench.build.engine.journal import Journal
from rsbench.build.plan.plan import Lock
from build_fixtures import recipe
keep = Journal.save
def slow(self, *rest):
    keep(self, *rest)
    print("saved", flush=True)
    sys.stdin.readline()
Journal.save = slow
builder.build(recipe(), {out!r}, lock=Lock.load(Path({lock!r})), workers=1)
"""


def test_a_second_process_is_refused_and_harms_nothing(folder: Path, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    lock.save(tmp_path / "lock.json.gz")
    tests, out = str(Path(__file__).parents[1]), tmp_path / "out"
    text = TWO.format(tests=tests, out=str(out), lock=str(tmp_path / "lock.json.gz"))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "saved\n"
        held = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        with pytest.raises(InputError, match="another process is working on it"):
            build(recipe(), out, lock=lock)
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == held
        first.stdin.write("\n" * 8)
        first.stdin.close()
        assert first.wait(60) == 0
    digest = open_store(out).digest
    assert build(recipe(), tmp_path / "other", lock=lock).digest == digest


def test_a_folder_that_is_closed_is_one_clear_sentence(
    lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change is refused, as on a read-only disk; tests may run as the superuser."""
    make = os.mkdir

    def closed(path: Any, *rest: Any, **named: Any) -> None:
        if str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        make(path, *rest, **named)

    monkeypatch.setattr(os, "mkdir", closed)
    with pytest.raises(InputError, match=r"cannot be written to \(Read-only file system\)"):
        go(lock, tmp_path / "out")
