"""A cache that is not as it was written is built again; several builders do not meet."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rsbench.store.cache as caching
from rsbench.core.errors import DiskFull, StoreError
from rsbench.store.cache import open_cache
from rsbench.store.read import Store, open_store
from tests import toys
from tests.toys import little_room


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("cache") / "s", regions=2, years=3)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))
    return tmp_path


def _flip(folder: Path) -> None:
    path = folder / "toy-01.values.npy"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(bytes(data))


def _cut(folder: Path) -> None:
    path = folder / "toy-02.values.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _mark(**change: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "cache.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    return damage


def _to_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": _flip,
    "a cut file": _cut,
    "a missing file": lambda folder: (folder / "toy-01.valid.npy").unlink(),
    "a missing mark": lambda folder: (folder / "cache.json").unlink(),
    "a cut mark": lambda folder: (folder / "cache.json").write_text('{"format": 1'),
    "another format": _mark(format=0),
    "another digest": _mark(digest="0"),
    "another sensor": _mark(sensor="x"),
    "an empty folder": lambda folder: [p.unlink() for p in folder.iterdir()],
    "a file in its place": _to_a_file,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_whatever_is_not_as_written_is_built_again(store: Store, home: Path, name: str) -> None:
    first = open_cache(store)
    DAMAGE[name](first.info.path)
    again = open_cache(store)
    assert again.info.seconds is not None
    assert np.array_equal(again.region("toy-01")[0], store.read("toy-01", "s2"))
    assert np.array_equal(again.region("toy-02")[0], store.read("toy-02", "s2"))
    assert [p.name for p in again.info.path.parent.iterdir()] == ["s2"]


def test_a_reader_keeps_its_pixels_while_the_cache_is_built_again(store: Store) -> None:
    first = open_cache(store)
    values, _ = first.region("toy-01")
    (first.info.path / "cache.json").unlink()
    open_cache(store)
    assert np.array_equal(values, store.read("toy-01", "s2"))


def test_a_damaged_store_makes_no_cache(home: Path, tmp_path: Path) -> None:
    made = toys.write_store(tmp_path / "bad", regions=2, years=3)
    (made.path / "toy-02/s2/image/c/0/0/0/0").unlink()
    with pytest.raises(StoreError, match="absent"):
        open_cache(made)
    assert list((home / "arrays" / made.digest).iterdir()) == []


def test_a_stopped_build_leaves_nothing(
    store: Store, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(caching, "write_npy", stop)
        with pytest.raises(KeyboardInterrupt):
            open_cache(store)
    assert list((home / "arrays" / store.digest).iterdir()) == []
    open_cache(store)


def test_a_device_without_room_is_one_clear_error(store: Store, home: Path) -> None:
    with little_room(20_000), pytest.raises(DiskFull, match="RSBENCH_CACHE"):
        open_cache(store)
    assert list((home / "arrays" / store.digest).iterdir()) == []
    open_cache(store)


def test_a_file_that_vanishes_in_use_is_one_clear_error(store: Store) -> None:
    cache = open_cache(store)
    (cache.info.path / "toy-01.values.npy").unlink()
    with pytest.raises(StoreError, match="changed while in use"):
        cache.region("toy-01")


def _open(args: tuple[str, str]) -> tuple[int, bool]:
    path, home = args
    os.environ["RSBENCH_CACHE"] = home
    cache = open_cache(open_store(path))
    return int(cache.region("toy-02")[0].sum()), cache.info.seconds is None


def test_builders_at_once_agree(store: Store, home: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(_open, [(str(store.path), str(home))] * 6, chunksize=1)
    assert {total for total, _ in found} == {int(store.read("toy-02", "s2").sum())}
    assert [p.name for p in (home / "arrays" / store.digest).iterdir()] == ["s2"]
