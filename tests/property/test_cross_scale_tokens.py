"""Tokens, their children, draws of them, and sums over them, for any size."""

from __future__ import annotations

import pytest
import torch
from cross_scale_toys import generator
from hypothesis import given, settings
from hypothesis import strategies as st

from rsbench_baselines.cross_scale import masking
from rsbench_baselines.cross_scale.affinity import (
    children,
    effective_rank,
    gram_loss,
    pool_children,
    token_cosine,
)
from rsbench_baselines.cross_scale.heads import Lda

SEEDS = st.integers(0, 2**32 - 1)


@given(st.integers(1, 9), st.integers(1, 5), SEEDS)
def test_children_are_disjoint_and_cover_the_fine_grid(grid: int, ratio: int, seed: int) -> None:
    order = torch.randperm(grid * grid, generator=generator(seed))[None]
    found = children(order, grid, ratio)
    assert sorted(found[0].tolist()) == list(range((grid * ratio) ** 2))
    rows, columns = found // (grid * ratio) // ratio, found % (grid * ratio) // ratio
    parents = rows * grid + columns
    assert torch.equal(pool_children(parents[..., None].float(), ratio)[..., 0], order.float())
    assert torch.equal(parents.reshape(1, -1, ratio**2)[..., 0], order)


@settings(max_examples=30)
@given(st.integers(4, 20), st.integers(1, 6), SEEDS)
def test_masks_of_any_grid_are_disjoint(grid: int, batch: int, seed: int) -> None:
    masks = masking.multi_block(batch, grid, generator(seed))
    assert masks.context.shape[1] >= masking.least_context(grid)
    for context, targets in zip(masks.context, masks.targets, strict=True):
        assert not set(context.tolist()) & set(targets.flatten().tolist())
        assert 0 <= int(targets.min()) <= int(targets.max()) < grid * grid
    block = masking.rectangle(batch, grid, generator(seed))
    assert len(block) == batch
    assert 0 <= int(block.min()) <= int(block.max()) < grid * grid


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), SEEDS)
def test_the_affinity_is_bounded_and_symmetric(tokens: int, width: int, seed: int) -> None:
    a, b = torch.randn(2, 2, tokens, width, generator=generator(seed))
    found = gram_loss(a, b)
    assert -1e-5 <= float(found) <= 4
    torch.testing.assert_close(found, gram_loss(b, a), atol=1e-5, rtol=1e-4)
    assert float(gram_loss(a, 3 * a)) == pytest.approx(0, abs=1e-5)
    assert -1 - 1e-5 <= float(token_cosine(a)) <= 1 + 1e-5
    assert 1 - 1e-4 <= float(effective_rank(a)) <= width + 1e-4


@settings(max_examples=30)
@given(st.integers(1, 5), SEEDS)
def test_sums_do_not_depend_on_how_images_are_divided(cut: int, seed: int) -> None:
    draw = generator(seed)
    maps = torch.randn(6, 4, 3, 3, generator=draw)
    label = torch.randint(0, 3, (6, 6, 6), generator=draw)
    truth = torch.nn.functional.one_hot(label, 3).permute(0, 3, 1, 2).float()
    valid = torch.rand(6, 1, 6, 6, generator=draw) > 0.5
    made = Lda(4, 3)
    whole = made.statistics([maps], truth, valid)
    parts = [made.statistics([maps[s]], truth[s], valid[s]) for s in (slice(cut), slice(cut, None))]
    joined = made.merge(*parts)
    for name, values in whole.items():
        torch.testing.assert_close(joined[name], values)
    assert float(whole["count"].sum()) == pytest.approx(float(valid.sum()))
