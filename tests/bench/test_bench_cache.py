"""How fast training reads: random 128×128 patches from the cache and from Zarr.

Every round times the bare contender and then ours on the same patches, so a busy machine slows
both; medians and spreads stand in ``extra_info``. Nothing here fails on time.

    python -m pytest tests/bench/test_bench_cache.py --benchmark-json results/bench/cache.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from pytest_benchmark.fixture import BenchmarkFixture

from rsbench.core.grid import Window
from rsbench.store.cache import Cache, open_cache
from rsbench.store.pixels import physical
from rsbench.store.read import Store
from rsbench.tasks.forecast.samples import Sample
from tests import toys
from tests.task_readers import reader_of

SIDE, YEARS, BANDS, PATCH, BATCH = 1024, 8, 4, 128, 16
ROUNDS = 41
MEGABYTE = 1e6
Pixels = npt.NDArray[np.uint16]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toys.write_store(
        tmp_path_factory.mktemp("bench") / "s", regions=2, size=SIDE, years=YEARS, floor=False
    )


@pytest.fixture(scope="module")
def cache(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RSBENCH_CACHE", str(tmp_path_factory.mktemp("home")))
        return open_cache(store)


def random_samples(seed: int, count: int = BATCH) -> list[Sample]:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, SIDE - PATCH, (count, 2))
    return [
        Sample(
            f"toy-{1 + i % 2:02d}",
            Window(int(y), int(x), PATCH, PATCH),
            (0,),
            (1, 2, 3, 4, 5, 6, 7),
        )
        for i, (y, x) in enumerate(corners)
    ]


def store_bytes(store: Store) -> int:
    return sum(int(f["size"]) for n in store.regions for f in store.manifest(n).files.values())


def side_by_side(
    benchmark: BenchmarkFixture,
    bare: Callable[[list[Sample]], Any],
    ours: Callable[[list[Sample]], Any],
    *,
    patches: int,
    rounds: int = ROUNDS,
) -> None:
    """Time both in every round; ``share`` = our speed / the bare speed.

    Both draw patches of their own: the same ones would come from the processor's caches to
    whoever is second.
    """
    seconds: list[float] = []
    seeds = iter(range(10, 100_000))
    todo: list[list[Sample]] = []

    def setup() -> None:
        draw = random_samples(next(seeds), patches)
        began = time.perf_counter()
        bare(draw)
        seconds.append(time.perf_counter() - began)
        todo[:] = [random_samples(next(seeds), patches)]

    benchmark.pedantic(lambda: ours(todo[0]), setup=setup, rounds=rounds, warmup_rounds=4)
    theirs, mine = seconds[-rounds:], list(benchmark.stats.stats.data)
    shares = [b / m for b, m in zip(theirs, mine, strict=True)]
    benchmark.extra_info.update(
        bare_ms=[1e3 * q for q in statistics.quantiles(theirs, n=4)],
        ours_ms=[1e3 * q for q in statistics.quantiles(mine, n=4)],
        share=statistics.quantiles(shares, n=4),
        share_of_medians=statistics.median(theirs) / statistics.median(mine),
        share_of_fastest=min(theirs) / min(mine),
        patches_per_second=patches / statistics.median(mine),
    )


def test_patches_from_the_cache(benchmark: BenchmarkFixture, cache: Cache) -> None:
    """Stored numbers and masks of 8 years × 4 bands × 128² into one batch array."""
    maps = {
        name: tuple(
            np.load(cache.info.path / f"{name}.{part}.npy", mmap_mode="r")
            for part in ("values", "valid")
        )
        for name in cache.store.regions
    }
    values = np.empty((BATCH, YEARS, BANDS, PATCH, PATCH), np.uint16)
    valid = np.empty((BATCH, YEARS, PATCH, PATCH), bool)

    def bare(samples: list[Sample]) -> None:
        for i, s in enumerate(samples):
            y, x = s.window.slices
            values[i] = maps[s.region][0][:, :, y, x]
            valid[i] = maps[s.region][1][:, y, x]

    everything = slice(0, YEARS)

    def ours(samples: list[Sample]) -> None:
        for i, s in enumerate(samples):
            values[i], valid[i] = cache.patch(s.region, s.window, everything)

    benchmark.extra_info.update(
        cache_build_s=cache.info.seconds,
        cache_megabytes=cache.info.bytes / MEGABYTE,
        store_megabytes=store_bytes(cache.store) / MEGABYTE,
        target_share=0.8,
    )
    side_by_side(benchmark, bare, ours, patches=BATCH)


def test_training_batches_from_the_cache(benchmark: BenchmarkFixture, cache: Cache) -> None:
    """Whole training batches: physical float32, masks, context apart from truth, dates, grids."""
    maps = {
        name: tuple(
            np.load(cache.info.path / f"{name}.{part}.npy", mmap_mode="r")
            for part in ("values", "valid")
        )
        for name in cache.store.regions
    }
    parts = (slice(0, 1), slice(1, YEARS))

    def bare(samples: list[Sample]) -> list[torch.Tensor]:
        made = []
        for times in parts:
            count = times.stop - times.start
            values = torch.empty((BATCH, count, BANDS, PATCH, PATCH))
            valid = torch.empty((BATCH, count, 1, PATCH, PATCH), dtype=torch.bool)
            for i, s in enumerate(samples):
                y, x = s.window.slices
                seen = maps[s.region][1][times, y, x]
                valid.numpy()[i, :, 0] = seen
                raw = maps[s.region][0][times, :, y, x]
                physical(raw, cache.meta, seen, out=values.numpy()[i])
            made += [values, valid]
        return made

    benchmark.extra_info["target_share"] = 0.8
    side_by_side(benchmark, bare, reader_of(cache.store).assemble, patches=BATCH)


def test_patches_from_the_cache_beside_zarr(
    benchmark: BenchmarkFixture, store: Store, cache: Cache
) -> None:
    """8 years × 4 bands × 128² at random places: the cache beside zarr-python on the same array."""
    arrays = {
        name: zarr.open_array(store.path / name / "s2" / "image", mode="r")
        for name in store.regions
    }
    values = np.empty((BATCH, YEARS, BANDS, PATCH, PATCH), np.uint16)
    valid = np.empty((BATCH, YEARS, PATCH, PATCH), bool)
    everything = slice(0, YEARS)

    def bare(samples: list[Sample]) -> Pixels:
        for i, s in enumerate(samples):
            y, x = s.window.slices
            values[i] = arrays[s.region][:, :, y, x]
        return values

    def ours(samples: list[Sample]) -> Pixels:
        for i, s in enumerate(samples):
            values[i], valid[i] = cache.patch(s.region, s.window, everything)
        return values

    assert np.array_equal(bare(random_samples(0)).copy(), ours(random_samples(0)))
    # Each reads several batches on end, as a training does: what the other left in the
    # processor's caches is gone by then.
    batches = {"bare": 2, "ours": 20}
    seconds: list[float] = []
    seeds = iter(range(10, 100_000))
    todo: list[list[Sample]] = []

    def setup() -> None:
        draws = [random_samples(next(seeds)) for _ in range(batches["bare"])]
        began = time.perf_counter()
        for draw in draws:
            bare(draw)
        seconds.append((time.perf_counter() - began) / batches["bare"])
        todo[:] = [random_samples(next(seeds)) for _ in range(batches["ours"])]

    def run() -> None:
        for draw in todo:
            ours(draw)

    benchmark.pedantic(run, setup=setup, rounds=15, warmup_rounds=1)
    mine = [second / batches["ours"] for second in benchmark.stats.stats.data]
    shares = [b / m for b, m in zip(seconds[-15:], mine, strict=True)]
    benchmark.extra_info.update(
        bare_ms=[1e3 * q for q in statistics.quantiles(seconds[-15:], n=4)],
        ours_ms=[1e3 * q for q in statistics.quantiles(mine, n=4)],
        share=statistics.quantiles(shares, n=4),
        share_of_fastest=min(seconds[-15:]) / min(mine),
        target_share=20,
    )


def test_patches_from_zarr(benchmark: BenchmarkFixture, store: Store) -> None:
    """The same patches decoded from the store, beside zarr-python on the same array."""
    arrays = {
        name: zarr.open_array(store.path / name / "s2" / "image", mode="r")
        for name in store.regions
    }
    patches = 8

    def bare(samples: list[Sample]) -> list[Any]:
        found = []
        for s in samples:
            y, x = s.window.slices
            found.append(arrays[s.region][:, :, y, x])
        return found

    def ours(samples: list[Sample]) -> list[Any]:
        return [store.read(s.region, "s2", window=s.window) for s in samples]

    assert all(
        np.array_equal(a, b)
        for a, b in zip(bare(random_samples(0)), ours(random_samples(0)), strict=True)
    )
    benchmark.extra_info["target_share"] = 0.9
    side_by_side(benchmark, bare, ours, patches=patches)


def test_building_the_cache(
    benchmark: BenchmarkFixture, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding everything once; beside it, zarr-python decoding the same arrays to memory."""
    began = time.perf_counter()
    for name in store.regions:
        for part in ("image", "valid"):
            zarr.open_array(store.path / name / "s2" / part, mode="r")[...]
    decode = time.perf_counter() - began
    homes = iter(range(100))

    def setup() -> None:
        monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / str(next(homes))))

    cache = benchmark.pedantic(lambda: open_cache(store), setup=setup, rounds=3)
    benchmark.extra_info.update(decode_only_s=decode, cache_megabytes=cache.info.bytes / MEGABYTE)
