"""STFMamba: counts per part, the scan, and the network against loops and recorded numbers.

The loops are written from the description of the network, part by part, in float64.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fusion_loops import (
    F64,
    Weights,
    conv,
    gelu,
    layer_norm,
    picture,
    silu,
    softmax,
    weights,
)
from recorded import by_rule, check_all_noticed, compare, images
from torch import Tensor

from rsbench_baselines.stfmamba.network import Residual, STFMamba
from rsbench_baselines.stfmamba.scan import (
    DropPath,
    Scan,
    ScanBlock,
    rolled,
    selective_scan,
    unrolled,
)
from rsbench_baselines.stfmamba.sizes import PUBLISHED, SIZES, Start, idle

TOY = replace(
    SIZES["tiny"], bands=2, side=16, widths=(2, 3), pairs=(1, 2), middle=3, sharpen_width=2,
    sharpen_blocks=2, spare=True, state=2, rank=2, start=PUBLISHED, block=8, token=4, heads=2,
)  # fmt: skip


PARTS = ("joined", "from_fine", "from_coarse", "sharpened")


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_every_size_counts_what_it_says(name: str) -> None:
    with torch.device("meta"):
        net = STFMamba(SIZES[name])
    assert count(net) == SIZES[name].parameters
    names = [n for n, _ in net.named_parameters()]
    for head in idle(SIZES[name]):
        assert any(n.startswith(head) for n in names), head


def test_the_published_size_and_its_parts() -> None:
    with torch.device("meta"):
        net = STFMamba(SIZES["paper"])
    assert {name: count(part) for name, part in net.named_children()} == {
        "sharpen": 948_818,
        "encoder": 16_313_396,
        "from_fine": 1_522_138,
        "from_coarse": 1_522_138,
        "join": 4_994,
    }
    assert count(net) == 948_818 + 16_313_396 + 2 * 1_522_138 + 4_994 == 20_311_484


def scanned(x: F64, step: F64, a: F64, b: F64, c: F64, d: F64) -> F64:
    """One direction, place by place: x, step (E, L); a (E, S); b, c (S, L); d (E,)."""
    state, found = np.zeros_like(a), np.empty_like(x)
    for at in range(x.shape[1]):
        decay = np.exp(step[:, at, None] * a)
        state = decay * state + (step[:, at] * x[:, at])[:, None] * b[None, :, at]
        found[:, at] = state @ c[:, at] + d * x[:, at]
    return found


@pytest.mark.parametrize("chunk", [1, 3, 8, 64, None])
def test_the_scan_is_the_recurrence_whatever_the_chunk(chunk: int | None) -> None:
    x, step = picture(3, 13, 2, 4), picture(3, 13, 2, 4, seed=2).exp()
    a, d = -picture(3, 2, 4, seed=3).exp(), picture(3, 4, seed=4)
    b, c = picture(3, 13, 2, 2, seed=5), picture(3, 13, 2, 2, seed=6)
    found = selective_scan(x, step, a, b, c, d, chunk)
    for n, k in np.ndindex(2, 3):
        parts = (x[k, :, n].T, step[k, :, n].T, a[k].T, b[k, :, n].T, c[k, :, n].T, d[k])
        expected = scanned(*(t.numpy() for t in parts))
        np.testing.assert_allclose(found[k, :, n].T, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 64, None])
def test_the_gradient_of_the_scan_is_that_of_small_differences(chunk: int | None) -> None:
    inputs = (
        picture(2, 7, 2, 3), picture(2, 7, 2, 3, seed=2).exp(),
        -picture(2, 2, 3, seed=3).exp(), picture(2, 7, 2, 2, seed=4),
        picture(2, 7, 2, 2, seed=5), picture(2, 3, seed=6),
    )  # fmt: skip
    assert torch.autograd.gradcheck(
        lambda *t: selective_scan(*t, chunk), [t.requires_grad_() for t in inputs]
    )


def test_long_scans_stay_finite_where_products_of_decays_vanish() -> None:
    x = b = c = torch.ones(1, 4096, 1, 1)
    a, d = torch.full((1, 1, 1), -16.0), torch.zeros(1, 1)
    found = selective_scan(x, 10 * x, a, b, c, d)
    torch.testing.assert_close(found, torch.full_like(found, 10.0))


def test_four_directions_there_and_back() -> None:
    x = torch.arange(6.0).view(1, 2, 3, 1)
    ways = unrolled(x)[:, :, 0, 0].tolist()
    assert ways == [
        [0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0],
    ]  # fmt: skip
    assert torch.equal(rolled(unrolled(x), 2, 3), 4 * x)


def norm(w: Weights, name: str, x: F64) -> F64:
    return layer_norm(x, w(f"{name}.weight"), w(f"{name}.bias"))


def affine(w: Weights, name: str, x: F64) -> F64:
    found: F64 = x @ w(f"{name}.weight").T + w(f"{name}.bias")
    return found


def block(w: Weights, name: str, x: F64) -> F64:
    """A scan block on (rows, columns, features)."""
    rows, columns, _ = x.shape
    at = f"{name}.scan"
    y = norm(w, f"{name}.norm1", x) @ w(f"{at}.enter.weight").T
    inside, gate = np.split(y, 2, axis=-1)
    E = inside.shape[-1]
    inside = conv(
        inside.transpose(2, 0, 1), w(f"{at}.conv.weight"), w(f"{at}.conv.bias"), padding=1, groups=E
    )
    inside = silu(inside)
    places = [(r, c) for r in range(rows) for c in range(columns)]
    turned = [(r, c) for c in range(columns) for r in range(rows)]
    total = np.zeros_like(inside)
    rank, state = w(f"{at}.step").shape[2], w(f"{at}.log_rates").shape[2]
    for k, order in enumerate((places, turned, places[::-1], turned[::-1])):
        x_k = np.stack([inside[:, r, c] for r, c in order], axis=1)
        chosen = w(f"{at}.select")[k] @ x_k
        low, b, c_ = chosen[:rank], chosen[rank : rank + state], chosen[rank + state :]
        step = np.log1p(np.exp(w(f"{at}.step")[k] @ low + w(f"{at}.shift")[k][:, None]))
        a, d = -np.exp(w(f"{at}.log_rates")[k]), w(f"{at}.pass_on")[k]
        y_k = scanned(x_k, step, a, b, c_, d)
        for i, (r, c) in enumerate(order):
            total[:, r, c] += y_k[:, i]
    y = norm(w, f"{at}.norm", total.transpose(1, 2, 0)) * silu(gate)
    x = x + y @ w(f"{at}.leave.weight").T
    y = gelu(affine(w, f"{name}.fc1", norm(w, f"{name}.norm2", x)))
    return x + affine(w, f"{name}.fc2", y)


def places(w: Weights, name: str, x: F64) -> F64:
    """A block with a feature per channel of (C, H, W)."""
    return block(w, name, x.transpose(1, 2, 0)).transpose(2, 0, 1)


def one(w: Weights, name: str, x: F64, *, padding: int = 0, stride: int = 1) -> F64:
    return conv(x, w(f"{name}.weight"), w(f"{name}.bias"), padding=padding, stride=stride)


def painted(x: F64, w: F64, b: F64) -> F64:
    """Transposed convolution: kernel 4, stride 2, padding 1."""
    found = np.zeros((w.shape[1], 2 * x.shape[1] + 2, 2 * x.shape[2] + 2))
    for c, r, s in np.ndindex(x.shape):
        found[:, 2 * r : 2 * r + 4, 2 * s : 2 * s + 4] += x[c, r, s] * w[c]
    return found[:, 1:-1, 1:-1] + b[:, None, None]


def sharpened(w: Weights, x: F64) -> F64:
    y = one(w, "sharpen.down", x, padding=1, stride=2)
    for i in range(2):  # the third block is spare
        at = f"sharpen.blocks.{i}.0"
        y = y + places(w, f"{at}.positions", block(w, f"{at}.columns", y))
    return x + painted(y, w("sharpen.up.weight"), w("sharpen.up.bias"))


def pairs(w: Weights, name: str, x: F64, depth: int) -> F64:
    """Over places first, then over columns."""
    for i in range(depth):
        x = block(w, f"{name}.{i}.columns", places(w, f"{name}.{i}.positions", x))
    return x


def encoded(w: Weights, x: F64) -> list[F64]:
    first = pairs(w, "encoder.stages.0", one(w, "encoder.embed", x, stride=4), 1)
    corners = [first[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    y = norm(w, "encoder.merging.0.norm", np.concatenate(corners).transpose(1, 2, 0))
    y = (y @ w("encoder.merging.0.reduction.weight").T).transpose(2, 0, 1)
    return [first, pairs(w, "encoder.stages.1", y, 2)]


def batch_norm(w: Weights, name: str, x: F64) -> F64:
    scale = w(f"{name}.weight") / np.sqrt(w(f"{name}.running_var") + 1e-5)
    y = (x - w(f"{name}.running_mean")[:, None, None]) * scale[:, None, None]
    return y + w(f"{name}.bias")[:, None, None]


def relu(x: F64) -> F64:
    return np.maximum(x, 0)


def laid(w: Weights, name: str, x: F64) -> F64:
    y = places(w, f"{name}.pair.positions", one(w, f"{name}.enter", x))
    return block(w, f"{name}.pair.columns", y)


def blended(w: Weights, name: str, x: F64) -> F64:
    return relu(batch_norm(w, f"{name}.norm", one(w, f"{name}.conv", x)))


def mixed(w: Weights, name: str, d: F64, e: F64, g: F64, *, deepest: bool) -> F64:
    C, H, W = d.shape
    woven = np.empty((C, H, 3 * W))
    woven[:, :, 0::3] = d
    woven[:, :, 1::3] = g if deepest else e
    woven[:, :, 2::3] = e if deepest else g
    woven = laid(w, f"{name}.woven", woven)
    beside = laid(w, f"{name}.beside", np.concatenate([d, e, g], axis=2))
    parts = [laid(w, f"{name}.stacked", np.concatenate([d, g, e]))]
    parts += [woven[:, :, i::3] for i in range(3)]
    parts += [beside[:, :, i * W : (i + 1) * W] for i in range(3)]
    return blended(w, f"{name}.blend", np.concatenate(parts))


def expanded(w: Weights, name: str, x: F64) -> F64:
    """The four tokens of a token lie one after the other in its features, row by row."""
    y = (x.transpose(1, 2, 0) @ w(f"{name}.linear.weight").T).transpose(2, 0, 1)
    C, H, W = x.shape
    found = np.zeros((C, 2 * H, 2 * W))
    for c, i, j in np.ndindex(C, 2, 2):
        found[c, i::2, j::2] = y[(2 * i + j) * C + c]
    return norm(w, f"{name}.norm", found.transpose(1, 2, 0)).transpose(2, 0, 1)


def refined(w: Weights, name: str, x: F64) -> F64:
    """A residual block; its convolutions have no bias."""
    y = conv(x, w(f"{name}.conv1.weight"), padding=1)
    y = conv(relu(batch_norm(w, f"{name}.norm1", y)), w(f"{name}.conv2.weight"), padding=1)
    return relu(x + batch_norm(w, f"{name}.norm2", y))


def decoded(w: Weights, name: str, c0: list[F64], f0: list[F64], c1: list[F64]) -> F64:
    maps = [(f0[i] - c0[i], c1[i] - c0[i], c1[i]) for i in (1, 0)]
    x = mixed(w, f"{name}.mixes.0", *maps[0], deepest=True)
    level = mixed(w, f"{name}.mixes.1", *maps[1], deepest=False)
    x = refined(w, f"{name}.residuals.0", expanded(w, f"{name}.expand", x) + level)
    x = laid(w, f"{name}.middle.0", expanded(w, f"{name}.last", x))
    x = refined(w, f"{name}.middle.2", blended(w, f"{name}.middle.1", x))
    found: F64 = np.tanh(one(w, f"{name}.out", expanded(w, f"{name}.last", x)))
    return found


def joined(w: Weights, first: F64, second: F64) -> F64:
    """Attention within squares of 8×8 pixels; scores are divided by √4, the token's width."""
    C, H, W = first.shape
    found = np.zeros((8, H, W))
    for top, left in np.ndindex(H // 8, W // 8):
        square = (slice(None), slice(8 * top, 8 * top + 8), slice(8 * left, 8 * left + 8))
        a, b = (x[square].reshape(C, -1).T for x in (first, second))
        both = affine(w, "join.both", np.concatenate([a, b], axis=1))
        k, v = (affine(w, f"join.{n}", both) for n in ("key", "value"))
        for i, x in enumerate((a, b)):
            q = affine(w, "join.query", affine(w, "join.one", x))
            told = np.zeros_like(q)
            for h in (slice(0, 2), slice(2, 4)):
                told[:, h] = softmax(q[:, h] @ k[:, h].T / 2) @ v[:, h]
            found[(slice(4 * i, 4 * i + 4), *square[1:])] = told.T.reshape(4, 8, 8)
    return one(w, "join.out", found)


def test_the_whole_network() -> None:
    net = by_rule(STFMamba(TOY))
    w = weights(net)
    inputs = images(1, 2, 16, 16)
    c0, f0, c1 = (t[0].numpy() for t in inputs)
    sharp0, sharp1 = sharpened(w, c0), sharpened(w, c1)
    maps = [encoded(w, x) for x in (sharp0, f0, sharp1)]
    first = f0 + decoded(w, "from_fine", *maps)
    second = sharp1 + decoded(w, "from_coarse", *maps)
    loops = dict(zip(PARTS, (joined(w, first, second), first, second, sharp1), strict=True))

    def run() -> dict[str, Tensor]:
        return {name: image[0] for name, image in zip(PARTS, net(*inputs), strict=True)}

    compare("stfmamba", loops, run())
    check_all_noticed(
        "stfmamba", net, run, shortcuts=(ScanBlock, Residual), activations=("relu", "tanh"),
        # A spare block; parts of scan blocks, which have their own test; the second decoder.
        left=r"sharpen\.blocks\.2\.|.*\.(positions|columns)\.|from_coarse\.",
    )  # fmt: skip


def test_a_scan_block_and_its_record() -> None:
    net = by_rule(ScanBlock(3, 2, 2))
    x = images(1, 3, 4, 3, count=1)[0]
    state = {f"b.{k}": v.numpy() for k, v in net.state_dict().items()}
    loops = {"map": block(lambda n: state[n], "b", x[0].numpy())}

    def run() -> dict[str, Tensor]:
        return {"map": net(x)[0]}

    compare("scan_block", loops, run())
    check_all_noticed("scan_block", net, run, shortcuts=(ScanBlock,))


def test_a_path_is_dropped_for_a_whole_sample_and_the_mean_stays() -> None:
    drop, x = DropPath(0.25).train(), torch.ones(4000, 3, 2)
    torch.manual_seed(0)
    found = drop(x)
    assert sorted(set(found.flatten().tolist())) == [0.0, pytest.approx(4 / 3)]
    assert bool((found == found[:, :1, :1]).all())
    assert found.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_scan_blocks_of_the_published_size_drop_both_paths_with_a_tenth() -> None:
    with torch.device("meta"):
        net = STFMamba(SIZES["paper"])
    blocks = [m for m in net.modules() if isinstance(m, ScanBlock)]
    assert {b.drop.probability for b in blocks} == {0.1}
    block, x = ScanBlock(3, 2, 2, drop_path=0.999_999).train(), torch.randn(2, 4, 4, 3)
    torch.manual_seed(0)
    assert torch.equal(block(x), x)


def test_the_blocks_that_sharpen_start_with_equal_weights() -> None:
    first, *others = STFMamba(TOY).sharpen.blocks
    for other in others:
        for a, b in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)
            assert a is not b


def test_scans_start_with_the_steps_and_weights_that_a_size_says() -> None:
    torch.manual_seed(0)
    published, other = (Scan(8, 2, 1, start) for start in (PUBLISHED, Start((0.1, 1.0), 8.0)))
    for scan, (low, high), gain in ((published, (1e-3, 1e-1), 1), (other, (0.1, 1.0), 8)):
        steps = F.softplus(scan.shift.detach())
        assert low * 0.999 <= float(steps.min()) < 2 * low
        assert high / 2 < float(steps.max()) <= high * 1.001
        assert float(scan.select.detach().abs().max()) == pytest.approx(gain / 4, rel=0.05)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="image of 16×32: this network takes 16×16"):
        STFMamba(TOY)(*torch.zeros(3, 1, 2, 16, 32))
