"""The affinity loss and its parts, against hand-worked numbers, loops and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cross_scale_toys import draw

from rsbench_baselines.cross_scale.affinity import (
    children,
    effective_rank,
    gram_loss,
    mse_loss,
    pool_children,
    token_cosine,
)


def test_the_children_of_one_token_by_hand() -> None:
    assert children(torch.tensor([[3]]), 2, 2).tolist() == [[10, 11, 14, 15]]


@pytest.mark.parametrize(("grid", "ratio"), [(2, 2), (3, 3), (5, 1), (4, 4)])
def test_children_cover_the_fine_grid_once(grid: int, ratio: int) -> None:
    index = torch.arange(grid * grid)[None].flip(1)
    found = children(index, grid, ratio)
    assert found.shape == (1, (grid * ratio) ** 2)
    assert sorted(found[0].tolist()) == list(range((grid * ratio) ** 2))
    first = [
        (ratio * (i // grid) + dr) * ratio * grid + ratio * (i % grid) + dc
        for i in index[0].tolist() for dr in range(ratio) for dc in range(ratio)
    ]  # fmt: skip
    assert found[0].tolist() == first


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_a_token_is_the_mean_of_its_children(ratio: int) -> None:
    grid = 3
    fine = draw(1, (grid * ratio) ** 2, 5)
    index = torch.tensor([[7, 0, 4]])
    found = pool_children(fine[:, children(index, grid, ratio)[0]], ratio)
    square = fine[0].reshape(grid, ratio, grid, ratio, 5)
    for place, i in enumerate(index[0].tolist()):
        cell = square[i // grid, :, i % grid].reshape(-1, 5)
        torch.testing.assert_close(found[0, place], cell.mean(0))


def test_the_loss_and_its_gradient_by_hand() -> None:
    """The gradient is across the rows, which have unit length, so normalising them keeps it."""
    student = torch.eye(2, dtype=torch.float32)[None].requires_grad_()
    teacher = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], requires_grad=True)
    loss = gram_loss(student, teacher)
    assert float(loss.detach()) == pytest.approx(0.5)
    loss.backward()
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.tensor([[[0.0, -1.0], [-1.0, 0.0]]]))
    assert teacher.grad is None


def test_rotations_scales_and_orders_change_nothing() -> None:
    student, teacher = draw(2, 6, 8), draw(2, 6, 8, seed=1)
    rotation = torch.linalg.qr(draw(8, 8, seed=2)).Q
    scale = draw(2, 6, 1, seed=3).abs() + 0.1
    order = torch.randperm(6, generator=torch.Generator().manual_seed(4))
    first = gram_loss(student, teacher)
    torch.testing.assert_close(gram_loss(student @ rotation * scale, teacher), first)
    torch.testing.assert_close(gram_loss(student[:, order], teacher[:, order]), first)
    assert float(gram_loss(student, student @ rotation * scale)) < 1e-10
    assert not math.isclose(float(gram_loss(student[:, order], teacher)), float(first))
    opposite = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert float(gram_loss(opposite, opposite.abs())) == pytest.approx(2.0)


@pytest.mark.parametrize("loss", [gram_loss, mse_loss])
def test_gradients_are_those_of_finite_differences(loss) -> None:
    student, teacher = draw(1, 3, 4).requires_grad_(), draw(1, 3, 4, seed=1)
    loss(student, teacher).backward()
    assert student.grad is not None
    step = 1e-3
    for i, d in np.ndindex(3, 4):
        moved = torch.zeros(1, 3, 4)
        moved[0, i, d] = step
        ahead, behind = (loss(student.detach() + m, teacher) for m in (moved, -moved))
        slope = float(ahead - behind) / (2 * step)
        assert float(student.grad[0, i, d]) == pytest.approx(slope, abs=1e-3)


@pytest.mark.parametrize(("tokens", "width"), [(5, 9), (30, 4)])
def test_both_forms_are_the_loops(tokens: int, width: int) -> None:
    """Fewer tokens than features, and more: the second form uses matrices of features."""
    student, teacher = draw(2, tokens, width), draw(2, tokens, width, seed=1)
    total, squares = 0.0, 0.0
    for s, t in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        s, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, t))
        squares += ((s - t) ** 2).sum()
        for i in range(tokens):
            for j in range(tokens):
                total += (s[i] @ s[j] - t[i] @ t[j]) ** 2
    assert float(gram_loss(student, teacher)) == pytest.approx(total / (2 * tokens**2), abs=1e-5)
    wanted = squares / (2 * tokens * width)
    assert float(mse_loss(student, teacher)) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", [gram_loss, mse_loss])
@pytest.mark.parametrize("tokens", [6, 12])
def test_the_losses_are_computed_outside_of_autocast(loss, tokens: int) -> None:
    student, teacher = draw(1, tokens, 8), draw(1, tokens, 8, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(student, teacher)
    assert torch.equal(found, loss(student, teacher))


def test_a_constant_encoder_is_seen_although_its_loss_is_zero() -> None:
    constant = torch.ones(2, 5, 1) * draw(1, 1, 8)
    assert float(gram_loss(constant, constant * 3)) < 1e-12
    assert float(token_cosine(constant)) == pytest.approx(1.0)
    assert float(effective_rank(constant)) == pytest.approx(1.0, abs=1e-3)


def test_cosine_and_rank_by_hand() -> None:
    tokens = torch.tensor([[[1.0, 0, 0], [0, 2.0, 0], [1, 1, 0]]])
    half = math.sqrt(0.5)
    assert float(token_cosine(tokens)) == pytest.approx((0 + half + half) / 3)
    assert float(effective_rank(torch.eye(6)[None])) == pytest.approx(6.0)
    # Singular values 3 and 1: shares 3/4 and 1/4.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    found = effective_rank(torch.tensor([[[3.0, 0, 0]], [[0, 1.0, 0]]]))
    assert float(found) == pytest.approx(math.exp(entropy))
