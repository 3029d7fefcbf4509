"""SA-STF's sampling with the condition computed once, beside computing it in every step.

Both draw the same bits, which is checked first. Every round times the uncached and then the
cached form, so a busy machine slows both. Nothing here fails on time.

    python -m pytest tests/bench/test_bench_sa_stf.py --benchmark-json results/bench/sa_stf.json
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from rsbench_baselines.ddpm.diffusion import Sampling
from rsbench_baselines.rddm.schedule import schedule
from rsbench_baselines.sa_stf.network import SASTF, References
from rsbench_baselines.sa_stf.sampling import fuse
from rsbench_baselines.sa_stf.sizes import SIZES

ROUNDS = 3
THREADS = 2


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def drawer(base: int, side: int, steps: int) -> Callable[[bool], torch.Tensor]:
    size = replace(SIZES["official"], base=base, groups=min(32, base))
    torch.manual_seed(0)
    network = SASTF(size).eval()
    g = torch.Generator().manual_seed(1)
    given = References(*(2 * torch.rand(5, 1, size.bands, side, side, generator=g) - 1))
    noise = torch.randn(1, size.bands, side, side, generator=g)
    plan = schedule(size.schedule, size.steps)

    def draw(cached: bool) -> torch.Tensor:
        how = Sampling(steps, cached=cached)
        return fuse(network, plan, given, lambda name: noise, how, start=size.start)

    return draw


def quartiles(values: list[float]) -> list[float]:
    return [round(q, 3) for q in statistics.quantiles(values, n=4)]


@pytest.mark.parametrize(("base", "side", "steps"), [(64, 64, 20), (16, 128, 50)])
def test_cached_condition(benchmark: BenchmarkFixture, base: int, side: int, steps: int) -> None:
    draw = drawer(base, side, steps)
    assert torch.equal(draw(True), draw(False))
    plain: list[float] = []
    cached: list[float] = []

    def timed(into: list[float], keep: bool) -> None:
        start = time.perf_counter()
        draw(keep)
        into.append(time.perf_counter() - start)

    benchmark.pedantic(
        lambda: timed(cached, True), setup=lambda: timed(plain, False), rounds=ROUNDS, iterations=1
    )
    benchmark.extra_info.update(
        network=f"paper, base {base}", side=side, steps=steps, threads=THREADS,
        cached_s=quartiles(cached), uncached_s=quartiles(plain),
        ratio=quartiles([a / b for a, b in zip(plain, cached, strict=True)]),
    )  # fmt: skip
