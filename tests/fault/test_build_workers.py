"""Units done elsewhere: by processes or a dask cluster, killed or not, one digest."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe, shared_cache, simulated_recipe
from support.stac_server import serve

from rsbench.build.engine import builder
from rsbench.build.engine.builder import build, build_part, finalise_parts
from rsbench.build.engine.workers import Cluster, Order
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.catalog import Recipe
from rsbench.core.errors import InputError, UnitFailed
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    return make_plan(recipe(), provider=str(random_folder(tmp_path_factory.mktemp("stac"))))


@pytest.fixture(scope="module")
def wanted(lock: Lock, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(recipe(), tmp_path_factory.mktemp("whole") / "out", lock=lock).digest


@contextmanager
def killing(count: int) -> Iterator[list[int]]:
    """Kill the first ``count`` worker processes of this one as soon as they are there."""
    killed: list[int] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set() and len(killed) < count:
            for child in multiprocessing.active_children():
                if child.pid is not None and child.pid not in killed and len(killed) < count:
                    killed.append(child.pid)
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)
            time.sleep(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


# Processes ------------------------------------------------------------------------------


def test_processes_give_the_digest_of_threads_though_one_is_killed(
    lock: Lock, wanted: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with killing(1) as killed:
        result = build(recipe(), out, lock=lock, workers=2, processes=True)
    assert len(killed) == 1
    assert (result.complete, result.digest) == (True, wanted)
    assert open_store(out).validate() == []
    assert multiprocessing.active_children() == []


def test_a_unit_that_kills_every_worker_fails_alone_and_the_build_goes_on(
    lock: Lock, wanted: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        killing(3) as killed,
        pytest.raises(UnitFailed, match=r"1 of 4 region-years .*3 worker processes died.* -9"),
    ):
        build(recipe(), out, lock=lock, workers=1, processes=True)
    assert len(killed) == 3
    parts = {p.parent.name for p in (out / ".rsbench-journal").glob("*/*/part.json")}
    whole = {p.parent.name for p in out.glob("*/manifest.json")}
    assert len(parts) + 2 * len(whole) == 3  # the other three units are kept
    assert build(recipe(), out, lock=lock).digest == wanted


def test_a_part_may_be_built_by_processes(lock: Lock, wanted: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_part(recipe(), out, (1, 2), lock=lock, workers=1, processes=True)
    build_part(recipe(), out, (2, 2), lock=lock)
    assert finalise_parts(recipe(), out).digest == wanted


def test_a_file_that_cannot_be_read_is_told_as_in_threads(lock: Lock, tmp_path: Path) -> None:
    broken = random_folder(tmp_path / "stac")
    (broken / "S2_2021_1" / "B03.tif").write_bytes(b"no picture")
    said = []
    for number, processes in enumerate((False, True)):
        with pytest.raises(UnitFailed) as failed:
            build(
                recipe(), tmp_path / str(number), lock=lock, provider=str(broken),
                workers=1, processes=processes,
            )  # fmt: skip
        said.append(failed.value.found)
    assert said[0] == said[1]
    assert "B03 of item S2_2021_1" in said[0]


def test_the_builder_killed_takes_its_workers_with_it(
    lock: Lock, wanted: str, tmp_path: Path
) -> None:
    import subprocess

    import psutil

    kept, out = tmp_path / "lock.json.gz", tmp_path / "out"
    lock.save(kept)
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from build_fixtures import recipe\n"
        "from rsbench.build.engine.builder import build\n"
        "from rsbench.build.plan.plan import Lock\n"
        "if __name__ == '__main__':\n"
        f"    build(recipe(), Path({str(out)!r}), lock=Lock.load({str(kept)!r}),\n"
        "          workers=2, processes=True)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)])
    try:
        workers: list[psutil.Process] = []
        until(lambda: len(workers.extend(psutil.Process(process.pid).children()) or workers) >= 2)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
    assert build(recipe(), out, lock=lock).digest == wanted


def until(ready: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.01)


# Providers ------------------------------------------------------------------------------

CUT: dict[str, Any] = {"regions": ["sim-01"], "years": (2021, 2021)}
"""One region and year of the simulated Earth."""


def require_equal_digests(tmp_path: Path, chosen: Recipe, **where: Any) -> None:
    """Build by threads and by processes."""
    threads = build(chosen, tmp_path / "threads", **where)
    processes = build(chosen, tmp_path / "processes", workers=2, processes=True, **where)
    assert processes.complete
    assert processes.digest == threads.digest


def test_processes_build_from_a_folder_named_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_folder(tmp_path / "stac", per_year=1)
    monkeypatch.chdir(tmp_path)
    require_equal_digests(tmp_path, recipe(), provider="stac")


def test_processes_build_from_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    with serve(random_folder(tmp_path / "stac", per_year=1)) as url:
        require_equal_digests(tmp_path, recipe(), provider=url)


def test_processes_build_from_the_address_of_a_named_provider(tmp_path: Path) -> None:
    folder = random_folder(tmp_path / "stac", per_year=1)
    with serve(folder) as url:
        named = replace(make_plan(recipe(), provider=url), catalogue=url)
        require_equal_digests(tmp_path, recipe(), lock=named, provider=named.provider)


def test_processes_build_the_simulated_earth_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", shared_cache())
    monkeypatch.chdir(tmp_path)
    require_equal_digests(tmp_path, simulated_recipe(), **CUT)


def test_a_lock_of_the_simulated_earth_with_links_of_a_server_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks of older versions name the files of the simulated Earth below ``files/``."""
    monkeypatch.setenv("RSBENCH_CACHE", shared_cache())
    chosen = simulated_recipe()
    new = make_plan(chosen, **CUT)
    links = re.compile(r'"(?=sentinel-2-l2a/)')
    path = tmp_path / "old.json"
    path.write_text(links.sub('"files/', json.dumps(new.to_json())))
    old = Lock.load(path)
    assert old.catalogue == ""
    assert old.items("sim-01", "s2", 2021)[0].assets["B02"].href.startswith("files/sentinel-2-l2a/")
    digests = {
        build(chosen, tmp_path / str(n), lock=x, **CUT).digest for n, x in enumerate((old, new))
    }
    assert len(digests) == 1


