"""A pretraining step of cross_scale as the trainer takes it, beside the network's bare step.

The trainer draws crops of both sensors, reads them and takes the step. The bare step is loss,
gradient and AdamW on one batch that is there already. A round trains anew and then takes bare
steps, so a busy machine slows both. Nothing here fails on time.

    python -m pytest tests/bench/test_bench_cross_scale.py --benchmark-json results/bench/pairs.json
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import segment_toys as toys
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import quartiles

from rsbench.catalog import load_protocol
from rsbench.models.registry import card, cards
from rsbench.training.train import TrainRequest, fresh_model, train

MODEL = "cross_scale"
ROUNDS, STEPS, THREADS, TARGET = 3, 24, 1, 0.8
CLASSES = tuple(toys.CODES.values())

pytestmark = pytest.mark.skipif(MODEL not in cards(), reason=f"{MODEL} is not installed")


@pytest.fixture(autouse=True)
def one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def median_interval(moments: list[float]) -> float:
    return statistics.median(after - before for before, after in pairwise(moments))


@pytest.mark.parametrize("preset", ["tiny_ijepa_mr", "tiny_ijepa_sa", "tiny_latentmim_sa"])
def test_pretraining_step(benchmark: BenchmarkFixture, tmp_path: Path, preset: str) -> None:
    store = toys.write_store(tmp_path / "store", regions=10, size=64)
    rules = load_protocol("segment").model_copy(update={"window": 32, "stride": 32})
    whole: list[float] = []
    bare: list[float] = []

    def trained() -> tuple[Any, tuple[Any, ...]]:
        """Train; return the model and the arguments of its last pretraining loss."""
        model: Any = fresh_model(MODEL, preset, seed=0, bands=4, classes=len(CLASSES))
        plain, moments, last = model.loss, [], []

        def loss(stage: Any, *given: Any) -> Any:
            if stage.name == "pretrain":
                moments.append(time.perf_counter())
                last[:] = [stage, *given]
            return plain(stage, *given)

        model.loss = loss
        request = TrainRequest(
            preset=preset, protocol=rules, sensor=toys.MR, bands=CLASSES, context=1, device="cpu",
            budget=f"{STEPS}steps", resume=False,
        )  # fmt: skip
        train(model, card(MODEL).of(preset), store, request)
        model.loss = plain
        whole.append(median_interval(moments))
        return model, tuple(last)

    def once() -> None:
        model, arguments = trained()
        step, moments = bare_step(model, arguments), []
        for _ in range(STEPS):
            moments.append(time.perf_counter())
            step()
        bare.append(median_interval(moments))

    benchmark.pedantic(once, rounds=ROUNDS, iterations=1)
    benchmark.extra_info.update(
        preset=preset, threads=THREADS, whole_s=quartiles(whole), bare_s=quartiles(bare),
        share=quartiles([a / b for a, b in zip(bare, whole, strict=True)]), target_share=TARGET,
        load=round(os.getloadavg()[0], 1),
    )  # fmt: skip


def bare_step(model: Any, arguments: tuple[Any, ...]) -> Callable[[], None]:
    """Return loss, gradient and AdamW on the same arguments."""
    stage = arguments[0]
    parts = [model.module.get_submodule(name) for name in stage.modules] or [model.module]
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    weights = [p.requires_grad_(True) for part in parts for p in part.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=stage.learning_rate)
    model.module.train()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        model.loss(*arguments)["total"].backward()
        torch.nn.utils.clip_grad_norm_(weights, stage.clip)
        optimiser.step()

    return step
