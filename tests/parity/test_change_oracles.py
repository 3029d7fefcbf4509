"""Change: groups of pixels against scipy's labels, scores by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

import rsbench as rb
from rsbench.metrics import ImageOptions, suite
from rsbench.metrics.change import components

IDS = suite("change")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.4, 0.5, 0.95])
def test_groups_are_those_of_another_implementation(share: float) -> None:
    g = torch.Generator().manual_seed(int(share * 100))
    mask = torch.rand(3, 40, 33, generator=g) < share
    found = components(mask, 9)
    for image in range(3):
        label, _ = ndimage.label(mask[image].numpy(), structure=np.ones((3, 3)))
        sizes = np.bincount(label.ravel())
        expected = (label > 0) & (sizes[label] >= 9)
        assert (found[image].numpy() == expected).all()


def test_a_long_snake_is_one_group() -> None:
    mask = torch.zeros(1, 65, 65, dtype=torch.bool)
    mask[0, ::2] = True  # every other row …
    for row in range(1, 65, 2):  # … joined at alternating ends
        mask[0, row, 0 if row % 4 == 1 else 64] = True
    number = int(mask.sum())
    assert components(mask, number).equal(mask)
    assert not components(mask, number + 1).any()


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A quiet scene in which a 5 × 4 block, a lone pixel and nothing else change."""
    g = torch.Generator().manual_seed(0)
    before = 0.3 + torch.zeros(1, 2, 20, 20)
    truth = before + 0.002 * torch.randn(before.shape, generator=g)
    truth[..., 2:7, 3:7] += 0.2
    truth[..., 15, 15] += 0.2
    return before, truth, truth.clone()


def scores(p: torch.Tensor, t: torch.Tensor, before: torch.Tensor) -> dict[str, float]:
    found = rb.metrics.image_metrics(IDS, p, t, data_range=1.0, options=ImageOptions(before=before))
    return {m: float(r.value[0]) if r.ok[0] else math.nan for m, r in found.items()}


def test_a_perfect_forecast() -> None:
    before, truth, p = scene()
    found = scores(p, truth, before)
    assert found == {
        "rmse.changed@1": 0.0, "rmse.unchanged@1": 0.0, "change.hit@1": 1.0,
        "change.false@1": 0.0, "change.csi@1": 1.0,
    }  # fmt: skip


def test_persistence_hits_nothing_and_invents_nothing() -> None:
    before, truth, _ = scene()
    found = scores(before.clone(), truth, before)
    assert found["change.hit@1"] == found["change.false@1"] == found["change.csi@1"] == 0.0
    block = (truth - before)[..., 2:7, 3:7].double()
    assert found["rmse.changed@1"] == pytest.approx(float(block.square().mean().sqrt()), rel=1e-5)
    # The lone pixel is no change: one pixel is fewer than nine.
    rest = torch.ones(20, 20, dtype=torch.bool)
    rest[2:7, 3:7] = False
    error = (truth - before)[0, :, rest].double()
    assert found["rmse.unchanged@1"] == pytest.approx(float(error.square().mean().sqrt()), rel=1e-5)


def test_half_a_hit_and_an_invention_by_hand() -> None:
    before, truth, p = scene()
    p[..., 2:7, 3:7] = before[..., 2:7, 3:7]
    p[..., 2:7, 3:5] += 0.2  # ten of twenty pixels
    p[..., 10:13, 10:14] += 0.2  # twelve pixels of nothing
    found = scores(p, truth, before)
    assert found["change.hit@1"] == pytest.approx(10 / 20)
    assert found["change.false@1"] == pytest.approx(12 / 380)
    assert found["change.csi@1"] == pytest.approx(10 / 32)


def test_where_nothing_changed_there_is_no_hit_to_score() -> None:
    before, _, _ = scene()
    found = scores(before + 0.001, before.clone(), before)
    assert math.isnan(found["rmse.changed@1"])
    assert math.isnan(found["change.hit@1"])
    assert found["rmse.unchanged@1"] == pytest.approx(0.001, rel=1e-3)
    # A season that lifts every pixel alike is no change either.
    lifted = before + 0.1
    assert math.isnan(scores(before.clone(), lifted, before)["change.hit@1"])


def test_masked_content_changes_nothing() -> None:
    before, truth, p = scene()
    p += 0.01
    valid = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(4)) > 0.1
    seen = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(5)) > 0.1

    def values(fill: float) -> list[float]:
        found = rb.metrics.image_metrics(
            IDS, torch.where(valid, p, fill), torch.where(valid, truth, fill), valid=valid,
            data_range=1.0,
            options=ImageOptions(before=torch.where(seen, before, fill), before_valid=seen),
        )  # fmt: skip
        return [float(found[m].value[0]) for m in IDS]

    assert values(math.nan) == values(0.0)


def test_each_brings_the_others() -> None:
    assert suite("change.hit@1") == ("change.hit@1", *(m for m in IDS if m != "change.hit@1"))
    assert set(suite("pixel,rmse.changed@1")) >= set(IDS)