def test_a_lock_without_a_catalogue_is_refused(lock: Lock, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the lock names no catalogue"):
        build(recipe(), tmp_path / "out", lock=replace(lock, catalogue=""), processes=True)


# Orders ---------------------------------------------------------------------------------


def an_order(lock: Lock, **changes: Any) -> Order:
    made = Order(recipe(), lock.subset(["west"], None), "west", 2021, lock.catalogue,
                 "rasterio", 100 << 20)  # fmt: skip
    return replace(made, **changes)


def test_a_unit_is_the_same_each_time_and_of_its_order_only(lock: Lock) -> None:
    once, again = (builder._in_worker(an_order(lock)) for _ in range(2))
    assert once.arrays.keys() == again.arrays.keys() != set()
    assert all((once.arrays[name] == again.arrays[name]).all() for name in once.arrays)
    assert once.note == again.note
    assert once.bytes_read > 0


def test_a_worker_of_another_version_refuses(lock: Lock) -> None:
    answer = builder._in_worker(an_order(lock, version="0.0.1"))
    assert not answer.arrays
    with pytest.raises(InputError, match=r"with rsbench 0\.0\.1: a worker has rsbench"):
        answer.require()


def test_a_fault_in_a_worker_is_told_with_its_place(lock: Lock) -> None:
    answer = builder._in_worker(an_order(lock, region="nowhere"))
    with pytest.raises(InputError, match="KeyError: 'nowhere'"):
        answer.require()


# A cluster ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
        host="127.0.0.1", silence_logs=logging.CRITICAL,
    ) as made:  # fmt: skip
        yield made


def test_a_cluster_gives_the_digest_of_threads_though_a_worker_is_killed(
    cluster: Any, lock: Lock, wanted: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pids = [nanny.pid for nanny in cluster.workers.values()]
    killed: list[int] = []

    def watch(event: Any) -> None:
        if event.state == "begun" and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    out = tmp_path / "out"
    result = build(recipe(), out, lock=lock, scheduler=cluster.scheduler_address, watch=watch)
    assert killed == pids[:1]
    assert (result.complete, result.digest) == (True, wanted)
    assert open_store(out).validate() == []
    assert "MALLOC_TRIM_THRESHOLD_=65536" in caplog.text  # what dask's nanny sets


def test_workers_that_die_of_a_unit_make_it_fail(cluster: Any, lock: Lock) -> None:
    workers = Cluster(_die, cluster.scheduler_address)
    try:
        with pytest.raises(UnitFailed, match="building west 2021: its workers died"):
            workers.do(an_order(lock))
    finally:
        workers.stop()


def _die(order: Order) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_no_scheduler_and_no_package_are_one_sentence(
    lock: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsbench.build.engine.workers.CONNECT_S", 0.5)
    with pytest.raises(InputError, match="no scheduler answers there"):
        build(recipe(), tmp_path / "a", lock=lock, scheduler="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'rsbench\[distributed\]'"):
        build(recipe(), tmp_path / "b", lock=lock, scheduler="tcp://127.0.0.1:1")
