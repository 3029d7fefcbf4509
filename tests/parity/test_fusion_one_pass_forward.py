"""SwinSTFM and MLFF-GAN: published sizes to the digit, blocks and networks by hand in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fusion_loops import F64, Weights, conv, gelu, layer_norm, picture, shaken, sigmoid, softmax
from fusion_loops import weights as weights_of
from torch import Tensor, nn

from rsbench.models.contract_data import Shape, make_samples
from rsbench_baselines.mlff_gan import card
from rsbench_baselines.mlff_gan import sizes as mlff_sizes
from rsbench_baselines.mlff_gan.loss import discriminator_loss, generator_loss
from rsbench_baselines.mlff_gan.model import MLFFGANModel, Pair
from rsbench_baselines.mlff_gan.network import Discriminator, Generator, degraded
from rsbench_baselines.swinstfm import sizes as swin_sizes
from rsbench_baselines.swinstfm.network import SwinSTFM
from rsbench_baselines.swinstfm.windows import FusionBlock, WindowBlock

SWIN = replace(
    swin_sizes.SIZES["paper"], bands=2, widths=(4, 4), depths=(2,), up_depths=(2,), window=2, head=2
)
MLFF = replace(mlff_sizes.SIZES["paper"], bands=2, widths=(2, 3, 4), critic=2, dropout=0.3, ratio=4)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", swin_sizes.SIZES)
def test_swinstfm_counts_what_it_says(name: str) -> None:
    size = swin_sizes.SIZES[name]
    with torch.device("meta"):
        net = SwinSTFM(size)
    assert count(net) == size.parameters
    names = {n for n, _ in net.named_parameters()}
    assert set(swin_sizes.idle(size)) <= names
    assert swin_sizes.SIZES["paper"].parameters == 37_535_290


@pytest.mark.parametrize("name", mlff_sizes.SIZES)
def test_mlff_gan_counts_what_it_says(name: str) -> None:
    size = mlff_sizes.SIZES[name]
    with torch.device("meta"):
        assert count(Generator(size)) == size.parameters
        pair = Pair(size)
    for head in mlff_sizes.idle(size):
        assert any(n.startswith(head) for n, _ in pair.named_parameters()), head
    with torch.device("meta"):
        assert count(Discriminator(size)) == size.discriminator
    paper = mlff_sizes.SIZES["paper"]
    assert (paper.parameters, paper.discriminator) == (5_925_285, 2_775_745)


# SwinSTFM; maps are (H, W, C)


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


def fusion_block(
    w: Weights, maps: tuple[F64, F64, F64, F64], window: int, head: int, shift: int
) -> F64:
    change, c0, f0, c1 = maps
    H, W, C = change.shape
    heads = C // head
    old, fine, new = (norm(w, "norm", m) for m in (c0, f0, c1))
    pairs = (
        (affine(w, "query_fine", old), affine(w, "key_fine", fine)),
        (affine(w, "query_coarse", old), affine(w, "key_coarse", new)),
    )
    v = affine(w, "value", norm(w, "norm1", change))
    found = np.zeros_like(change)
    for r, c in np.ndindex(H, W):
        for h in range(heads):
            at = slice(h * head, (h + 1) * head)
            share = np.ones(window * window)
            for q, k in pairs:
                there, part = scores(q, k, w("bias.table"), h, heads, window, shift, r, c)
                share = share * part
            share = (share + 1e-6) / (share + 1e-6).sum()
            found[r, c, at] = sum(s * v[y, z, at] for s, (y, z) in zip(share, there, strict=True))
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


@pytest.mark.parametrize("shifted", [False, True])
def test_fusion_attention(shifted: bool) -> None:
    net = shaken(FusionBlock(4, 2, 4, shifted=shifted))
    maps = [picture(2, 8, 8, 4, seed=s) for s in range(4)]
    out = net(*maps).detach()
    a, b, c, d = (m[1].numpy() for m in maps)
    found = fusion_block(weights_of(net), (a, b, c, d), 4, 2, 2 if shifted else 0)
    np.testing.assert_allclose(out[1], found, rtol=1e-9, atol=1e-10)


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


def encoded(w: Weights, image: F64) -> list[F64]:
    x = conv(image, w("embed.weight"), w("embed.bias"), stride=2)
    x = norm(w, "norm", channels_last(x))
    for i in range(2):  # four tokens a side: the second block is shifted
        x = window_block(under(w, f"levels.0.{i}"), x, 2, 2, i)
    corners = [x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]]
    merged = norm(w, "merging.0.norm", np.concatenate(corners, axis=-1))
    return [norm(w, "norms.0", x), linear(w, "merging.0.reduction", merged)]


def fused(w: Weights, maps: list[F64], depth: int, shift: int) -> F64:
    c0, f0, c1 = maps
    change = c1 - c0
    for i in range(depth):
        block = under(w, f"blocks.{i}")
        change = fusion_block(block, (change, c0, f0, c1), 2, 2, shift * (i % 2))
    return change + f0


@pytest.mark.parametrize("residual", [False, True])
def test_swinstfm_whole(residual: bool) -> None:
    net = shaken(SwinSTFM(replace(SWIN, residual=residual)))
    w = weights_of(net)
    images = [picture(1, 2, 8, 8, seed=s) for s in range(3)]
    names = ("coarse", "fine", "coarse")
    maps = [encoded(under(w, n), image[0].numpy()) for n, image in zip(names, images, strict=True)]
    x = enlarged(w, "enlarge", fused(under(w, "bottom"), [m[1] for m in maps], 1, 0))
    level = fused(under(w, "ups.0.fusion"), [m[0] for m in maps], 2, 1)
    x = affine(w, "ups.0.join", np.concatenate([maps[2][0], level, x], axis=-1))
    for i in range(2):
        x = window_block(under(w, f"ups.0.blocks.{i}"), x, 2, 2, i)
    x = enlarged(w, "head", norm(w, "norm", x)).transpose(2, 0, 1)
    found = np.tanh(conv(x, w("out.weight"), w("out.bias"), padding=1))
    found = found + images[1][0].numpy() if residual else found
    np.testing.assert_allclose(net(*images)[0].detach(), found, rtol=1e-8, atol=1e-9)


def test_swinstfm_refuses_sides_its_windows_do_not_fill() -> None:
    with pytest.raises(ValueError, match="the bottom is as wide"):
        SwinSTFM(replace(SWIN, widths=(4, 6)))
    with pytest.raises(ValueError, match=r"8×12: both sides are multiples of 8"):
        SwinSTFM(SWIN)(*torch.zeros(3, 1, 2, 8, 12))


# MLFF-GAN; maps are (C, H, W)


def leaky(x: F64) -> F64:
    return np.where(x > 0, x, 0.2 * x)


def one(w: Weights, name: str, x: F64, *, padding: int = 0, stride: int = 1) -> F64:
    return conv(x, w(f"{name}.weight"), w(f"{name}.bias"), padding=padding, stride=stride)


def mirror(x: F64) -> F64:
    return np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="reflect")


def residual(w: Weights, name: str, x: F64) -> F64:
    y = leaky(one(w, f"{name}.conv1", mirror(x)))
    return x + one(w, f"{name}.conv2", mirror(y))


def batch_norm(w: Weights, name: str, x: F64) -> F64:
    mean, var = w(f"{name}.running_mean"), w(f"{name}.running_var")
    scale = w(f"{name}.weight") / np.sqrt(var + 1e-5)
    return (x - mean[:, None, None]) * scale[:, None, None] + w(f"{name}.bias")[:, None, None]


def transposed(x: F64, w: F64, b: F64) -> F64:
    """Kernel 4, stride 2, padding 1: every pixel paints a patch."""
    _, H, W = x.shape
    found = np.zeros((w.shape[1], 2 * H + 2, 2 * W + 2))
    for c, r, s in np.ndindex(x.shape):
        found[:, 2 * r : 2 * r + 4, 2 * s : 2 * s + 4] += x[c, r, s] * w[c]
    return found[:, 1:-1, 1:-1] + b[:, None, None]


def features(w: Weights, x: F64) -> list[F64]:
    found = []
    for i in range(3):
        x = one(w, f"convs.{i}", x, padding=1 if i else 3, stride=2 if i else 1)
        x = residual(w, f"blocks.{i}", leaky(x))
        found.append(x)
    return found


def mixed(w: Weights, c0: F64, c1: F64, f0: F64) -> F64:
    apart = batch_norm(w, "norm1", one(w, "first", c1)) - batch_norm(
        w, "norm2", one(w, "second", c0)
    )
    mask = sigmoid(batch_norm(w, "norm3", one(w, "last", apart)))
    styled = np.empty_like(f0)
    for c in range(len(f0)):
        scale = np.sqrt((c1[c].var() + 1e-5) / (f0[c].var() + 1e-5))
        styled[c] = (f0[c] - f0[c].mean()) * scale + c1[c].mean()
    return mask * c1 + (1 - mask) * styled


def test_mlff_generator_whole() -> None:
    net = shaken(Generator(MLFF))
    w = weights_of(net)
    images = [picture(1, 2, 8, 8, seed=s) for s in range(3)]
    c0, f0, c1 = (
        features(under(w, n), image[0].numpy())
        for n, image in zip(("coarse", "fine", "coarse"), images, strict=True)
    )
    maps = [mixed(under(w, f"mixers.{i}"), c0[i], c1[i], f0[i]) for i in range(3)]
    x = np.concatenate([maps[2], c1[2]])
    for i in range(2):
        x = leaky(transposed(x, w(f"ups.{i}.weight"), w(f"ups.{i}.bias")))
        x = np.concatenate([residual(w, f"blocks.{i}", x), maps[1 - i]])
    x = one(w, "head.1", residual(w, "head.0", x))
    found = one(w, "head.3", residual(w, "head.2", x))
    np.testing.assert_allclose(net(*images)[0].detach(), found, rtol=1e-8, atol=1e-9)


def test_mlff_discriminator_whole() -> None:
    net = shaken(Discriminator(MLFF))
    w = weights_of(net)
    image, c1 = picture(1, 2, 24, 24, seed=1), picture(1, 2, 24, 24, seed=2)
    x = leaky(one(w, "layers.0", np.concatenate([image[0], c1[0]]), padding=1, stride=2))
    for i, stride in ((2, 2), (5, 2), (8, 1)):
        x = one(w, f"layers.{i}", x, padding=1, stride=stride)
        x = leaky(batch_norm(w, f"layers.{i + 1}", x))
    found = one(w, "layers.11", x, padding=1)
    np.testing.assert_allclose(net(image, c1)[0].detach(), found, rtol=1e-8, atol=1e-9)


def cubic(x: float) -> float:
    """Keys' kernel with a = −0.75."""
    x, a = abs(x), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_degraded_takes_one_pixel_of_a_block_and_enlarges_it_by_cubics() -> None:
    x = picture(1, 2, 12, 8)
    small = x[..., ::4, ::4].numpy()[0]

    def enlarge(line: F64) -> F64:
        found = []
        for i in range(4 * len(line)):
            place = (i + 0.5) / 4 - 0.5
            near = [int(np.floor(place)) + d for d in (-1, 0, 1, 2)]
            found.append(sum(cubic(place - k) * line[min(max(k, 0), len(line) - 1)] for k in near))
        return np.array(found)

    rows = np.apply_along_axis(enlarge, 1, small)
    found = np.apply_along_axis(enlarge, 2, rows)
    np.testing.assert_allclose(degraded(x, 4)[0], found, rtol=1e-9, atol=1e-10)
    with pytest.raises(ValueError, match="12×8: both sides are multiples of 16"):
        degraded(x)


