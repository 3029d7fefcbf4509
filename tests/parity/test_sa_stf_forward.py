"""SA-STF: published size to the digit, blocks and the whole network by hand in float64 loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from fusion_loops import (
    F64,
    Weights,
    conv,
    double,
    group_norm,
    picture,
    shaken,
    silu,
    softmax,
    weights,
)

from rsbench_baselines.sa_stf.blocks import CodedBlock, ImageBlock, level_code
from rsbench_baselines.sa_stf.deep import Aligner, Maps, Selector, SelfAttention
from rsbench_baselines.sa_stf.network import SASTF, References, ResidualRemoval
from rsbench_baselines.sa_stf.sizes import SIZES, Mode, Size

TOY = Size(0, bands=2, base=4, mult=(1, 2), groups=2)


def meta(size: Size) -> SASTF:
    with torch.device("meta"):
        return SASTF(size)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_size_to_the_digit_and_its_parts() -> None:
    net = meta(SIZES["paper"])
    assert count(net) == 83_839_558
    downs = sum(count(down) for down in net.images.downs)
    assert f"{(count(net.images) - downs) / 1e6:.2f}" == "4.12"
    assert f"{count(net.deep) / 1e6:.2f}" == "13.65"
    assert f"{count(net.decoder) / 1e6:.2f}" == "24.13"
    downs = sum(count(down) for down in net.noise.downs)
    assert count(net.noise) - downs == 9_717_248


@pytest.mark.parametrize("name", SIZES)
def test_every_preset_counts_what_it_says(name: str) -> None:
    net = meta(SIZES[name])
    assert count(net) == SIZES[name].parameters
    for prefix in SIZES[name].idle:
        assert any(n.startswith(prefix) for n, _ in net.named_parameters()), prefix


def block(w: Weights, name: str, x: F64, groups: int) -> F64:
    y = silu(group_norm(x, groups, w(f"{name}.norm.weight"), w(f"{name}.norm.bias")))
    return conv(y, w(f"{name}.conv.weight"), w(f"{name}.conv.bias"), padding=1)


def one(w: Weights, name: str, x: F64, *, padding: int = 0, stride: int = 1) -> F64:
    return conv(x, w(f"{name}.weight"), w(f"{name}.bias"), padding=padding, stride=stride)


def image_block(w: Weights, name: str, x: F64, groups: int, *, same: bool) -> F64:
    return block(w, f"{name}.block", x, groups) + (x if same else one(w, f"{name}.skip", x))


def coded_block(w: Weights, name: str, x: F64, e: F64 | None, groups: int, *, same: bool) -> F64:
    y = block(w, f"{name}.first", x, groups)
    if e is not None:
        y = y + (w(f"{name}.code.weight") @ e + w(f"{name}.code.bias"))[:, None, None]
    return block(w, f"{name}.second", y, groups) + (x if same else one(w, f"{name}.skip", x))


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (4, 6)])
def test_both_residual_blocks(inputs: int, outputs: int) -> None:
    x, e = picture(1, inputs, 5, 4), picture(1, 3)
    image = shaken(ImageBlock(inputs, outputs, 2))
    state = {f"b.{k}": v for k, v in image.state_dict().items()}
    found = image_block(lambda n: state[n].numpy(), "b", x[0].numpy(), 2, same=inputs == outputs)
    np.testing.assert_allclose(image(x)[0].detach(), found, rtol=1e-10, atol=1e-12)
    coded = shaken(CodedBlock(inputs, outputs, 2, 3))
    state = {f"b.{k}": v for k, v in coded.state_dict().items()}
    found = coded_block(
        lambda n: state[n].numpy(), "b", x[0].numpy(), e[0].numpy(), 2, same=inputs == outputs
    )
    np.testing.assert_allclose(coded(x, e)[0].detach(), found, rtol=1e-10, atol=1e-12)


def test_the_code_of_a_level_is_sines_then_cosines() -> None:
    code = level_code(torch.tensor([0.0, 37.25]), 64)
    frequencies = [10_000 ** (-k / 32) for k in range(32)]
    expected = [
        *(np.sin(37.25 * f) for f in frequencies),
        *(np.cos(37.25 * f) for f in frequencies),
    ]
    np.testing.assert_allclose(code[1], expected, atol=5e-6)
    assert code[0].tolist() == [0.0] * 32 + [1.0] * 32


def test_self_attention() -> None:
    net = shaken(SelfAttention(4, 2))
    w, x = weights(net), picture(1, 4, 2, 3)
    y = group_norm(x[0].numpy(), 2, w("norm.weight"), w("norm.bias"))
    q, k, v = np.split(conv(y, w("qkv.weight")).reshape(12, 6), 3)
    scores = softmax(q.T @ k / 2)
    found = np.stack([sum(scores[i, j] * v[:, j] for j in range(6)) for i in range(6)], axis=1)
    found = x[0].numpy() + one(w, "out", found.reshape(4, 2, 3))
    np.testing.assert_allclose(net(x)[0].detach(), found, rtol=1e-10, atol=1e-12)


def aligned(w: Weights, mode: Mode, c1: F64, cr: F64, fr: F64) -> tuple[F64, F64]:
    """HR and Ĉ1, the attention summed place by place."""

    def two(name: str, x: F64) -> F64:
        return one(w, f"{name}.2", silu(one(w, f"{name}.0", x)))

    slope = two("slope", np.concatenate([c1, cr]))
    gap = conv(fr - cr, w("gap.weight"))
    if mode == "official":
        gap = gap.mean((1, 2), keepdims=True)
    b = two("offset", gap)
    norm = w("norm.weight"), w("norm.bias")
    q = conv(group_norm(fr, 2, *norm), w("query.weight")).reshape(len(fr), -1)
    k = conv(group_norm(cr, 2, *norm), w("key.weight")).reshape(len(fr), -1)
    v = conv(slope, w("value.weight")).reshape(len(fr), -1)
    places = q.shape[1]
    scores = softmax(q.T @ k / np.sqrt(len(fr)))  # a row per query
    carried = np.zeros((len(fr), places))
    for here in range(places):
        for there in range(places):
            share = scores[there, here] if mode == "official" else scores[here, there]
            carried[:, here] += share * v[:, there]
    return carried.reshape(fr.shape) * fr + b, slope * cr + b


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_alignment_in_both_readings(mode: Mode) -> None:
    net = shaken(Aligner(4, 2, mode))
    c1, cr, fr = (picture(1, 4, 2, 3, seed=s) for s in (1, 2, 3))
    high, low = net(c1, cr, fr)
    expected = aligned(weights(net), mode, c1[0].numpy(), cr[0].numpy(), fr[0].numpy())
    np.testing.assert_allclose(high[0].detach(), expected[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(low[0].detach(), expected[1], rtol=1e-10, atol=1e-12)


def selected(mode: Mode, c1: F64, f0: F64, f2: F64, h0: F64, h2: F64) -> F64:
    found = np.empty_like(f0)
    for c, r, s in np.ndindex(f0.shape):
        at = (slice(c, c + 1) if mode == "official" else slice(None), r, s)

        def apart(a: F64, b: F64, at: tuple[slice, int, int] = at) -> float:
            return float(((a[at] - b[at]) ** 2).sum())

        if apart(f0, f2) < min(apart(c1, f0), apart(c1, f2)):
            found[c, r, s] = f0[c, r, s]
        else:
            found[c, r, s] = (h0 if apart(c1, h0) < apart(c1, h2) else h2)[c, r, s]
    return found


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_selection_in_both_readings(mode: Mode) -> None:
    net = shaken(Selector(4, 2, mode))
    c1, f0, f2, h0, h2 = (picture(1, 4, 6, 5, seed=s) for s in range(5))
    maps = Maps(c1, torch.zeros_like(c1), torch.zeros_like(c1), f0, f2)
    chosen = selected(mode, *(t[0].numpy() for t in (c1, f0, f2, h0, h2)))
    same, nearer = net.choose(maps, h0, h2)  # type: ignore[operator]
    # All three sources are in use, or the test says nothing.
    assert all(0 < m.double().mean() < 1 for m in (same, nearer))
    w = weights(net)
    found = block(w, "block", chosen, 2) + one(w, "skip", c1[0].numpy())
    np.testing.assert_allclose(net(maps, h0, h2)[0].detach(), found, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_a_tie_is_change_and_takes_the_second_reference(mode: Mode) -> None:
    one_map, zero = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    maps = Maps(zero, zero, zero, one_map, zero)  # |F0 − F2| = |C1 − F0|, |C1 − F2| = 0
    same, nearer = Selector(4, 2, mode).choose(maps, one_map, -one_map)
    assert not same.any()
    assert not nearer.any()


def test_residual_removal_normalises_four_times() -> None:
    net = shaken(ResidualRemoval(4, 2, 3))
    w = weights(net)
    x5, c5, h5 = (picture(1, 4, 3, 2, seed=s) for s in (1, 2, 3))
    a, b = picture(1, 3, seed=4), picture(1, 3, seed=5)

    class Given:
        deepest, fused = c5, h5

    def n(v: F64) -> F64:
        return group_norm(v, 2, w("norm.weight"), w("norm.bias"))

    c, h, x = (t[0].numpy() for t in (c5, h5, x5))
    r = n(coded_block(w, "residual", n(c) - n(h), a[0].numpy(), 2, same=True))
    found = coded_block(w, "rest", n(x) - r, b[0].numpy(), 2, same=True)
    out = net(x5, Given, a, b)[0].detach()
    np.testing.assert_allclose(out, found, rtol=1e-10, atol=1e-12)


def fused(w: Weights, name: str, m: dict[str, F64]) -> F64:
    u = block(w, f"{name}.coarse", np.concatenate([m["c1"], m["c0"], m["c2"]]), 2)
    v = block(w, f"{name}.fine", np.concatenate([m["f0"], m["f2"]]), 2)
    return one(w, f"{name}.out", np.concatenate([u, v]))


def embedded(w: Weights, name: str, level: float) -> F64:
    code = level_code(torch.tensor([level]), 4)[0].double().numpy()
    y = silu(w(f"{name}.mlp.0.weight") @ code + w(f"{name}.mlp.0.bias"))
    out: F64 = w(f"{name}.mlp.2.weight") @ y + w(f"{name}.mlp.2.bias")
    return out


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_the_whole_network_of_two_levels(mode: Mode) -> None:
    size = replace(TOY, mode=mode)
    net = shaken(SASTF(size))
    assert isinstance(net, SASTF)
    w = weights(net)
    names = ("c1", "c0", "f0", "c2", "f2")
    images = {n: picture(1, 2, 4, 4, seed=i) for i, n in enumerate(names)}
    x = picture(1, 2, 4, 4, seed=9)
    out, condition = net(
        References(**images), x, torch.tensor([21.5]).double(), torch.tensor([40.0]).double()
    )

    first = {n: one(w, "images.stem", t[0].numpy(), padding=1) for n, t in images.items()}
    first = {n: image_block(w, "images.levels.0", t, 2, same=True) for n, t in first.items()}
    tip = {n: one(w, "images.downs.0", t, padding=1, stride=2) for n, t in first.items()}
    tip = {n: image_block(w, "images.levels.1", t, 2, same=False) for n, t in tip.items()}
    skip = fused(w, "shallow.0", first)
    deep = {n: image_block(w, "deep.before", t, 2, same=True) for n, t in tip.items()}
    attention = net.deep.attention  # by hand above
    deep = {n: attention(torch.from_numpy(t)[None])[0].detach().numpy() for n, t in deep.items()}
    h0, low0 = part(net.deep.align0)(deep["c1"], deep["c0"], deep["f0"])
    h2, low2 = part(net.deep.align2)(deep["c1"], deep["c2"], deep["f2"])
    maps = Maps(**{n: torch.from_numpy(deep[n])[None] for n in names})
    chosen = net.deep.select(maps, torch.from_numpy(h0)[None], torch.from_numpy(h2)[None])
    h5 = image_block(w, "deep.after", chosen[0].detach().numpy(), 2, same=True)

    a, b = embedded(w, "alpha", 21.5), embedded(w, "beta", 40.0)
    y = one(w, "noise.stem", x[0].numpy(), padding=1)
    y = coded_block(w, "noise.levels.0", y, a, 2, same=True)
    y = one(w, "noise.downs.0", y, padding=1, stride=2)
    y = coded_block(w, "noise.levels.1", y, a, 2, same=False)
    given = type("Given", (), {"deepest": torch.from_numpy(tip["c1"])[None],
                               "fused": torch.from_numpy(h5)[None]})  # fmt: skip
    y = net.removal(
        torch.from_numpy(y)[None], given, torch.from_numpy(a)[None], torch.from_numpy(b)[None]
    )[0].detach().numpy()  # fmt: skip
    y = coded_block(w, "decoder.levels.0", np.concatenate([y, h5]), b, 2, same=False)
    y = one(w, "decoder.ups.0.conv", double(y), padding=1)
    y = coded_block(w, "decoder.levels.1", np.concatenate([y, skip]), b, 2, same=False)
    found = block(w, "decoder.out", y, 2)
    np.testing.assert_allclose(out[0].detach(), found, rtol=1e-6, atol=1e-7)
    assert condition.alignment is not None
    for low, mine in ((low0, condition.alignment.from0), (low2, condition.alignment.from2)):
        np.testing.assert_allclose(mine[0].detach(), low, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(condition.alignment.target[0].detach(), deep["c1"], atol=1e-10)


def part(module: Aligner) -> Callable[..., tuple[F64, F64]]:
    mode: Mode = "official" if module.official else "paper"
    return lambda *maps: aligned(weights(module), mode, *maps)
