"""Some replies go wrong, in every way and at several rates: complete and equal, or named."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from build_fixtures import random_folder, recipe
from support.stac_server import Fault, Request, serve

from rsbench.build.engine.builder import build
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.build.read import raster as source
from rsbench.build.read import remote
from rsbench.core.errors import RsbenchError, UnitFailed
from rsbench.store.read import Store, open_store

PIXELS = (
    Fault(status=503),
    Fault(status=429, headers={"Retry-After": "0"}),
    Fault(status=403),
    Fault(status=404),
    Fault(status=500),
    Fault(truncate=60),
    Fault(corrupt=5),
    Fault(stall=0.01),
    Fault(latency=0.05),
)
SEARCH = (Fault(status=503), Fault(status=429, headers={"Retry-After": "0"}), Fault(truncate=60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = build(recipe(), tmp_path_factory.mktemp("ref") / "out", provider=str(folder))
    return open_store(made.path)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(remote, "RETRIES", 0)
    monkeypatch.setattr(remote, "SOCKET_TIMEOUT", (2.0, 2.0))
    monkeypatch.setattr(source.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def number(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


class Weather:
    """Faults at a rate, the same for one seed whatever the order of the threads."""

    def __init__(self, percent: int, seed: int) -> None:
        self.percent, self.seed, self.hits = percent, seed, 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Fault | None:
        key = f"{request.method} {request.path}"
        with self._lock:
            turn = self._seen[key] = self._seen.get(key, 0) + 1
        draw = number(self.seed, key, turn)
        if draw % 100 >= self.percent:
            return None
        self.hits += 1
        kinds = PIXELS if request.path.endswith(".tif") else SEARCH
        return kinds[draw // 100 % len(kinds)]


def until_done(out: Path, url: str) -> int:
    """Run the same command until it ends well; return how often it failed, each time by name."""
    for failures in range(12):
        try:
            build(recipe(), out, provider=url)
        except (RsbenchError, OSError) as error:
            said = str(error)
            assert "S2_202" in said or "cannot be searched" in said or "counts" in said, said
            assert not (out / "index.json").exists()
            continue
        return failures
    raise AssertionError("never complete")


@pytest.mark.parametrize(("percent", "seed"), [(1, 5), (20, 2), (20, 3)])
def test_a_bad_network_costs_time_and_no_pixel(
    percent: int, seed: int, folder: Path, whole: Store, tmp_path: Path
) -> None:
    weather = Weather(percent, seed)
    with serve(folder, fault=weather) as url:
        until_done(tmp_path / "out", url)
    assert weather.hits > (0 if percent == 1 else 5)
    store = open_store(tmp_path / "out")
    assert (store.digest, store.complete) == (whole.digest, True)
    assert store.validate() == []


def lost(percent: int) -> Callable[[str], bool]:
    """Files that are gone for good."""
    return lambda path: path.endswith(".tif") and number("lost", path) % 100 < percent


@pytest.mark.parametrize("percent", [1, 10])
def test_what_is_gone_for_good_is_exactly_what_is_said_to_be_missing(
    percent: int, folder: Path, whole: Store, tmp_path: Path
) -> None:
    gone = lost(percent)
    paths = [f"{s}/{f}" for s in sorted(p.name for p in folder.iterdir() if p.is_dir())
             for f in ("B02.tif", "B03.tif", "SCL.tif")]  # fmt: skip
    broken = {path for path in paths if gone(path)} or {paths[4]}  # never none

    def fault(request: Request) -> Fault | None:
        name = request.path.removeprefix("/")
        return Fault(status=404) if name in broken else None

    with serve(folder, fault=fault) as url:
        lock = make_plan(recipe(), provider=url)
        with pytest.raises(UnitFailed, match="region-years failed"):
            build(recipe(), tmp_path / "out", lock=lock)
        made = build(recipe(), tmp_path / "out", lock=lock, allow_incomplete=True)
    wanted = {unit for unit in lock.units() if needs(lock, *unit) & broken}
    assert {(f.region, f.year) for f in made.failed} == wanted
    for failed in made.failed:
        assert any(path in failed.reason for path in broken)
    store = open_store(made.path)
    assert not store.complete
    items = {(f.region, f.year): f.item for f in made.failed}
    fewer = lock.without(items.values())
    build(recipe(), tmp_path / "fewer", lock=fewer, provider=str(folder))
    without = open_store(tmp_path / "fewer")
    for region in store.regions:
        for t, year in enumerate(lock.years):
            source = without if items.get((region, year)) else whole
            for array in ("values", "valid", "n_valid"):
                held = store.read(region, "s2", array=array)[t]
                right = source.read(region, "s2", array=array)[t]
                if items.get((region, year)) == "":
                    right = np.zeros_like(right)  # nodata of this sensor, and nothing valid
                assert (held == right).all()


def needs(lock: Lock, region: str, year: int) -> set[str]:
    items = lock.items(region, "s2", year)
    return {a.href for i in items for a in (*i.assets.values(), *i.masks.values())}
