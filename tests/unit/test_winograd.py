"""Convolutions with fewer multiplications against the plain ones of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from predrnn_gates import unroll
from torch import Tensor

from rsbench.models import registry
from rsbench_baselines import _winograd
from rsbench_baselines.predrnn import network as predrnn
from rsbench_baselines.predrnn.network import PredRNN

SIDES = st.integers(1, 9)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([3, 5]), SIDES, SIDES, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_equal_to_the_plain_convolution_of_any_size(
    kernel: int, height: int, width: int, images: int, channels: int, small: bool
) -> None:
    """Sides that are no multiple of a tile, several inputs, and arrays cut into chunks."""
    torch.manual_seed(height * 10 + width)
    parts = [
        torch.randn(images, n, height, width, dtype=torch.float64, requires_grad=True)
        for n in (channels, 2)
    ]
    weight = torch.randn(3, channels + 2, kernel, kernel, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(torch.cat(parts, dim=1), weight, padding=kernel // 2)
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(_winograd, "SCRATCH", 36 * 5 * 4)
        found = _winograd.convolve(parts, _winograd.transformed(weight), kernel)
        upon = torch.randn_like(plain)
        mine = torch.autograd.grad(found, (*parts, weight), upon)
    other = torch.autograd.grad(plain, (*parts, weight), upon)
    torch.testing.assert_close(found, plain, rtol=1e-11, atol=1e-11)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kernel", [3, 5])
def test_gradients_against_differences(kernel: int) -> None:
    torch.manual_seed(0)
    shapes = ((1, 2, 5, 4), (2, 2, kernel, kernel), (2,))
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(
        lambda x, w, b: _winograd.convolve([x], _winograd.transformed(w), kernel, b), given
    )


@pytest.mark.parametrize("kernel", [3, 5])
def test_rounding_is_a_few_times_that_of_the_plain_form(kernel: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 96, 16, 16), torch.randn(64, 96, kernel, kernel)
    weight /= weight[0].numel() ** 0.5
    exact = F.conv2d(x.double(), weight.double(), padding=kernel // 2)
    plain = F.conv2d(x, weight, padding=kernel // 2) - exact
    found = _winograd.convolve([x], _winograd.transformed(weight), kernel) - exact
    assert float(found.abs().max()) < 1e-5
    assert float(found.std()) < 5 * float(plain.std())


def test_only_float32_on_a_cpu_and_enough_of_it() -> None:
    x, weight = torch.empty(1, 128, 16, 16), torch.empty(896, 128, 5, 5)
    assert _winograd.pays(x, weight)
    assert not _winograd.pays(x.double(), weight.double())
    assert not _winograd.pays(x.bfloat16(), weight.bfloat16())
    assert not _winograd.pays(x.to("meta"), weight.to("meta"))
    assert not _winograd.pays(x[..., :4, :4], weight)
    assert not _winograd.pays(x[:, :16], weight[:, :16])
    assert not _winograd.pays(x, weight[..., :1, :1])
    assert not _winograd.pays(x, weight[..., :3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not _winograd.pays(x, weight)


PUBLISHED = ["mmnist", "mmnist_v2", "kitti", "kitti_v2", "kth", "kth_v2", "fixed", "fixed_v1"]


@pytest.mark.parametrize("preset", PUBLISHED)
def test_published_sizes_of_predrnn_take_it_and_the_toy_does_not(preset: str) -> None:
    options = registry.card("predrnn").presets[preset].options
    side = (128 if preset in ("kth", "kitti", "fixed") else 64) // int(str(options["patch_size"]))
    width = options["num_hidden"][0]  # type: ignore[index]
    hidden = torch.empty(1, width, side, side)
    assert _winograd.pays(hidden, torch.empty(4 * width, width, 5, 5))
    assert not _winograd.pays(hidden[:, :24], torch.empty(4 * 24, 24, 3, 3))


def wide() -> tuple[PredRNN, Tensor]:
    torch.manual_seed(0)
    network = PredRNN((4, 1, 12, 12), num_hidden=(64, 64), patch_size=2, filter_size=5)
    return network, torch.rand(8, 4, 1, 12, 12)


def test_predrnn_gives_the_same_as_with_plain_convolutions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, clip = wide()
    losses, gradients = [], []
    for fast in (True, False):
        if not fast:
            for module in (predrnn, _winograd):
                monkeypatch.setattr(module, "pays", lambda *_: False)
        network.zero_grad()
        loss = unroll(network, clip)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_gradient_that_did_not_reach_the_weights_is_dropped() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    kernels = _winograd.transformed(weight)
    loss = _winograd.convolve([_winograd.convolve([x], kernels, 3)[:, :2]], kernels, 3).square()
    torch.autograd.grad(loss.sum(), x, retain_graph=True)
    found = [torch.autograd.grad(loss.sum(), weight, retain_graph=True)[0] for _ in range(2)]
    inner = F.conv2d(x, weight, padding=1)[:, :2]
    expected = torch.autograd.grad(F.conv2d(inner, weight, padding=1).square().sum(), weight)[0]
    for one in found:
        torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-10)


def test_kernels_are_transformed_once_per_rollout_and_again_for_other_weights() -> None:
    network, clip = wide()
    with torch.no_grad():
        _, first, _ = network(clip[:, 0], network.zero())
        _, second, _ = network(clip[:, 1], first)
        _, third, _ = network(clip[:, 2], second)
    assert first.kernels == (None, None)
    assert all(a is b and a is not None for a, b in zip(second.kernels, third.kernels, strict=True))
    _, learns, _ = network(clip[:, 3], third)
    assert all(one is not None and one.cell.values.requires_grad for one in learns.kernels)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01
        kept, _, _ = network(clip[:, 3], third)
        fresh, _, _ = network(clip[:, 3], predrnn.State(third.hidden, third.cell, third.memory))
    assert torch.equal(kept, fresh)


def test_two_runs_have_equal_bits() -> None:
    network, clip = wide()
    runs = []
    for _ in range(2):
        network.zero_grad()
        unroll(network, clip).backward()  # type: ignore[no-untyped-call]
        runs.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
