"""Draws of tokens: published sizes, equal counts, and no part of the grid left out."""

from __future__ import annotations

import pytest
import torch
from cross_scale_toys import generator

from rsbench_baselines.cross_scale import masking


@pytest.mark.parametrize("grid", [4, 8, 16])
def test_a_context_is_a_block_without_the_targets(grid: int) -> None:
    draw, counts = generator(), set()
    for _ in range(30):
        masks = masking.multi_block(6, grid, draw)
        assert masks.targets.shape[:2] == (6, masking.TARGETS)
        counts.add(masks.targets.shape[2])
        assert masks.context.shape[1] >= masking.least_context(grid)
        for context, targets in zip(masks.context.tolist(), masks.targets.tolist(), strict=True):
            assert len(set(context)) == len(context)
            for block in targets:
                assert not set(block) & set(context)
                rows, columns = ({i // grid for i in block}, {i % grid for i in block})
                assert len(rows) * len(columns) == len(set(block)) == len(block)
    if grid == 16:  # 38 tokens at aspect 0.75: 5 by 7; 51 at 1.5: 9 by 6
        assert (min(counts), max(counts)) == (35, 54)


def test_the_published_grid_has_the_published_number_of_tokens() -> None:
    """About 84 of 256 for contexts as small as the smallest of a batch."""
    draw = generator()
    counts = [masking.multi_block(64, 16, draw).context.shape[1] for _ in range(20)]
    assert 60 < sum(counts) / 20 < 110
    assert masking.least_context(16) == 10
    assert masking.least_context(4) == 2


def test_a_grid_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="no context"):
        masking.multi_block(1, 1, generator())


def test_contexts_of_a_batch_are_not_cut_at_the_bottom() -> None:
    draw, seen = generator(), torch.zeros(8, 8)
    for _ in range(200):
        seen += torch.bincount(
            masking.multi_block(8, 8, draw).context.flatten(), minlength=64
        ).reshape(8, 8)
    rows = seen.sum(1)
    assert float(rows[0]) == pytest.approx(float(rows[-1]), rel=0.1)
    assert float(seen.sum(0)[0]) == pytest.approx(float(seen.sum(0)[-1]), rel=0.1)


def test_a_subset_is_random_and_as_large_as_the_smallest() -> None:
    masks = torch.zeros(2, 10, dtype=torch.bool)
    masks[0, 3:6] = masks[1, :9] = True
    draw, seen = generator(), torch.zeros(10)
    for _ in range(300):
        found = masking.subsample(masks, draw)
        assert found[0].tolist() == [3, 4, 5]
        seen += torch.bincount(found[1], minlength=10)
    assert seen[9] == 0
    assert (seen[:9] - 100).abs().max() < 35  # a third of 300; four standard deviations


def test_visible_tokens_and_the_others_are_all_tokens() -> None:
    visible, others = masking.visible_subset(5, 64, 13, generator())
    assert visible.shape == (5, 13)
    for row in torch.cat([visible, others], dim=1).tolist():
        assert sorted(row) == list(range(64))
    assert not torch.equal(visible[0], visible[1])


def test_rectangles_have_the_published_sizes() -> None:
    draw, counts = generator(), []
    for _ in range(200):
        (found,) = masking.rectangle(1, 14, draw).tolist()
        rows, columns = ({i // 14 for i in found}, {i % 14 for i in found})
        assert {r * 14 + c for r in rows for c in columns} == set(found)
        assert all(5 <= len(side) <= 9 for side in (rows, columns))
        counts.append(len(found))
    assert 25 <= min(counts) < 35
    assert 60 < max(counts) <= 81
    assert masking.rectangle(4, 14, draw).shape[0] == 4


def test_equal_generators_draw_equal_masks() -> None:
    torch.manual_seed(0)
    first = masking.multi_block(3, 8, generator(5))
    torch.manual_seed(1)
    second = masking.multi_block(3, 8, generator(5))
    assert torch.equal(first.context, second.context)
    assert torch.equal(first.targets, second.targets)
    other = masking.multi_block(3, 8, generator(6))
    assert not torch.equal(first.targets[:, :, 0], other.targets[:, :, 0])
