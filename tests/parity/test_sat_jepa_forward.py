"""Sat-JEPA-Diff: published sizes to the digit; its parts by loops and hand-worked numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("diffusers")

from rsbench_baselines._teacher import Teacher
from rsbench_baselines._vit import Block, Encoder, Predictor, Start, sincos
from rsbench_baselines.sat_jepa_diff import generator
from rsbench_baselines.sat_jepa_diff.adapter import Adapter
from rsbench_baselines.sat_jepa_diff.lora import Lora
from rsbench_baselines.sat_jepa_diff.objective import ABLATIONS, hybrid, plain_norm
from rsbench_baselines.sat_jepa_diff.sampling import SAMPLERS, sampler, walk
from rsbench_baselines.sat_jepa_diff.sizes import LARGE, MEDIUM, MEDIUM_VAE


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        encoder = Encoder(3, patch=8, width=768, depth=12, heads=12)
        predictor = Predictor(768, inner=384, depth=6, heads=12)
        transformer = generator.transformer(MEDIUM)
        vae = generator.vae(MEDIUM_VAE, 3)
        lora = Lora(transformer, rank=8, alpha=16)
        sizes = {"hidden": LARGE.hidden, "joint": 4096, "pooled": 2048}
        plain = Adapter(768, 3, kind="paper", **sizes)
        history = Adapter(768, 3, kind="paper", history=True, **sizes)
    assert f"{count(encoder) / 1e6:.2f} {count(predictor) / 1e6:.2f}" == "85.20 11.24"
    assert count(transformer) == 2_243_171_520
    assert count(vae) == 83_819_683
    assert (len(lora), f"{count(lora) / 1e6:.3f}") == (148, "3.637")
    assert f"{count(plain) / 1e6:.2f} {count(history) / 1e6:.2f}" == "48.59 166.10"


def test_positions_hold_the_column_first() -> None:
    # Width 8: four numbers an axis, at rates 1 and 10000^(-1/2).
    table = sincos(8, 2, 3)
    assert table.shape == (6, 8)
    row, column = 1, 2
    angles = [column, column / 100, row, row / 100]
    expected = [
        math.sin(angles[0]), math.sin(angles[1]), math.cos(angles[0]), math.cos(angles[1]),
        math.sin(angles[2]), math.sin(angles[3]), math.cos(angles[2]), math.cos(angles[3]),
    ]  # fmt: skip
    np.testing.assert_allclose(table[row * 3 + column], expected, atol=1e-6)


def test_a_block_is_its_loops() -> None:
    block = Block(8, 2).double()
    with torch.no_grad():
        for i, p in enumerate(block.parameters()):
            p.copy_(draw(*p.shape, seed=i).double() * 0.3)
    x = draw(1, 3, 8, seed=99).double()
    np.testing.assert_allclose(block(x)[0].detach(), _block_by_loops(block, x[0]), atol=1e-10)


def _block_by_loops(block: Block, x: Tensor) -> np.ndarray:
    weights = {n: p.detach().numpy() for n, p in block.named_parameters()}

    def norm(v: np.ndarray, name: str) -> np.ndarray:
        centred = v - v.mean()
        scaled = centred / math.sqrt((centred**2).mean() + 1e-6)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(v: np.ndarray, name: str) -> np.ndarray:
        return weights[f"{name}.weight"] @ v + weights[f"{name}.bias"]

    tokens = list(x.numpy())
    joined = [linear(norm(v, "norm1"), "qkv") for v in tokens]
    mixed = np.zeros((len(tokens), 8))
    for head in range(2):
        part = slice(head * 4, head * 4 + 4)
        q, k, v = ([j[s * 8 : s * 8 + 8][part] for j in joined] for s in range(3))
        for i in range(len(tokens)):
            scores = np.array([q[i] @ other / 2 for other in k])  # √4
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            mixed[i, part] = sum(s * value for s, value in zip(shares, v, strict=True))
    out = []
    for token, value in zip(tokens, mixed, strict=True):
        middle = token + linear(value, "proj")
        inner = linear(norm(middle, "norm2"), "fc1")
        gelu = np.array([0.5 * u * (1 + math.erf(u / math.sqrt(2))) for u in inner])
        out.append(middle + linear(gelu, "fc2"))
    return np.stack(out)


def test_masking_comes_after_the_positions() -> None:
    encoder = Encoder(1, patch=2, width=8, depth=0, heads=2).eval()
    image = draw(2, 1, 4, 4)
    kept = torch.tensor([[3, 0], [1, 2]])
    whole = encoder(image)
    for b in range(2):
        torch.testing.assert_close(encoder(image, kept)[b], whole[b, kept[b]])


def test_the_predictor_is_asked_by_place() -> None:
    """The answer at a place depends on the place alone, not on what else is asked there."""
    torch.manual_seed(0)
    predictor = Predictor(8, inner=8, depth=0, heads=2, start=Start(0.5)).eval()
    tokens = draw(1, 4, 8)
    one = predictor(tokens, None, torch.tensor([[2]]), (2, 2))
    two = predictor(tokens, None, torch.tensor([[2, 1]]), (2, 2))
    assert one.shape == (1, 1, 8)
    torch.testing.assert_close(one[:, 0], two[:, 0])
    assert not torch.allclose(two[:, 0], two[:, 1])


def test_an_update_adds_its_share_and_nothing_at_first() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.to_q = nn.Linear(6, 4)
            self.other = nn.Linear(6, 4)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = Attention()

        def forward(self, x: Tensor) -> Tensor:
            return self.attn.to_q(x) + 10 * self.attn.other(x)

    net = Net()
    x = draw(5, 6)
    before = net(x).detach()
    lora = Lora(net, rank=2, alpha=6.0)
    assert list(lora) == ["attn_to_q"]
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    update = lora["attn_to_q"]
    with torch.no_grad():
        update.up.weight.copy_(draw(4, 2, seed=1))
    added = 3.0 * x @ update.down.weight.T @ update.up.weight.T
    torch.testing.assert_close(net(x), before + added)


def test_a_teacher_follows_each_step_once_and_ends_standing_still() -> None:
    encoder = Encoder(1, patch=2, width=8, depth=1, heads=2)
    teacher = Teacher(encoder, momentum=0.5, steps=2)
    start = {n: p.detach().clone() for n, p in encoder.named_parameters()}
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)
    teacher.follow(encoder)
    teacher.follow(encoder)  # the same step again
    held = dict(teacher.named_buffers())
    for name, first in start.items():
        torch.testing.assert_close(held[name.replace(".", "_")], first + 0.5)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)
    teacher.follow(encoder)  # momentum 0.75: a quarter of the distance 1.5
    for name, first in start.items():
        torch.testing.assert_close(held[name.replace(".", "_")], first + 0.875)
    with torch.no_grad():
        for p in encoder.parameters():
            p.add_(1.0)
    teacher.follow(encoder)
    for name, first in start.items():
        torch.testing.assert_close(held[name.replace(".", "_")], first + 0.875)
    assert [n for n, _ in teacher.named_parameters()] == []
    image = draw(1, 1, 4, 4)
    assert teacher(image).shape == encoder(image).shape


@pytest.mark.parametrize("fused", [False, True])
def test_a_teacher_sees_every_step_of_an_optimiser(fused: bool) -> None:
    """A fused step changes weights without counting their versions up."""
    encoder = Encoder(1, patch=2, width=8, depth=1, heads=2)
    teacher = Teacher(encoder, momentum=0.5, steps=10)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=0.1, fused=fused)
    for step in range(3):
        teacher.follow(encoder)
        teacher.follow(encoder)  # the second part of a batch
        assert int(teacher.count) == step + 1
        encoder(draw(2, 1, 4, 4, seed=step)).square()[..., 0].sum().backward()
        optimiser.step()
        optimiser.zero_grad()


def test_the_hybrid_loss_by_hand() -> None:
    """Two images of two tokens with two channels; every term worked out by hand."""
    predicted = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    tokens, features = torch.zeros(2, 2, 3), torch.full((2, 2, 3), 0.25)
    weight = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    terms = hybrid(predicted, target, tokens, features, weight, ABLATIONS["e"])
    # Token errors: 0, (1+1)/2, (1+1)/2, and one that is not valid.
    assert float(terms["l1"]) == pytest.approx(2 / 3)
    assert float(terms["cosine"]) == pytest.approx((0 + 1 + 1) / 3)
    assert float(terms["feature"]) == pytest.approx(0.25)
    # Image one: both channels vary by 0.5 (unbiased); image two does not vary, nor do the targets.
    low = math.sqrt(1e-6)
    spread = (2 * math.sqrt(0.5 + 1e-6) + 2 * low) / 4
    assert float(terms["spatial"]) == pytest.approx((spread - low) ** 2, rel=1e-5)
    # Means: (½, ½)/|·| and (1, 0) against (1, 0) and (0, 1), at temperature 0.1.
    ours = [(math.sqrt(0.5), math.sqrt(0.5)), (1.0, 0.0)]
    found = sum(math.log(sum(math.exp(10 * c) for c in o)) - 10 * o[i] for i, o in enumerate(ours))
    best = 2 * (math.log(math.exp(10) + 1) - 10)
    assert float(terms["contrastive"]) == pytest.approx((found - best) / 2, rel=1e-4)
    total = (
        20 * float(terms["l1"]) + 2 * float(terms["cosine"]) + 2 * float(terms["spatial"])
        + 0.5 * float(terms["contrastive"]) + 5 * float(terms["feature"])
    )  # fmt: skip
    assert float(terms["jepa"]) == pytest.approx(total, rel=1e-6)
    assert float(terms["variance.ratio"]) > 1
    alone = hybrid(predicted, target, tokens, features, weight, ABLATIONS["a"])
    assert float(alone["jepa"]) == pytest.approx(20 * float(terms["l1"]))


def test_a_perfect_prediction_costs_nothing() -> None:
    x = plain_norm(draw(3, 5, 64))
    terms = hybrid(x, x, x, x, torch.ones(3, 5), ABLATIONS["e"])
    assert float(terms["jepa"]) == pytest.approx(0, abs=1e-5)
    assert float(terms["variance.ratio"]) == pytest.approx(1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_true_velocity_is_walked_back_to_the_image(name: str) -> None:
    """On the straight path x = (1 − σ) z + σ ε the velocity ε − z leads to z from any level."""
    clean, noise = draw(2, 16, 2, 2), draw(2, 16, 2, 2, seed=1)
    seen = []

    def velocity(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(float(sigma[0]))
        return noise - clean

    chosen = sampler(name)
    found = walk(velocity, noise, clean, chosen)
    torch.testing.assert_close(found, clean, atol=1e-5, rtol=0)
    assert len(seen) == chosen.steps
    assert seen == sorted(seen, reverse=True)
    assert seen[0] == pytest.approx(1.0 if chosen.start == "noise" else 0.35)


def test_the_published_samplers() -> None:
    one, many, whole = (SAMPLERS[n].sigmas() for n in SAMPLERS)
    assert one.tolist() == pytest.approx([0.35, 0.0])
    np.testing.assert_allclose(many.diff(), -0.35 / 30, atol=1e-6)
    # The shift of Stable Diffusion 3, 3σ / (1 + 2σ), over even levels down to that of 1/1000.
    even = np.linspace(1, 3 * 0.001 / (1 + 2 * 0.001), 28)
    np.testing.assert_allclose(whole[:-1], 3 * even / (1 + 2 * even), atol=1e-6)
    assert float(whole[-1]) == 0.0
