"""The cache gives what the store holds."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from rsbench.core.errors import InputError, UnknownName
from rsbench.core.grid import Window
from rsbench.store.cache import Cache, open_cache
from rsbench.store.read import Store
from tests import toys


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(tmp_path_factory.mktemp("cache") / "s", regions=3)


@pytest.fixture
def cache(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path))
    return open_cache(store, "s2")


def test_every_region_is_bit_identical_to_the_store(cache: Cache, store: Store) -> None:
    for name in store.regions:
        values, valid = cache.region(name)
        assert np.array_equal(values, store.read(name, "s2"))
        assert np.array_equal(valid, store.read(name, "s2", array="valid"))


@pytest.mark.parametrize("times", [slice(1, 4), (1, 2, 3), (0, 2, 7), (3,), [5, 4]])
def test_a_patch_is_the_cut_of_the_region(
    cache: Cache, store: Store, times: slice | tuple[int, ...]
) -> None:
    window = Window(3, 17, 20, 30)
    values, valid = cache.patch("toy-02", window, times)
    chosen = times if isinstance(times, slice) else list(times)
    assert np.array_equal(values, store.read("toy-02", "s2")[chosen][:, :, 3:23, 17:47])
    mask = store.read("toy-02", "s2", array="valid")
    assert np.array_equal(valid, mask[chosen][:, 3:23, 17:47])


def test_the_cache_cannot_be_written_to(cache: Cache) -> None:
    values, _ = cache.region("toy-01")
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0, 0, 0] = 1


def test_windows_and_dates_outside_are_refused_not_clipped(cache: Cache) -> None:
    for window in (Window(50, 0, 20, 20), Window(0, -1, 20, 20)):
        with pytest.raises(InputError, match="64×64"):
            cache.patch("toy-01", window, (0,))
    for times in ((7, 8), (-1, 0)):
        with pytest.raises(InputError, match="8 dates"):
            cache.patch("toy-01", Window(0, 0, 8, 8), times)
    with pytest.raises(UnknownName):
        cache.patch("toy-99", Window(0, 0, 8, 8), (0,))


def test_the_second_opening_finds_it_built(cache: Cache, store: Store) -> None:
    again = open_cache(store, "s2")
    assert cache.info.seconds is not None
    assert again.info.seconds is None
    assert again.info.path == cache.info.path
    assert store.digest in str(again.info.path)
    pixels = 3 * 8 * 64 * 64
    assert again.info.bytes == pixels * (4 * 2 + 1) + 6 * 128


def test_other_pixels_get_a_cache_of_their_own(
    cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = toys.write_store(tmp_path_factory.mktemp("o") / "s", regions=3, seed=1)
    assert open_cache(other).info.path != cache.info.path
    assert not np.array_equal(open_cache(other).region("toy-01")[0], cache.region("toy-01")[0])


def test_a_cache_travels_to_another_process(cache: Cache) -> None:
    cache.region("toy-01")
    data = pickle.dumps(cache)
    assert len(data) < 100_000
    assert np.array_equal(pickle.loads(data).region("toy-01")[0], cache.region("toy-01")[0])


def test_progress_is_told(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "other"))
    seen: list[tuple[str, int, int]] = []
    open_cache(store, "s2", progress=lambda *told: seen.append(told))
    assert seen[0] == ("decoding", 0, 3)
    assert seen[-1] == ("decoding", 3, 3)
