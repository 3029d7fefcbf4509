"""The selective scan of STFMamba: forward and gradient beside other ways of computing them.

``loop`` takes one position after the other and leaves the gradient to autograd, as the reference
function of S6 does. ``earlier`` is the block of an earlier commit, checked out
into a folder named by the commit; ``RSBENCH_BENCH_EARLIER`` is its path.
Results are compared first. Nothing here fails on time.

    python -m pytest tests/bench/test_bench_scan.py --benchmark-json results/bench/scan.json
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import paired
from torch import Tensor

from rsbench_baselines.stfmamba import scan

THREADS = 1
SIDE, WIDTH, STATE, RANK = 16, 48, 16, 2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def loop(
    x: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, chunk: int | None = None
) -> Tensor:
    """Position by position; arguments as of ``selective_scan``."""
    state, found = torch.zeros(()), []
    for one, by, enter, leave in zip(*(t.unbind(1) for t in (x, step, b, c)), strict=True):
        decay = (by[:, :, None] * a[:, None]).exp()
        state = decay * state + (by * one)[:, :, None] * enter[..., None]
        found.append((state * leave[..., None]).sum(dim=-2) + d[:, None] * one)
    return torch.stack(found, dim=1)


def earlier() -> Any:
    """Return the scan module of the other checkout."""
    folder = os.environ.get("RSBENCH_BENCH_EARLIER")
    if not folder:
        pytest.skip("RSBENCH_BENCH_EARLIER names no checkout")
    path = Path(folder) / "baselines" / "rsbench_baselines" / "stfmamba" / "scan.py"
    spec = importlib.util.spec_from_file_location("earlier_scan", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def worked(module: Any, state: dict[str, Tensor] | None = None) -> tuple[Any, Callable[[], Tensor]]:
    """Return a scan and its work: forward and gradient; the work returns the gradient by image."""
    torch.manual_seed(0)
    block = module.Scan(WIDTH, STATE, RANK)
    if state is not None:
        block.load_state_dict(state)
    image = torch.rand(2, SIDE, SIDE, WIDTH, requires_grad=True)

    def work() -> Tensor:
        image.grad = None
        block(image).square().mean().backward()
        assert image.grad is not None
        return image.grad.clone()

    return block, work


@pytest.mark.parametrize("beside", ["loop", "earlier"])
def test_selective_scan(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    block, ours = worked(scan)
    if beside == "loop":

        def other() -> Tensor:
            with monkeypatch.context() as patch:
                patch.setattr(scan, "selective_scan", loop)
                return ours()
    else:
        _, other = worked(earlier(), block.state_dict())
        beside = Path(os.environ["RSBENCH_BENCH_EARLIER"]).name
    expected, found = other(), ours()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    benchmark.extra_info.update(
        paired(benchmark, other, ours), shape=f"2×{SIDE}×{SIDE}×{WIDTH}", state=STATE,
        beside=beside, threads=THREADS,
    )  # fmt: skip
