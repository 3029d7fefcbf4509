"""RDDM's and STFDiff's networks: sizes to the digit, blocks and joins by hand in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from fusion_loops import (
    F64,
    Weights,
    conv,
    double,
    gelu,
    group_norm,
    picture,
    shaken,
    silu,
    softmax,
    weights,
)
from torch import Tensor, nn

from rsbench_baselines.rddm import sizes as rddm_sizes
from rsbench_baselines.rddm.blocks import FullAttention, LinearAttention, ResidualBlock
from rsbench_baselines.rddm.network import RDDM, UNet
from rsbench_baselines.stfdiff import sizes as stfdiff_sizes
from rsbench_baselines.stfdiff.network import STFDiff
from rsbench_baselines.tokens import time_code as code_of


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", stfdiff_sizes.SIZES)
def test_stfdiff_counts_to_the_digit(name: str) -> None:
    size = stfdiff_sizes.SIZES[name]
    with torch.device("meta"):
        net = STFDiff(size)
    assert count(net) == size.parameters
    if name != "tiny":
        assert count(net) == 7_482_054
        assert net.spare is not None
        assert count(net.spare) == 3_520


@pytest.mark.parametrize("name", rddm_sizes.SIZES)
def test_rddm_counts_what_it_says(name: str) -> None:
    size = rddm_sizes.SIZES[name]
    with torch.device("meta"):
        net, one = RDDM(size), RDDM(replace(size, objective="pred_noise"))
    networks = 2 if size.objective == "pred_res_noise" else 1
    assert count(net) == size.parameters == networks * count(one)


def named(module: nn.Module, name: str) -> Weights:
    state = {f"{name}.{k}": v for k, v in module.state_dict().items()}
    return lambda n: state[n].double().numpy()


def one(w: Weights, name: str, x: F64, *, padding: int = 0, stride: int = 1) -> F64:
    return conv(x, w(f"{name}.weight"), w(f"{name}.bias"), padding=padding, stride=stride)


def standardised(w: F64) -> F64:
    out = np.empty_like(w)
    for o in range(len(w)):
        out[o] = (w[o] - w[o].mean()) / np.sqrt(w[o].var() + 1e-5)
    return out


def block(
    w: Weights, name: str, x: F64, e: F64 | None, groups: int, standard: tuple[bool, bool]
) -> F64:
    y = x
    for i, s in enumerate(standard, start=1):
        kernel = w(f"{name}.conv{i}.weight")
        y = conv(y, standardised(kernel) if s else kernel, w(f"{name}.conv{i}.bias"), padding=1)
        y = group_norm(y, groups, w(f"{name}.norm{i}.weight"), w(f"{name}.norm{i}.bias"))
        if i == 1 and e is not None:
            told = w(f"{name}.time.weight") @ silu(e) + w(f"{name}.time.bias")
            scale, shift = np.split(told, 2)
            y = y * (1 + scale[:, None, None]) + shift[:, None, None]
        y = silu(y)
    same = len(y) == len(x)
    return y + (x if same else one(w, f"{name}.skip", x))


@pytest.mark.parametrize("standard", [(True, True), (True, False)])
@pytest.mark.parametrize(("outputs", "code"), [(4, None), (6, 3)])
def test_the_residual_block(standard: tuple[bool, bool], outputs: int, code: int | None) -> None:
    net = shaken(ResidualBlock(4, outputs, 2, code, standard))
    x, e = picture(1, 4, 4, 3), picture(1, 3)
    told = None if code is None else e[0].numpy()
    found = block(named(net, "b"), "b", x[0].numpy(), told, 2, standard)
    out = net(x, None if code is None else e)[0].detach()
    np.testing.assert_allclose(out, found, rtol=1e-9, atol=1e-11)


def channel_norm(x: F64, gain: F64) -> F64:
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * gain.reshape(-1, 1, 1)


def attended(w: Weights, x: F64, heads: int, head: int, *, linear: bool) -> F64:
    """Attention pixel by pixel."""
    _, H, W = x.shape
    qkv = conv(channel_norm(x, w("norm.gain")), w("qkv.weight")).reshape(3, heads, head, H * W)
    found = np.zeros((heads, head, H * W))
    for h in range(heads):
        q, k, v = qkv[:, h]
        for p in range(H * W):
            if linear:
                query = softmax(q[:, p]) / np.sqrt(head)
                keys = softmax(k)  # over pixels
                for r in range(H * W):
                    found[h, :, p] += (query * keys[:, r]).sum() * v[:, r] / (H * W)
            else:
                found[h, :, p] = v @ softmax(q[:, p] @ k / np.sqrt(head))
    y = one(w, "out", found.reshape(heads * head, H, W))
    return x + (channel_norm(y, w("last.gain")) if linear else y)


@pytest.mark.parametrize("linear", [True, False])
def test_attention(linear: bool) -> None:
    net = shaken((LinearAttention if linear else FullAttention)(4, 2, 3))
    x = picture(1, 4, 3, 2)
    found = attended(weights(net), x[0].numpy(), 2, 3, linear=linear)
    np.testing.assert_allclose(net(x)[0].detach(), found, rtol=1e-9, atol=1e-11)


def code_by_hand(t: float, width: int) -> F64:
    """Sines, then cosines; the slowest of the frequencies is 1/10000 exactly."""
    half = width // 2
    angle = np.array([t * 10_000.0 ** (-k / (half - 1)) for k in range(half)])
    return np.concatenate([np.sin(angle), np.cos(angle)])


@pytest.mark.parametrize("width", [4, 64])
def test_the_time_code(width: int) -> None:
    found = code_of(torch.tensor([0.0, 3.25, 99.0]), width).double().numpy()
    for row, t in zip(found, (0.0, 3.25, 99.0), strict=True):
        np.testing.assert_allclose(row, code_by_hand(t, width), atol=2e-5)
    # By hand at width 4: frequencies 1 and 1/10000.
    if width == 4:
        expected = [math.sin(99), math.sin(0.0099), math.cos(99), math.cos(0.0099)]
        np.testing.assert_allclose(found[2], expected, atol=2e-5)


def time_code(w: Weights, name: str, t: float, width: int) -> F64:
    code = code_by_hand(t, width)
    y = gelu(w(f"{name}.first.weight") @ code + w(f"{name}.first.bias"))
    out: F64 = w(f"{name}.second.weight") @ y + w(f"{name}.second.bias")
    return out


def test_stfdiff_whole() -> None:
    size = replace(
        stfdiff_sizes.SIZES["tiny"], bands=2, base=4, mult=(1, 2), groups=2, residual=False
    )
    net = shaken(STFDiff(size))
    w = weights(net)
    x, c0, f0, c1 = (picture(1, 2, 4, 6, seed=s) for s in range(4))
    n = {k: v[0].numpy() for k, v in {"x": x, "c0": c0, "f0": f0, "c1": c1}.items()}
    e = time_code(w, "time", 17.0, 4)
    coarse = one(w, "coarse", np.concatenate([n["c0"], n["c1"]]), padding=1)
    clean = one(w, "join", np.concatenate([one(w, "fine", n["f0"], padding=1), coarse]))
    noisy = one(w, "noisy", n["x"], padding=1)
    stem, skips = noisy - clean, []
    for i in range(2):
        clean = block(w, f"clean_branch.blocks.{i}", clean, None, 2, (True, False))
        noisy = block(w, f"noisy_branch.blocks.{i}", noisy, e, 2, (True, False))
        skips.append(noisy - clean)
        stride = 2 if i == 0 else 1
        clean = one(w, f"clean_branch.downs.{i}", clean, padding=1, stride=stride)
        noisy = one(w, f"noisy_branch.downs.{i}", noisy, padding=1, stride=stride)
    clean = block(w, "clean_branch.bottom", clean, None, 2, (True, False))
    noisy = block(w, "noisy_branch.bottom", noisy, e, 2, (True, False))
    y = noisy - clean
    for i in range(2):
        y = block(w, f"ups.{i}", np.concatenate([y, skips.pop()]), e, 2, (True, False))
        y = one(w, f"grows.{i}.conv", double(y) if i == 0 else y, padding=1)
    y = block(w, "final", np.concatenate([y, stem]), e, 2, (True, False))
    found = one(w, "out", y)
    out = net(x, torch.tensor([17]), c0, f0, c1)[0].detach()
    np.testing.assert_allclose(out, found, rtol=1e-6, atol=1e-7)


def test_rddm_whole() -> None:
    size = replace(
        rddm_sizes.SIZES["tiny"], bands=2, images=1, base=4, mult=(1, 2), groups=2, head=3
    )
    net = shaken(UNet(4, size))
    assert isinstance(net, UNet)
    w, x = weights(net), picture(1, 4, 4, 6)
    e = time_code(w, "time", 3.25, 4)

    def pair(name: str, v: F64, skips: list[F64] | None) -> F64:
        for i in (1, 2):
            v = v if skips is None else np.concatenate([v, skips.pop()])
            v = block(w, f"{name}.block{i}", v, e, 2, (True, True))
            kept.append(v)
        kept[-1] = attended(lambda n: w(f"{name}.attention.{n}"), v, 2, 3, linear=True)
        return kept[-1]

    stem = y = one(w, "stem", x[0].numpy(), padding=3)
    skips: list[F64] = []
    for i in range(2):
        kept: list[F64] = []
        y = pair(f"downs.{i}", y, None)
        skips += kept
        y = one(w, f"downs.{i}.resize", y, padding=1, stride=2 if i == 0 else 1)
    y = block(w, "middle1", y, e, 2, (True, True))
    y = attended(lambda n: w(f"attention.{n}"), y, 2, 3, linear=False)
    y = block(w, "middle2", y, e, 2, (True, True))
    for i in range(2):
        kept = []
        y = pair(f"ups.{i}", y, skips)
        y = one(w, f"ups.{i}.resize.conv", double(y) if i == 0 else y, padding=1)
    found = one(w, "out", block(w, "final", np.concatenate([y, stem]), e, 2, (True, True)))
    out = net(x, torch.tensor([3.25]))[0].detach()
    np.testing.assert_allclose(out, found, rtol=1e-6, atol=1e-7)


def test_each_rddm_network_is_told_its_own_level() -> None:
    size = replace(
        rddm_sizes.SIZES["tiny"], bands=1, images=1, residual=False, objective="pred_res_noise"
    )
    torch.manual_seed(0)
    net = RDDM(size).eval()
    x, given = torch.randn(2, 1, 1, 8, 8)
    levels = torch.tensor([3.0]), torch.tensor([5.0])
    plain = net(x, given, *levels)

    def moved(a: float, b: float) -> tuple[bool, bool]:
        other = net(x, given, levels[0] + a, levels[1] + b)
        pairs: list[tuple[Tensor, Tensor]] = [
            (other.residual, plain.residual), (other.noise, plain.noise)
        ]  # fmt: skip
        changed = [not torch.equal(p, q) for p, q in pairs]
        return changed[0], changed[1]

    assert moved(1.0, 0.0) == (True, False)
    assert moved(0.0, 1.0) == (False, True)
