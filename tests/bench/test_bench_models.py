"""Forecasting models: what fusing, layouts, threads and compiling pay, and where sampling goes.

Both sides of a pair are timed in turn in every round, so a busy machine slows both. Nothing here
fails on time. With ``-s`` the shares of Sat-JEPA-Diff's parts are printed.

    python -m pytest -s tests/bench/test_bench_models.py --benchmark-json results/bench/models.json
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from predrnn_gates import gated, unroll
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import ROUNDS, paired, step_of
from torch import nn

from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect
from rsbench_baselines.predrnn.network import PredRNN
from rsbench_baselines.simvp.network import SimVP


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("frames", "width"), [(2, 128), (3, 64)], ids=["paper", "two_steps"])
def test_fused_convolutions_of_predrnn(
    benchmark: BenchmarkFixture, frames: int, width: int
) -> None:
    """A training step at 3×128×128: one convolution per gate, on states that are tensors from the
    start, against fused ones that leave out what reads zeros.

    The preset ``paper`` trains on one frame in and one out; three frames are two steps.
    """

    def network() -> PredRNN:
        torch.manual_seed(0)
        return PredRNN((3, 3, 128, 128), num_hidden=(width,) * 4, patch_size=4, filter_size=5)

    clip = torch.rand(1, frames, 3, 128, 128)
    gates, fused = gated(network()), network()
    torch.testing.assert_close(unroll(gates, clip), unroll(fused, clip), rtol=1e-4, atol=1e-6)
    found = paired(
        benchmark,
        step_of(gates, lambda: unroll(gates, clip)),
        step_of(fused, lambda: unroll(fused, clip)),
    )
    benchmark.extra_info.update(found, shape=f"1×{frames}×3×128×128", width=width, threads=2)


@pytest.mark.parametrize("what", ["channels_last", "one_thread", "compile", "both"])
def test_what_pays_for_simvp(benchmark: BenchmarkFixture, what: str) -> None:
    """A training step of SimVP (gSTA 256/8/4, 10.10 M) at 1×1×3×128×128 against plain defaults.

    Channels last is how the model is built; compiling comes on top of it with ``--compile``.
    """

    def network() -> SimVP:
        torch.manual_seed(0)
        return SimVP((1, 3, 128, 128), hid_S=64, hid_T=256, N_S=4, N_T=8)

    frames = torch.rand(1, 1, 3, 128, 128)
    plain, other = network(), network()
    if what in ("channels_last", "both"):
        other = other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if what in ("compile", "both"):
        other.compile()
    stepped = step_of(other, lambda: other(frames).square().mean())

    def second() -> None:
        torch.set_num_threads(1 if what == "one_thread" else 2)
        stepped()
        torch.set_num_threads(2)

    start = time.perf_counter()
    second()
    first = time.perf_counter() - start
    found = paired(benchmark, step_of(plain, lambda: plain(frames).square().mean()), second)
    benchmark.extra_info.update(found, shape="1×1×3×128×128", other=what, first_step_s=first)


def published_predrnn() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = PredRNN((8, 1, 64, 64), num_hidden=(64,) * 4, patch_size=4, filter_size=5)
    return network, torch.rand(1, 8, 1, 64, 64)


def published_simvp(kind: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = SimVP((10, 1, 64, 64), hid_S=64, hid_T=512, N_S=4, N_T=8, model_type=kind)
    return network.to(memory_format=torch.channels_last), torch.rand(1, 10, 1, 64, 64)  # type: ignore[call-overload]


NETWORKS: dict[str, Callable[[], tuple[nn.Module, torch.Tensor]]] = {
    "predrnn": published_predrnn,
    "gsta": lambda: published_simvp("gsta"),
    "incepu": lambda: published_simvp("incepu"),
}


@pytest.mark.parametrize("train", [False, True], ids=["infer", "train"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_what_share_is_convolution(benchmark: BenchmarkFixture, name: str, train: bool) -> None:
    """The share of processor time inside convolution kernels, on one thread.

    Any form of the same network spends this time, so its inverse bounds what another form gains.
    """
    torch.set_num_threads(1)
    network, clip = NETWORKS[name]()

    def loss() -> torch.Tensor:
        if isinstance(network, PredRNN):
            return unroll(network, clip)
        answer: torch.Tensor = network(clip)
        return answer.square().mean()

    def step() -> None:
        with torch.set_grad_enabled(train):
            found = loss()
        if train:
            network.zero_grad(set_to_none=True)
            found.backward()  # type: ignore[no-untyped-call]

    network.train(train)
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        benchmark.pedantic(step, rounds=2, iterations=1)
    times = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    share = sum(time for key, time in times.items() if "conv" in key) / sum(times.values())
    benchmark.extra_info.update(share=round(share, 3), bound_on_ratio=round(1 / share, 2))
    assert 0 < share < 1


def test_where_sat_jepa_diff_samples(benchmark: BenchmarkFixture) -> None:
    """The share of each part in a rollout of seven leads with four members."""
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    model: Any = create_model("sat_jepa_diff", "tiny", bands=4)
    entry = card("sat_jepa_diff").of("tiny")
    data = make_samples(Shape(2, 1, 7, 4, 128), members=4)
    spent = dict.fromkeys(("encoder", "predictor", "adapter", "transformer", "vae"), 0.0)
    begun: dict[str, float] = {}

    def before(name: str) -> Callable[..., None]:
        return lambda *_: begun.__setitem__(name, time.perf_counter())

    def after(name: str) -> Callable[..., None]:
        def add(*_: object) -> None:
            spent[name] += time.perf_counter() - begun[name]

        return add

    parts = {name: model.module.get_submodule(name) for name in spent if name != "vae"}
    coders = [model.module.vae.encoder, model.module.vae.decoder]
    for name, part in [*parts.items(), *(("vae", coder) for coder in coders)]:
        part.register_forward_pre_hook(before(name))
        part.register_forward_hook(after(name))
    benchmark.pedantic(
        lambda: collect(model, entry, data.given, data.want), rounds=ROUNDS, iterations=1
    )
    total = sum(spent.values())
    shares = ", ".join(f"{name} {seconds / total:.1%}" for name, seconds in spent.items())
    steps = entry.presets["tiny"].options["sampler_steps"]
    benchmark.extra_info.update(steps=steps, shares=shares, members=4, leads=7, samples=2, side=128)
    print("sat_jepa_diff tiny:", shares)
    assert all(seconds > 0 for seconds in spent.values())
