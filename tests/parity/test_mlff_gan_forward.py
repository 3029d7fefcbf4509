"""MLFF-GAN: counts per part, and both networks against loops in NumPy and recorded numbers.

The loops are written from the description of the network, part by part, in float64; maps are
``(C, H, W)``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fusion_loops import F64, Weights, conv, picture, sigmoid
from fusion_loops import weights as weights_of
from recorded import by_rule, check_all_noticed, compare, images
from torch import Tensor, nn

from rsbench.models.contract_data import Shape, make_samples
from rsbench_baselines.image_losses import similarity
from rsbench_baselines.mlff_gan import card
from rsbench_baselines.mlff_gan.loss import discriminator_loss, generator_loss
from rsbench_baselines.mlff_gan.model import MLFFGANModel, Pair
from rsbench_baselines.mlff_gan.network import Discriminator, Generator, ResidualBlock, degraded
from rsbench_baselines.mlff_gan.sizes import SIZES, idle

TOY = replace(SIZES["paper"], bands=2, widths=(2, 3, 4), critic=2, dropout=0.3, ratio=4)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_every_size_counts_what_it_says(name: str) -> None:
    size = SIZES[name]
    with torch.device("meta"):
        pair = Pair(size)
    assert count(pair.generator) == size.parameters
    assert count(pair.discriminator) == size.discriminator
    for head in idle(size):
        assert any(n.startswith(head) for n, _ in pair.named_parameters()), head


def test_the_published_size_and_its_parts() -> None:
    with torch.device("meta"):
        net, critic = Generator(SIZES["paper"]), Discriminator(SIZES["paper"])
    assert count(net) == 5_925_285
    assert count(critic) == 2_775_745
    levels = [(16, 6, 7), (32, 16, 3), (64, 32, 3), (128, 64, 3), (256, 128, 3)]
    # A convolution with bias, then two 3×3 convolutions of one width.
    features = sum(w * n * k * k + w + 2 * (9 * w * w + w) for w, n, k in levels)
    assert count(net.coarse) == count(net.fine) == features
    # Two 1×1 convolutions and batch norms, one 1×1 to a channel and its norm.
    assert count(net.mixers) == sum(2 * (w * w + w + 2 * w) + w + 1 + 2 for w, _, _ in levels)


@pytest.mark.parametrize(("side", "scores"), [(64, 11), (256, 35)])
def test_the_map_of_scores_is_as_large_as_published(side: int, scores: int) -> None:
    with torch.device("meta"):
        critic = Discriminator(SIZES["paper"])
        found = critic(*torch.zeros(2, 1, 6, side, side))
    assert found.shape == (1, 1, scores, scores)


def under(w: Weights, name: str) -> Weights:
    return lambda leaf: w(f"{name}.{leaf}")


def leaky(x: F64, slope: float) -> F64:
    return np.where(x > 0, x, slope * x)


def one(w: Weights, name: str, x: F64, *, padding: int = 0, stride: int = 1) -> F64:
    return conv(x, w(f"{name}.weight"), w(f"{name}.bias"), padding=padding, stride=stride)


def mirror(x: F64) -> F64:
    return np.pad(x, ((0, 0), (1, 1), (1, 1)), mode="reflect")


def residual(w: Weights, name: str, x: F64) -> F64:
    y = leaky(one(w, f"{name}.conv1", mirror(x)), 0.01)
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
    """No activation between a convolution and its residual block."""
    found = []
    for i in range(3):
        x = one(w, f"downs.{i}", x, padding=1 if i else 3, stride=2 if i else 1)
        x = residual(w, f"blocks.{i}", x)
        found.append(x)
    return found


def spread(x: F64) -> tuple[float, float]:
    """Mean, and deviation with the divisor n − 1, of one channel."""
    values = x.ravel()
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
    return mean, float(np.sqrt(variance + 1e-5))


def mixed(w: Weights, c0: F64, c1: F64, f0: F64) -> F64:
    apart = batch_norm(w, "norm1", one(w, "first", c1)) - batch_norm(
        w, "norm2", one(w, "second", c0)
    )
    mask = sigmoid(batch_norm(w, "norm3", one(w, "last", apart)))
    styled = np.empty_like(f0)
    for c in range(len(f0)):
        (mean, deviation), (centre, wide) = spread(f0[c]), spread(c1[c])
        styled[c] = (f0[c] - mean) / deviation * wide + centre
    return mask * c1 + (1 - mask) * styled


def generated(w: Weights, c0: F64, f0: F64, c1: F64) -> F64:
    before, fine, target = (
        features(under(w, part), x) for part, x in (("coarse", c0), ("fine", f0), ("coarse", c1))
    )
    maps = [mixed(under(w, f"mixers.{i}"), before[i], target[i], fine[i]) for i in range(3)]
    x = np.concatenate([maps[2], target[2]])
    for i in range(2):
        x = leaky(transposed(x, w(f"ups.{i}.weight"), w(f"ups.{i}.bias")), 0.01)
        x = np.concatenate([maps[1 - i], residual(w, f"blocks.{i}", x)])
    x = one(w, "head.1", residual(w, "head.0", x))
    return one(w, "head.3", residual(w, "head.2", x))


def judged(w: Weights, image: F64, c1: F64) -> F64:
    """Padding 2 before every convolution."""
    x = leaky(one(w, "layers.0", np.concatenate([image, c1]), padding=2, stride=2), 0.2)
    for i, stride in ((2, 2), (5, 2), (8, 1)):
        x = one(w, f"layers.{i}", x, padding=2, stride=stride)
        x = leaky(batch_norm(w, f"layers.{i + 1}", x), 0.2)
    return one(w, "layers.11", x, padding=2)


def test_the_generator() -> None:
    net = by_rule(Generator(TOY))
    c0, f0, c1 = images(1, 2, 8, 8)
    found = generated(weights_of(net), *(x[0].numpy() for x in (c0, f0, c1)))

    def run() -> dict[str, Tensor]:
        return {"image": net(c0, f0, c1)[0]}

    compare("mlff_gan_generator", {"image": found}, run())
    check_all_noticed("mlff_gan_generator", net, run, shortcuts=(ResidualBlock,))


def test_the_discriminator() -> None:
    net = by_rule(Discriminator(TOY))
    image, c1 = images(1, 2, 16, 16, count=2)
    found = judged(weights_of(net), image[0].numpy(), c1[0].numpy())

    def run() -> dict[str, Tensor]:
        return {"scores": net(image, c1)[0]}

    compare("mlff_gan_discriminator", {"scores": found}, run())
    check_all_noticed("mlff_gan_discriminator", net, run)


def test_dropout_stands_behind_both_convolutions_of_a_block() -> None:
    """With probability 1 the block is its shortcut, whatever the weights."""
    block, x = ResidualBlock(3, 1.0).train(), torch.randn(2, 3, 4, 4)
    assert torch.equal(block(x), x)
    block.eval()
    assert not torch.equal(block(x), x)


def test_the_luminance_of_the_last_scale_counts_four_times() -> None:
    a = torch.rand(1, 2, 176, 176, generator=torch.Generator().manual_seed(0)).double()
    b = 0.9 * a + 0.1 * a.roll(3, -1)
    product = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        whole, contrast = similarity(a, b, 1.0)
        last = scale == 4
        product *= ((float(whole if last else contrast) + 1) / 2) ** (weight * (4 if last else 1))
        a, b = (torch.nn.functional.avg_pool2d(x, 2) for x in (a, b))
    scores = torch.ones(1)
    first = torch.rand(1, 2, 176, 176, generator=torch.Generator().manual_seed(0)).double()
    found = generator_loss(first, 0.9 * first + 0.1 * first.roll(3, -1), scores)["structure"]
    assert found.item() == pytest.approx(1 - product, rel=1e-6)


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
    size = replace(SIZES["tiny"], bands=4)
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
