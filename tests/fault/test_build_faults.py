"""Faults at source and disk: a build ends complete and equal, or says what is missing."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import random_folder, recipe, write_raster
from support import programs
from support.stac_server import Fault, Request, serve

from rsbench.build.engine import journal as journal_module
from rsbench.build.engine.builder import build
from rsbench.build.engine.journal import open_journal
from rsbench.build.plan.plan import make_plan
from rsbench.build.read import raster as source
from rsbench.build.read import remote
from rsbench.core.errors import DiskFull, InputError, UnitFailed
from rsbench.core.file_lock import file_lock
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


@pytest.fixture(scope="module")
def wanted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return build(recipe(), tmp_path_factory.mktemp("ref") / "out", provider=str(folder)).digest


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRIES", 0)
    monkeypatch.setattr(remote, "SOCKET_TIMEOUT", (2.0, 2.0))
    monkeypatch.setattr(source.time, "sleep", lambda seconds: None)


def first_times(
    count: int, fault: Fault, part: str = "B02.tif"
) -> Callable[[Request], Fault | None]:
    """Break the first requests of every address."""
    seen: Counter[str] = Counter()

    def callback(request: Request) -> Fault | None:
        if part not in request.path or request.path.startswith("/search"):
            return None
        seen[request.path] += 1
        return fault if seen[request.path] <= count else None

    return callback


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=403),
        Fault(status=404),
        Fault(truncate=40),
        Fault(corrupt=7),
    ],
    ids=["503", "429", "403", "404", "cut", "flipped"],
)
def test_passing_faults_change_nothing(
    fault: Fault, folder: Path, wanted: str, tmp_path: Path
) -> None:
    with serve(folder, fault=first_times(2, fault)) as url:
        result = build(recipe(), tmp_path / "out", provider=url)
    assert (result.complete, result.digest) == (True, wanted)


def test_a_stalled_reply_is_given_up_and_read_again(
    folder: Path, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SOCKET_TIMEOUT", (1.0, 1.0))
    stall = first_times(1, Fault(stall=30), "S2_2021_0/B02.tif")
    begun = time.monotonic()
    with serve(folder, fault=stall) as url:
        result = build(recipe(), tmp_path / "out", provider=url)
    assert result.digest == wanted
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_lasting_fault_fails_the_unit_with_item_asset_and_cause(
    status: int, folder: Path, wanted: str, tmp_path: Path
) -> None:
    broken = first_times(10**6, Fault(status=status), "S2_2022_1/B03.tif")
    with serve(folder, fault=broken) as url:
        with pytest.raises(UnitFailed) as caught:
            build(recipe(), tmp_path / "out", provider=url)
        text = str(caught.value)
        assert "2 of 4 region-years failed" in text
        assert "B03 of item S2_2022_1" in text
        with pytest.raises(InputError, match="unfinished"):
            open_store(tmp_path / "out")
        lock = make_plan(recipe(), provider=url)
        partial = build(recipe(), tmp_path / "out", lock=lock, allow_incomplete=True)
    assert not partial.complete
    assert {(f.region, f.year) for f in partial.failed} == {("west", 2022), ("east", 2022)}
    store = open_store(tmp_path / "out")
    assert [m["time"] for m in store.meta.missing] == ["2022-07-01"] * 2
    valid = store.read("west", "s2", array="valid")
    assert valid[0].any()
    assert valid[1].any()  # of the two other scenes
    assert {m["item"] for m in store.meta.missing} == {"S2_2022_1"}
    # The fault is gone: the same command does only what is missing and ends equal.
    done = build(recipe(), tmp_path / "out", provider=str(folder), lock=lock)
    assert (done.complete, done.digest) == (True, wanted)


def test_a_fault_that_went_away_is_forgotten(folder: Path, wanted: str, tmp_path: Path) -> None:
    """In one process: GDAL remembers every address that once failed, also those of retries."""
    broken = True

    def callback(request: Request) -> Fault | None:
        return Fault(status=403) if broken and "S2_2022_1/B03" in request.path else None

    with serve(folder, fault=callback) as url:
        with pytest.raises(UnitFailed):
            build(recipe(), tmp_path / "out", provider=url)
        broken = False
        result = build(recipe(), tmp_path / "out", provider=url)
    assert (result.complete, result.digest) == (True, wanted)


def test_random_faults_end_complete_and_equal(folder: Path, wanted: str, tmp_path: Path) -> None:
    def callback(request: Request) -> Fault | None:
        if not request.path.endswith(".tif") or "try=" in str(request.query):
            return None
        mark = hashlib.sha256(f"{request.path}{request.number}".encode()).digest()[0]
        return Fault(status=503) if mark < 26 else None  # 10 %

    for attempt in range(6):
        try:
            with serve(folder, fault=callback) as url:
                result = build(recipe(), tmp_path / "out", provider=url)
        except UnitFailed:
            assert attempt < 5
            continue
        break
    assert (result.complete, result.digest) == (True, wanted)


# Rasters that are not what they should be ----------------------------------------------


def spoil(folder: Path, tmp_path: Path, **options: Any) -> tuple[Path, Path]:
    import shutil

    copy = tmp_path / "stac"
    shutil.copytree(folder, copy)
    target = copy / "S2_2021_1" / "B02.tif"
    values = options.pop("values", np.full((96, 96), 500, np.uint16))
    write_raster(target, values, **options)
    return copy, target


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"crs": "EPSG:32634"}, "its CRS is EPSG:32634"),
        ({"crs": None}, "the raster has no CRS"),
        ({"gsd": 9.0}, "its pixels are 9"),
        ({"origin": (500_003, 5_000_020)}, "shifted by a fraction"),
        ({"origin": (500_300, 5_000_020)}, "covers only a part"),
        ({"origin": (600_000, 5_000_020)}, "lies outside"),
        ({"values": np.full((40, 96), 500, np.uint16)}, "of 96×40 pixels lies outside"),
        ({"values": np.full((96, 96), 0.5, np.float32)}, "its numbers are float32"),
        ({"values": np.full((96, 96), 50, np.uint8)}, "its numbers are uint8, uint16 is asked"),
    ],
)
def test_a_raster_of_another_grid_or_type_is_refused(
    options: dict[str, Any], cause: str, folder: Path, tmp_path: Path
) -> None:
    copy, _ = spoil(folder, tmp_path, **options)
    with pytest.raises(UnitFailed, match=cause) as caught:
        build(recipe(), tmp_path / "out", provider=str(copy))
    assert "S2_2021_1" in str(caught.value)


def test_a_file_that_is_no_raster_fails_its_unit(folder: Path, tmp_path: Path) -> None:
    copy, target = spoil(folder, tmp_path)
    target.write_bytes(b"not a tiff")
    with pytest.raises(UnitFailed, match="S2_2021_1"):
        build(recipe(), tmp_path / "out", provider=str(copy))


# Searches ------------------------------------------------------------------------------


def test_search_waits_and_asks_again(folder: Path) -> None:
    count = Counter[str]()

    def callback(request: Request) -> Fault | None:
        if request.path != "/search":
            return None
        count["search"] += 1
        busy = {1: Fault(status=503), 2: Fault(status=429, headers={"Retry-After": "1"})}
        return busy.get(count["search"])

    with serve(folder, fault=callback) as url:
        lock = make_plan(recipe(), provider=url)
    assert count["search"] == 4  # two regions, two refusals
    assert len(lock.items("west", "s2", 2021)) == 3


class Pages:
    """A search whose pages are scripted, for a server that loses or repeats them."""

    def __init__(self, pages: list[list[dict[str, Any]]]) -> None:
        self.pages = pages
        self.asked = 0

    def search(self, **_: Any) -> Pages:
        self.asked += 1
        return self

    def pages_as_dicts(self) -> list[dict[str, Any]]:
        return self.pages[min(self.asked, len(self.pages)) - 1]


def item(name: str) -> dict[str, Any]:
    return {"id": name, "properties": {}, "links": []}


def page(*names: str, matched: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"features": [item(n) for n in names]}
    return found if matched is None else found | {"numberMatched": matched}


@pytest.mark.parametrize(
    ("pages", "answer"),
    [
        ([[page("a", "b", matched=3), page("c", matched=3)]], "abc"),
        ([[page("a", "b", matched=3)]], "counts 3 items and gave 2"),
        ([[page("a", matched=2)], [page("a", "b", matched=2)]], "ab"),  # better the second time
        ([[page("a", "b"), page("a", "b")]], "a page came a second time"),
        ([[page("a", "b"), page("b", "c")]], "came twice"),
        ([[page("a", "b", matched=3), page("b", "c", matched=3)]], "abc"),  # the count says: all
        ([[page("a"), page()]], "a"),
    ],
)
def test_lost_and_repeated_pages_are_noticed(pages: Any, answer: str) -> None:
    from rsbench.build.plan.search import ApiCatalogue, Query

    catalogue = ApiCatalogue("https://stac.example.org")
    catalogue._client = Pages(pages)
    query = Query("c", ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)), (2020, 2020), {})
    if " " in answer:
        with pytest.raises(InputError, match=answer):
            catalogue.search(query)
    else:
        assert [i["id"] for i in catalogue.search(query)] == list(answer)


# Killing -------------------------------------------------------------------------------

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import rsbench.build.engine.builder as builder
from rsbench.build.engine.journal import Journal
from build_fixtures import recipe
keep = Journal.save
def slow(self, *rest):
    import time
    keep(self, *rest)
    print("saved", flush=True)
    time.sleep({pause})
Journal.save = slow
builder.build(recipe(), {out!r}, provider={folder!r}, workers=1)
print("done", flush=True)
"""


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_killed_build_goes_on_and_ends_equal(
    after: int, folder: Path, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    tests = str(Path(__file__).parents[1])
    text = SCRIPT.format(tests=tests, pause=0.6, out=str(out), folder=str(folder))
    process = programs.start(text)
    if after:
        for _ in range(after):
            assert process.stdout.readline() == "saved\n"
    else:
        while not (out / ".rsbench-journal" / "build.json").exists():
            time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="unfinished"):
        open_store(out)
    made: list[tuple[str, int]] = []
    from rsbench.build.kinds.series import kind as series

    compose = series.compose
    monkeypatch.setattr(
        series,
        "compose",
        lambda work, sensor, region, year: (
            made.append((region, year)),
            compose(work, sensor, region, year),
        )[1],
    )
    result = build(recipe(), out, provider=str(folder))
    assert (result.complete, result.digest) == (True, wanted)
    assert len(made) == 4 - after
    assert open_store(out).validate() == []
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_a_damaged_part_is_made_again(folder: Path, wanted: str, tmp_path: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    identity = {"lock": lock.digest, "compositor": "median@1", "floor": True}
    zeros = np.zeros((2, 48, 48), np.uint16)
    with open_journal(tmp_path, identity) as journal:
        for name in ("west", "east"):
            journal.save(name, 2021, {"s2.values": zeros, "s2.n_valid": zeros[0]}, {"s2": {}})
    for path in tmp_path.rglob("s2.values.npy"):
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x01")
    assert build(recipe(), tmp_path, lock=lock).digest == wanted


def test_two_builders_on_one_output_refuse_each_other(folder: Path, tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / ".rsbench-journal" / "lock", "test"),
        pytest.raises(InputError, match="another process is working on it"),
    ):
        build(recipe(), tmp_path, provider=str(folder))


