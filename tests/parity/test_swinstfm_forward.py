"""SwinSTFM: counts per part, and the network against loops in NumPy and recorded numbers.

The loops are written from the description of the network, part by part, pixel by pixel in
float64; maps are ``(H, W, C)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from fusion_loops import F64, Weights, conv, gelu, layer_norm, picture, shaken, softmax
from fusion_loops import weights as weights_of
from recorded import by_rule, check_all_noticed, compare, images
from torch import Tensor, nn

from rsbench_baselines.swinstfm.network import SwinSTFM
from rsbench_baselines.swinstfm.sizes import SIZES, idle
from rsbench_baselines.swinstfm.windows import FusionBlock, WindowBlock

WINDOW, HEAD = 2, 2
TOY = replace(
    SIZES["paper"], bands=2, widths=(4, 6, 6), depths=(2, 1), up_depths=(1, 2), window=WINDOW,
    head=HEAD,
)  # fmt: skip


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_every_size_counts_what_it_says(name: str) -> None:
    with torch.device("meta"):
        net = SwinSTFM(SIZES[name])
    assert count(net) == SIZES[name].parameters
    assert set(idle(SIZES[name])) <= {n for n, _ in net.named_parameters()}


@pytest.mark.parametrize("name", ["paper", "released"])
def test_the_published_size_and_its_parts(name: str) -> None:
    with torch.device("meta"):
        net = SwinSTFM(SIZES[name])
    assert count(net) == 37_535_290
    norms = {n: count(m) for n, m in net.named_modules() if isinstance(m, nn.LayerNorm)}
    assert sum(norms.values()) == 63_872
    widths, depths = (64, 128, 256, 512), (2, 2, 6, 2)
    # Behind the embedding, two in every window block, and one of four widths in every merging.
    encoder = 2 * 64 + sum((2 * d + 4) * 2 * w for w, d in zip(widths, depths, strict=True))
    for part in ("coarse", "fine"):
        assert sum(n for name, n in norms.items() if name.startswith(f"{part}.")) == encoder
    # One for each of three maps of a fusion layer, two in each of its blocks.
    assert sum(n for name, n in norms.items() if name.startswith("bottom.")) == (3 + 2) * 2 * 512
    for i, (width, outputs, depth) in enumerate(
        zip(widths[::-1], (256, 128, 64, 64), (2, 6, 2, 2), strict=True)
    ):
        found = sum(n for name, n in norms.items() if name.startswith(f"ups.{i}."))
        assert found == (3 + 2 * 2) * 2 * width + 2 * depth * 2 * outputs


def linear(w: Weights, name: str, x: F64) -> F64:
    found: F64 = x @ w(f"{name}.weight").T
    return found


def affine(w: Weights, name: str, x: F64) -> F64:
    return linear(w, name, x) + w(f"{name}.bias")


def norm(w: Weights, name: str, x: F64) -> F64:
    return layer_norm(x, w(f"{name}.weight"), w(f"{name}.bias"))


def under(w: Weights, name: str) -> Weights:
    return lambda leaf: w(f"{name}.{leaf}")


def partners(H: int, W: int, window: int, shift: int, r: int, c: int) -> list[tuple[int, int]]:
    """Pixels that share a window once the map is rolled by the shift."""

    def at(y: int, x: int) -> tuple[int, int]:
        return (y - shift) % H // window, (x - shift) % W // window

    return [(y, x) for y in range(H) for x in range(W) if at(y, x) == at(r, c)]


def scores(
    q: F64, k: F64, table: F64, head: int, heads: int, window: int, shift: int, r: int, c: int
) -> tuple[list[tuple[int, int]], F64]:
    """Partners of one pixel and its attention over them, pair by pair."""
    H, W, C = q.shape
    at = slice(head * C // heads, (head + 1) * C // heads)
    there = partners(H, W, window, shift, r, c)
    found = []
    for y, x in there:
        # A place within the window, for the table of biases.
        dy = (r - shift) % H % window - (y - shift) % H % window
        dx = (c - shift) % W % window - (x - shift) % W % window
        row = (dy + window - 1) * (2 * window - 1) + dx + window - 1
        value = q[r, c, at] @ k[y, x, at] * (C / heads) ** -0.5 + table[row, head]
        # Neighbours by the roll alone are no neighbours.
        near = (y - shift) // window == (r - shift) // window
        near = near and (x - shift) // window == (c - shift) // window
        found.append(value if near else value - 100)
    return there, softmax(np.array(found))


def window_block(w: Weights, x: F64, window: int, head: int, shift: int) -> F64:
    H, W, C = x.shape
    heads = C // head
    q, k, v = np.split(affine(w, "qkv", norm(w, "norm1", x)), 3, axis=-1)
    found = np.zeros_like(x)
    for r, c in np.ndindex(H, W):
        for h in range(heads):
            at = slice(h * head, (h + 1) * head)
            there, share = scores(q, k, w("bias.table"), h, heads, window, shift, r, c)
            found[r, c, at] = sum(s * v[y, z, at] for s, (y, z) in zip(share, there, strict=True))
    x = x + affine(w, "proj", found)
    y = norm(w, "norm2", x)
    return x + affine(w, "mlp.fc2", gelu(affine(w, "mlp.fc1", y)))


def shares(w: Weights, maps: Sequence[F64], shift: int, r: int, c: int, h: int) -> F64:
    """Product of both attentions of one query before it is normalised, with the floor."""
    c0, f0, c1 = maps
    heads = c0.shape[2] // HEAD
    share = np.full(WINDOW * WINDOW, 1.0)
    for query, key, there in (("query_fine", "key_fine", f0), ("query_coarse", "key_coarse", c1)):
        q, k = affine(w, query, c0), affine(w, key, there)
        share = share * scores(q, k, w("bias.table"), h, heads, WINDOW, shift, r, c)[1]
    return share + 1e-6


def exchanged(found: F64, shift: int) -> F64:
    """Heads exchanged with windows: read head by head, written window by window."""
    H, W, C = found.shape
    # Places of a map in the order of windows, each row by row.
    tops = [(y, x) for y in range(0, H, WINDOW) for x in range(0, W, WINDOW)]
    places = [
        [((y + i + shift) % H, (x + j + shift) % W) for i in range(WINDOW) for j in range(WINDOW)]
        for y, x in tops
    ]
    read = [
        value
        for h in range(C // HEAD)
        for window in places
        for y, x in window
        for value in found[y, x, h * HEAD : (h + 1) * HEAD]
    ]
    out, position = np.empty_like(found), 0
    for window in places:
        for y, x in window:
            out[y, x] = read[position : position + C]
            position += C
    return out


def fusion_block(
    w: Weights, change: F64, maps: Sequence[F64], shift: int, *, released: bool = False
) -> F64:
    H, W, C = change.shape
    v = affine(w, "value", norm(w, "norm1", change))
    found = np.zeros_like(change)
    for h in range(C // HEAD):
        at = slice(h * HEAD, (h + 1) * HEAD)
        raw = {(r, c): shares(w, maps, shift, r, c, h) for r, c in np.ndindex(H, W)}
        for r, c in np.ndindex(H, W):
            there = partners(H, W, WINDOW, shift, r, c)
            total: float | F64 = raw[r, c].sum()
            if released and not shift:  # over the queries of the window, key by key
                total = np.sum([raw[place] for place in there], axis=0)
            share = raw[r, c] / total
            found[r, c, at] = sum(s * v[y, z, at] for s, (y, z) in zip(share, there, strict=True))
    if released:
        found = exchanged(found, shift)
    x = change + affine(w, "proj", found)
    y = norm(w, "norm2", x)
    return x + affine(w, "mlp.fc2", gelu(affine(w, "mlp.fc1", y)))


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention(shifted: bool) -> None:
    net, x = shaken(WindowBlock(4, 2, 4, shifted=shifted)), picture(2, 8, 8, 4)
    out = net(x).detach()
    for n in range(2):
        found = window_block(weights_of(net), x[n].numpy(), 4, 2, 2 if shifted else 0)
        np.testing.assert_allclose(out[n], found, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("shifted", [False, True])
def test_fusion_attention(shifted: bool, released: bool) -> None:
    net = shaken(FusionBlock(4, HEAD, WINDOW, shifted=shifted, released=released))
    maps = [picture(2, 4, 6, 4, seed=s) for s in range(4)]
    out = net(*maps).detach()
    change, c0, f0, c1 = (m[1].numpy() for m in maps)
    w = weights_of(net)
    found = fusion_block(w, change, (c0, f0, c1), 1 if shifted else 0, released=released)
    np.testing.assert_allclose(out[1], found, rtol=1e-9, atol=1e-10)


def test_the_released_attention_is_the_other_one_where_its_faults_have_no_effect() -> None:
    """One head has nothing to exchange, and a shifted block normalises over keys."""
    maps = [picture(2, 8, 8, 4, seed=s) for s in range(4)]
    plain, released = (
        shaken(FusionBlock(4, 4, 2, shifted=True, released=faults)) for faults in (False, True)
    )
    released.load_state_dict(plain.state_dict())
    torch.testing.assert_close(plain(*maps), released(*maps))


def test_one_window_over_the_map_is_not_shifted() -> None:
    plain, shifted = (shaken(WindowBlock(4, 2, 4, shifted=s)) for s in (False, True))
    shifted.load_state_dict(plain.state_dict())
    x = picture(1, 4, 4, 4)
    assert torch.equal(plain(x), shifted(x))


def channels_last(x: F64) -> F64:
    return x.transpose(1, 2, 0)


def enlarged(w: Weights, name: str, x: F64) -> F64:
    """A convolution to 4·C channels, channel 4·c + 2·i + j at row 2·r + i and column 2·s + j."""
    y = conv(x.transpose(2, 0, 1), w(f"{name}.conv.weight"), w(f"{name}.conv.bias"), padding=1)
    C, (H, W) = len(y) // 4, y.shape[1:]
    found = np.zeros((2 * H, 2 * W, C))
    for c, i, j in np.ndindex(C, 2, 2):
        found[i::2, j::2, c] = y[4 * c + 2 * i + j]
    return found


def stacked(w: Weights, name: str, x: F64, depth: int) -> F64:
    """Window blocks; every second one is shifted if the map is larger than a window."""
    shift = WINDOW // 2 if min(x.shape[:2]) > WINDOW else 0
    for i in range(depth):
        x = window_block(under(w, f"{name}.{i}"), x, WINDOW, HEAD, shift * (i % 2))
    return x


def encoded(w: Weights, image: F64) -> list[F64]:
    """The embedding, then what each merging returns."""
    x = conv(image, w("embed.weight"), w("embed.bias"), stride=2)
    found = [norm(w, "norm", channels_last(x))]
    for i, depth in enumerate((2, 1)):
        x = stacked(w, f"levels.{i}", found[-1], depth)
        corners = [x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]]
        merged = norm(w, f"merging.{i}.norm", np.concatenate(corners, axis=-1))
        found.append(linear(w, f"merging.{i}.reduction", merged))
    return found


def fused(w: Weights, c0: F64, f0: F64, c1: F64, *, depth: int, released: bool) -> F64:
    shift = WINDOW // 2 if min(c0.shape[:2]) > WINDOW else 0
    maps = [norm(w, f"norm_{name}", x) for name, x in (("c0", c0), ("f0", f0), ("c1", c1))]
    change = c1 - c0
    for i in range(depth):
        change = fusion_block(
            under(w, f"blocks.{i}"), change, maps, shift * (i % 2), released=released
        )
    return change + f0


def predicted(w: Weights, c0: F64, f0: F64, c1: F64, *, released: bool) -> F64:
    levels = list(zip(
        encoded(under(w, "coarse"), c0), encoded(under(w, "fine"), f0),
        encoded(under(w, "coarse"), c1), strict=True,
    ))  # fmt: skip
    x = fused(under(w, "bottom"), *levels[2], depth=1, released=released)
    x = enlarged(w, "enlarge", x)
    for i, depth in enumerate((1, 2)):
        level = fused(under(w, f"ups.{i}.fusion"), *levels[1 - i], depth=2, released=released)
        x = affine(w, f"ups.{i}.join", np.concatenate([levels[1 - i][2], level, x], axis=-1))
        x = stacked(w, f"ups.{i}.blocks", x, depth)
        x = enlarged(w, "head" if i else "ups.0.enlarge", x)
    out: F64 = np.tanh(conv(x.transpose(2, 0, 1), w("out.weight"), w("out.bias"), padding=1))
    return out


@pytest.mark.parametrize("name", ["paper", "released"])
def test_the_whole_network(name: str) -> None:
    released = name == "released"
    net = by_rule(SwinSTFM(replace(TOY, released=released)))
    c0, f0, c1 = images(1, 2, 16, 16)
    found = predicted(weights_of(net), *(x[0].numpy() for x in (c0, f0, c1)), released=released)

    def run() -> dict[str, Tensor]:
        return {"image": net(c0, f0, c1)[0]}

    compare(f"swinstfm_{name}", {"image": found}, run())
    check_all_noticed(f"swinstfm_{name}", net, run, shortcuts=(WindowBlock, FusionBlock))


@pytest.mark.parametrize("released", [False, True])
def test_samples_of_a_batch_do_not_mix(released: bool) -> None:
    net = by_rule(SwinSTFM(replace(TOY, released=released)))
    batch = images(3, 2, 16, 16)
    together, alone = net(*batch), [net(*(x[i : i + 1] for x in batch)) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_toy_preset_adds_the_output_to_the_fine_reference() -> None:
    net, other = (by_rule(SwinSTFM(replace(TOY, residual=r))) for r in (True, False))
    c0, f0, c1 = images(1, 2, 16, 16)
    assert torch.equal(net(c0, f0, c1), f0 + other(c0, f0, c1))


def test_sides_that_windows_do_not_fill_are_refused() -> None:
    with pytest.raises(ValueError, match="the bottom is as wide"):
        SwinSTFM(replace(TOY, widths=(4, 6, 8)))
    with pytest.raises(ValueError, match=r"16×24: both sides are multiples of 16"):
        SwinSTFM(TOY)(*torch.zeros(3, 1, 2, 16, 24))
