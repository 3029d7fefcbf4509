"""STARFM, ESTARFM and FSDAF beside a loop over pixels in NumPy, and the memory they take.

The loop is timed on a subset of pixels drawn without looking at the image, and its time multiplied
up to the whole; what it can share between pixels (the correlation map of ESTARFM) is made before
and not counted. Answers are compared on that subset first. Every round times the loop and then
the model, so a busy machine slows both. Nothing here fails on time; memory has a limit.

    python -m pytest tests/bench/test_bench_fusion.py --benchmark-json results/bench/fusion.json
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fusion_classic as loops
import numpy as np
import pytest
import torch
from fusion_toys import sample
from pytest_benchmark.fixture import BenchmarkFixture

from rsbench.models.registry import create_model

ROUNDS = 3
THREADS = 2
SIDE, BANDS, SUBSET = 400, 3, 160
MOST_MEMORY = 1 << 30


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def scene() -> tuple[loops.F64, loops.F64]:
    """Three dates of smooth ground, and block means of 16 pixels, float32 numbers in 0 … 1."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    rough = rng.random((3, BANDS, SIDE, SIDE))
    fine = 2 * ndimage.gaussian_filter(rough, (0.7, 0, 3, 3), mode="wrap") - 0.6
    fine = np.clip(fine, 0.02, 0.98).astype(np.float32).astype(float)
    blocks = fine.reshape(3, BANDS, SIDE // 16, 16, SIDE // 16, 16).mean(axis=(3, 5))
    low = np.kron(blocks, np.ones((16, 16))).astype(np.float32).astype(float)
    return fine, low


def correlation(fine: loops.F64, low: loops.F64) -> loops.F64:
    """The map that the loop's ESTARFM shares between pixels, all pixels at once."""
    x, y = (v.reshape(-1, SIDE, SIDE) - v.reshape(-1, SIDE, SIDE).mean(axis=0) for v in (fine, low))
    found: loops.F64 = (x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0))
    return found


def quartiles(values: list[float]) -> list[float]:
    return [round(q, 3) for q in statistics.quantiles(values, n=4)]


@pytest.mark.parametrize("engine", ["torch", "compiled"])
@pytest.mark.parametrize(("name", "window"), [("starfm", 31), ("estarfm", 51)])
def test_against_a_loop_over_pixels(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, name: str, window: int,
    engine: str,
) -> None:  # fmt: skip
    if engine == "compiled":
        pytest.importorskip("numba")
    fine, low = scene()
    pairs = [(fine[0], low[0]), (fine[2], low[2])]
    places = np.random.default_rng(1).integers(0, SIDE, (SUBSET, 2))
    at = [(int(y), int(x)) for y, x in places]
    loop: Callable[[], loops.F64]
    if name == "starfm":
        given, want = sample(torch.tensor(fine[:1])[None], torch.tensor(low[:2])[None])
        loop = lambda: loops.starfm(pairs[:1], low[1], half=window // 2, at=at)  # noqa: E731
    else:
        given, want = sample(torch.tensor(fine[[0, 2]])[None], torch.tensor(low)[None])
        known = correlation(fine[[0, 2]], low[[0, 2]])
        monkeypatch.setattr(loops, "_likeness", lambda *_: known)
        loop = lambda: loops.estarfm(pairs, low[1], half=window // 2, at=at)  # noqa: E731
    model = create_model(name, half=window // 2, engine=engine)
    rows, columns = zip(*at, strict=True)
    found = model.predict(given, want).values[0, 0, 0].double().numpy()[:, rows, columns]
    np.testing.assert_allclose(found, loop()[:, rows, columns], atol=1e-6, rtol=0)
    by_loop: list[tuple[float, float]] = []
    by_model: list[tuple[float, float]] = []

    def timed(into: list[tuple[float, float]], call: Callable[[], object]) -> None:
        start, busy = time.perf_counter(), time.process_time()
        call()
        into.append((time.perf_counter() - start, time.process_time() - busy))

    benchmark.pedantic(
        lambda: timed(by_model, lambda: model.predict(given, want)),
        setup=lambda: timed(by_loop, loop),
        rounds=ROUNDS, iterations=1,
    )  # fmt: skip
    up = SIDE * SIDE / SUBSET
    benchmark.extra_info.update(
        size=f"{SIDE}×{SIDE}×{BANDS}", window=window, engine=engine, threads=THREADS, subset=SUBSET,
        loop_s=quartiles([up * wall for wall, _ in by_loop]),
        model_s=quartiles([wall for wall, _ in by_model]),
        ratio=quartiles([up * a[0] / b[0] for a, b in zip(by_loop, by_model, strict=True)]),
        # Seconds of all threads together: what is left of the ratio on a single free core.
        cpu_ratio=quartiles([up * a[1] / b[1] for a, b in zip(by_loop, by_model, strict=True)]),
    )  # fmt: skip


MEASURE = """
import sys, torch
sys.path.insert(0, {tests!r})
from dataclasses import replace
from fusion_toys import COARSE, sample
from rsbench.models.registry import create_model
from rsbench.models.rollout import one_reference

name, preset, side = *sys.argv[1:], 2000
draw = torch.Generator().manual_seed(0)
fine = torch.rand(1, 2, 6, side, side, generator=draw)
low = torch.rand(1, 3, 6, side, side, generator=draw)
seen = torch.ones(1, 3, 1, side, side, dtype=torch.bool)
seen[:, 0, :, :50] = False
given, want = sample(fine, low, fine_valid=seen[:, :2], coarse_valid=seen.flip(3), footprint=16)
del seen
if name == "fsdaf":
    given = one_reference(given, want, 0)

def status(field):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])

model = create_model(name, preset, half=1)  # memory does not depend on the window
if preset == "compiled":  # what the compiler takes is no matter of size
    model.predict(*sample(fine[..., :40, :40], low[..., :40, :40], footprint=8))
del fine, low
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
values = model.predict(given, want).values
print(status("VmHWM") - before - values.numel() * values.element_size())
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is Linux's")
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("starfm", "default"), ("estarfm", "default"), ("fsdaf", "default"),
        ("starfm", "compiled"), ("estarfm", "compiled"),
    ],
)  # fmt: skip
def test_memory_above_inputs_and_output(
    benchmark: BenchmarkFixture, name: str, preset: str
) -> None:
    """2000×2000×6 with gaps in both sensors, in a process of its own."""
    if preset == "compiled":
        pytest.importorskip("numba")
    script = textwrap.dedent(MEASURE).format(tests=str(Path(__file__).parents[1]))
    sizes: list[int] = []

    def measure() -> None:
        done = subprocess.run(
            [sys.executable, "-c", script, name, preset], capture_output=True, text=True, check=True
        )
        sizes.append(int(done.stdout))

    benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info.update(size="2000×2000×6", above_mib=round(max(sizes) / 2**20))
    assert max(sizes) < MOST_MEMORY