def test_the_journal_of_another_search_is_refused(folder: Path, tmp_path: Path) -> None:
    with open_journal(tmp_path, {"lock": "other"}) as journal:
        journal.save("west", 2021, {"x": np.zeros(3)}, {})
    with pytest.raises(InputError, match="another build was begun there"):
        build(recipe(), tmp_path, provider=str(folder))


# Disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("full_at", [1, 4, 8])
def test_a_full_disk_loses_nothing(
    full_at: int, folder: Path, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = journal_module.write_npy, Counter[str]()

    def failing(*arguments: Any, **options: Any) -> None:
        calls["save"] += 1
        if calls["save"] >= full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments, **options)

    monkeypatch.setattr(journal_module, "write_npy", failing)
    with pytest.raises(DiskFull, match="no room left"):
        build(recipe(), tmp_path / "out", provider=str(folder), workers=1)
    with pytest.raises(InputError, match="unfinished"):
        open_store(tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    monkeypatch.setattr(journal_module, "write_npy", save)
    assert build(recipe(), tmp_path / "out", provider=str(folder)).digest == wanted


def test_a_read_only_place_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser writes everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written to"):
        build(recipe(), tmp_path / "out", provider=str(folder))


def test_incomplete_regions_are_tried_again_after_a_kill(
    folder: Path, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after an incomplete region was written, before the index could name the gap."""
    from rsbench.build.engine import builder

    broken = first_times(10**6, Fault(status=404), "S2_2022_1/B03.tif")
    monkeypatch.setattr(builder, "finish", lambda work: (_ for _ in ()).throw(KeyboardInterrupt))
    with serve(folder, fault=broken) as url:
        lock = make_plan(recipe(), provider=url)
        with pytest.raises(KeyboardInterrupt):
            build(recipe(), tmp_path / "out", lock=lock, allow_incomplete=True)
    monkeypatch.undo()
    assert (tmp_path / "out" / "west" / "manifest.json").exists()
    result = build(recipe(), tmp_path / "out", lock=lock, provider=str(folder))
    assert (result.complete, result.digest) == (True, wanted)
