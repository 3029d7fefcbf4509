"""SA-STF's sampling with the condition computed once, beside computing it in every step.

Both draw the same bits, which is checked first. Every round times the uncached (plain) and then
the cached form (other), so a busy machine slows both. Nothing here fails on time.

    python -m pytest tests/bench/test_bench_sa_stf.py --benchmark-json results/bench/sa_stf.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import paired

from rsbench_baselines.ddpm.diffusion import Sampling
from rsbench_baselines.rddm.schedule import schedule
from rsbench_baselines.sa_stf.network import SASTF, References
from rsbench_baselines.sa_stf.sampling import fuse
from rsbench_baselines.sa_stf.sizes import SIZES

ROUNDS = 3
THREADS = 1


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
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


@pytest.mark.parametrize(("base", "side", "steps"), [(64, 64, 20), (16, 128, 50)])
def test_cached_condition(benchmark: BenchmarkFixture, base: int, side: int, steps: int) -> None:
    draw = drawer(base, side, steps)
    assert torch.equal(draw(True), draw(False))
    found = paired(benchmark, lambda: draw(False), lambda: draw(True), rounds=ROUNDS)
    benchmark.extra_info.update(
        found, network=f"paper, base {base}", side=side, steps=steps, threads=THREADS
    )
