"""Timing two ways of doing the same in turn, so that a busy machine slows both."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from torch.optim import Adam

ROUNDS = 5


def quartiles(values: list[float]) -> list[float]:
    return [round(q, 4) for q in statistics.quantiles(values, n=4)]


def paired(
    benchmark: BenchmarkFixture, plain: Callable[[], object], other: Callable[[], object],
    rounds: int = ROUNDS,
) -> dict[str, Any]:  # fmt: skip
    """Time one after the other in every round; return seconds and their ratio.

    Seconds of the processor are noted beside those of the clock: others who use it lengthen one.
    """
    times: tuple[list[float], list[float]] = ([], [])
    spent: tuple[list[float], list[float]] = ([], [])

    def timed(which: int, work: Callable[[], object]) -> None:
        start, used = time.perf_counter(), time.process_time()
        work()
        times[which].append(time.perf_counter() - start)
        spent[which].append(time.process_time() - used)

    plain(), other()  # once each before anything counts
    benchmark.pedantic(
        lambda: timed(1, other), setup=lambda: timed(0, plain), rounds=rounds, iterations=1
    )
    return {
        "plain_s": quartiles(times[0]),
        "other_s": quartiles(times[1]),
        "ratio": quartiles([a / b for a, b in zip(*times, strict=True)]),
        "cpu_ratio": quartiles([a / b for a, b in zip(*spent, strict=True)]),
        "load": round(os.getloadavg()[0], 1),
    }


def step_of(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """Return one training step of plain Adam."""
    optimiser = Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step