def test_the_parts_of_the_adversarial_losses() -> None:
    a = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    b, said = a.roll(1, 0), torch.tensor([[0.25]])
    parts = generator_loss(a, b, said)
    cosine = [(p * q).sum(0) / (p.norm(dim=0) * q.norm(dim=0)) for p, q in zip(a, b, strict=True)]
    assert parts["adversarial"].item() == pytest.approx(0.75**2)
    assert parts["absolute"].item() == pytest.approx((a - b).abs().mean().item())
    assert parts["spectrum"].item() == pytest.approx(1 - torch.stack(cosine).mean().item())
    rest = parts["absolute"] + parts["structure"] + parts["spectrum"]
    assert parts["total"].item() == pytest.approx((0.01 * 0.75**2 + rest).item())
    valid = torch.zeros_like(a, dtype=torch.bool)
    valid[..., :8] = True
    half = generator_loss(a, torch.where(valid, b, a), said, valid)
    assert half["absolute"].item() == pytest.approx((a - b).abs()[valid].mean().item(), rel=1e-5)
    near = torch.stack(cosine)[..., :8].mean().item()
    assert half["spectrum"].item() == pytest.approx(1 - near, rel=1e-4)
    judged = discriminator_loss(torch.tensor([0.5]), torch.tensor([0.25]))
    assert judged.item() == pytest.approx(0.5 * (0.25 + 0.0625))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def test_each_network_of_the_gan_follows_its_own_loss_alone() -> None:
    size = replace(mlff_sizes.SIZES["tiny"], bands=4)
    torch.manual_seed(0)
    model = MLFFGANModel(Pair(size), size, None)  # type: ignore[arg-type]
    networks = model.module.eval()
    assert isinstance(networks, Pair)
    data = make_samples(Shape.of(card.of("tiny"), samples=2), masked=False)
    parts = model.loss(None, data.given, data.want, data.truth)  # type: ignore[arg-type]
    parts["total"].backward()
    found = gradients(networks)
    networks.zero_grad()

    frames = list(data.given.frames.values())
    f0, c0, c1 = frames[0].values[:, 0, 0], frames[1].values[:, 0, 0], frames[1].values[:, 0, 1]
    c0, c1, truth = degraded(c0), degraded(c1), data.truth.values[:, 0, 0]
    made = networks.generator(c0, f0, c1)
    total = generator_loss(made, truth, networks.discriminator(made, c1))["total"]
    assert parts["total"].item() == pytest.approx(total.item())
    total.backward()
    alone = {n: g for n, g in gradients(networks).items() if n.startswith("generator")}
    networks.zero_grad()
    real, fake = networks.discriminator(truth, c1), networks.discriminator(made.detach(), c1)
    discriminator_loss(real, fake).backward()
    alone |= {n: g for n, g in gradients(networks).items() if n.startswith("discriminator")}
    assert found.keys() == alone.keys() == dict(networks.named_parameters()).keys()
    for name, grad in alone.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6)
