"""The convolution layer of the networks against the one of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rsbench.models import registry
from rsbench_baselines import _convolution, _depthwise, _winograd
from rsbench_baselines._convolution import Conv2d
from rsbench_baselines.simvp.network import SimVP

SIDES = st.integers(1, 8)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([3, 5, 7]), st.integers(1, 3), SIDES, SIDES, st.integers(1, 2))
def test_depthwise_equals_the_plain_convolution_of_any_size(
    kernel: int, dilation: int, height: int, width: int, images: int
) -> None:
    torch.manual_seed(height * 10 + width)
    shapes = ((images, 3, height, width), (3, 1, kernel, kernel), (3,))
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in shapes]
    x, weight, bias = given
    found = _depthwise.depthwise(x, weight, bias, dilation)
    plain = F.conv2d(x, weight, bias, padding=dilation * (kernel // 2), dilation=dilation, groups=3)
    torch.testing.assert_close(found, plain, rtol=1e-11, atol=1e-12)
    upon = torch.randn_like(plain)
    mine, other = (torch.autograd.grad(one, given, upon) for one in (found, plain))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_gradients_of_depthwise_against_differences() -> None:
    torch.manual_seed(0)
    shapes = ((1, 2, 5, 4), (2, 1, 3, 3), (2,))
    given = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(lambda *a: _depthwise.depthwise(*a, 2), given)


LAYERS = {
    "1×1": ((128, 256, 1), {}, "linear"),
    "dilated": ((128, 128, 7), {"padding": 9, "dilation": 3, "groups": 128}, "depthwise"),
    "3×3": ((64, 128, 3), {"padding": 1}, "convolve"),
    "5×5": ((64, 256, 5), {"padding": 2}, "convolve"),
    "narrow 1×1": ((64, 256, 1), {}, ""),
    "narrow 3×3": ((64, 64, 3), {"padding": 1}, ""),
    "grouped": ((128, 256, 5), {"padding": 2, "groups": 8}, ""),
    "stride": ((64, 256, 3), {"padding": 1, "stride": 2}, ""),
    "no padding": ((64, 256, 3), {}, ""),
    "circular": ((64, 256, 3), {"padding": 1, "padding_mode": "circular"}, ""),
}


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that the faster ways add their names to."""
    seen: list[str] = []
    for module, name in ((_convolution.F, "linear"), (_depthwise, "depthwise"),
                         (_winograd, "convolve")):  # fmt: skip
        original = getattr(module, name)

        def spy(*args: object, _name: str = name, _original: object = original) -> Tensor:
            seen.append(_name)
            return _original(*args)  # type: ignore[no-any-return,operator]

        monkeypatch.setattr(module, name, spy)
    return seen


@pytest.mark.parametrize("name", LAYERS)
def test_the_layer_equals_that_of_torch_and_takes_the_faster_way(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sizes, options, way = LAYERS[name]
    torch.manual_seed(0)
    plain, layer = nn.Conv2d(*sizes, **options), Conv2d(*sizes, **options)  # type: ignore[arg-type]
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(4, sizes[0], 16, 16).contiguous(memory_format=torch.channels_last)
    seen = spied(monkeypatch)
    found, expected = layer(x), plain(x)
    assert seen == [way] * bool(way)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    for loss in (found.square().mean(), expected.square().mean()):
        loss.backward()
    for a, b in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-7)
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    layer.double()(x.double())
    assert seen == []


@pytest.mark.parametrize("preset", ["paper", "tiny"])
def test_which_presets_of_simvp_take_the_faster_ways(
    monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    options = registry.card("simvp").presets[preset].options
    sizes = {k: options[k] for k in ("hid_S", "hid_T", "N_S") if k in options}
    torch.manual_seed(0)
    network = SimVP((1, 3, 64, 64), N_T=2, **sizes)  # type: ignore[arg-type]
    seen = spied(monkeypatch)
    with torch.no_grad():
        network.to(memory_format=torch.channels_last)(torch.rand(1, 1, 3, 64, 64))  # type: ignore[call-overload]
    expected = {"linear", "depthwise", "convolve"} if preset == "paper" else set()
    assert set(seen) == expected
