"""Forecasting models: what fusing, layouts, threads and compiling pay, and where sampling goes.

Both sides of a pair are timed in turn in every round, so a busy machine slows both. Nothing here
fails on time. With ``-s`` the shares of Sat-JEPA-Diff's parts are printed.

    python -m pytest -s tests/bench/test_bench_models.py --benchmark-json results/bench/models.json
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from predrnn_gates import gated, unroll
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import ROUNDS, paired, step_of
from torch import Tensor, nn

from rsbench.models.contract_data import Shape, make_samples
from rsbench.models.registry import card, create_model
from rsbench.models.rollout import collect
from rsbench_baselines import _winograd
from rsbench_baselines.predrnn.network import PredRNN, State
from rsbench_baselines.simvp.network import SimVP

Losses = tuple[tuple[nn.Module, Callable[[], Tensor]], tuple[nn.Module, Callable[[], Tensor]]]


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


def predrnn_loss(shape: tuple[int, int, int, int], *, decoupled: bool = False) -> Losses:
    """Return the loss of a rollout as published, where every state is a tensor, and as built."""
    torch.manual_seed(0)
    network = PredRNN(shape, patch_size=4, decoupled=decoupled)
    frames, channels, height, width = shape
    clip = torch.rand(1, 2 * frames, channels, height, width)
    zeros = torch.zeros(1, 128, height // 4, width // 4)
    layers = len(network.cell_list)

    def loss(state: State) -> Tensor:
        total = torch.zeros(())
        for t in range(2 * frames - 1):
            answer, state, added = network(clip[:, t], state)
            total = total + (answer - clip[:, t + 1]).square().mean()
            if decoupled:
                total = total + network.likeness(added)
        return total

    tensors = State((zeros,) * layers, (zeros,) * layers, zeros)
    return (network, lambda: loss(tensors)), (network, lambda: loss(network.zero()))


def simvp_loss(shape: tuple[int, int, int, int], width: int, kind: str = "gsta") -> Losses:
    """Return the loss of one forward pass in the layout of torch's defaults, and as built."""
    torch.manual_seed(0)
    plain = SimVP(shape, hid_S=64, hid_T=width, N_S=4, N_T=8, model_type=kind)
    built = deepcopy(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    clip = torch.rand(1, *shape)
    return (plain, lambda: plain(clip).square().mean()), (
        built,
        lambda: built(clip).square().mean(),
    )


SHAPES: dict[str, Callable[[], Losses]] = {
    "predrnn_mmnist": lambda: predrnn_loss((10, 1, 64, 64)),
    "predrnn_mmnist_v2": lambda: predrnn_loss((10, 1, 64, 64), decoupled=True),
    "predrnn_paper": lambda: predrnn_loss((1, 3, 128, 128)),
    "simvp_mmnist": lambda: simvp_loss((10, 1, 64, 64), 512),
    "simvp_mmnist_incepu": lambda: simvp_loss((10, 1, 64, 64), 512, "incepu"),
    "simvp_1_frame": lambda: simvp_loss((1, 3, 128, 128), 256),
    "simvp_10_frames": lambda: simvp_loss((10, 3, 128, 128), 256),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("train", [False, True], ids=["infer", "train"])
@pytest.mark.parametrize("name", SHAPES)
def test_faster_convolutions(
    benchmark: BenchmarkFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    train: bool,
    threads: int,
) -> None:
    """Published networks with the convolutions of torch against the same networks as built."""
    torch.set_num_threads(threads)
    losses = SHAPES[name]()
    applies = _winograd.applies
    found: list[Tensor] = []

    def step(which: int) -> None:
        network, loss = losses[which]
        monkeypatch.setattr(_winograd, "applies", applies if which else lambda *_: False)
        network.train(train)
        with torch.set_grad_enabled(train):
            value = loss()
        if train:
            network.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
        found.append(value.detach())

    times = paired(benchmark, lambda: step(0), lambda: step(1), rounds=3)
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=0)
    benchmark.extra_info.update(times, threads=threads)


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
def test_what_share_is_convolution(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, name: str, train: bool
) -> None:
    """The share of processor time inside the convolutions of torch, on one thread.

    Its inverse bounds what a network with the same convolutions can gain.
    """
    torch.set_num_threads(1)
    monkeypatch.setattr(_winograd, "applies", lambda *_: False)
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
