"""Metrics of generated images: precision and recall, copies, layout; oracles by hand and loops."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rsbench.core.errors import InputError, MetricUnavailable
from rsbench.evaluation.case_features import confusion
from rsbench.metrics import clip, compute_sets
from rsbench.metrics.copies import LEAST_OVERLAP, Spectra, layout, memorised, nearest
from rsbench.metrics.manifold import inside, precision, recall
from rsbench.metrics.registry import info


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_inside_the_manifold_by_hand() -> None:
    # Radii of the members for k = 1: 1, 1, 1 and 8.
    those = column(0, 1, 2, 10)
    assert inside(column(3, 3.5, 20, -2), those, 1) == 0.5
    # For k = 3: 10, 9, 8 and 10.
    assert inside(column(3, 3.5, 20, -2), those, 3) == 1.0
    assert inside(column(20.5), those, 3) == 0.0
    assert math.isnan(inside(those, those, 4))


def test_precision_and_recall_of_a_collapsed_set() -> None:
    """One image a hundred times is precise and recalls nothing; the truth itself has both."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(40, 3, generator=generator).double()
    same = truth[:1].expand(40, 3)
    assert precision(same, truth, None, 3).value == 1.0
    assert recall(same, truth, None, 3).value == 1 / 40
    groups = torch.arange(40) // 4
    assert precision(truth, truth, groups, 3).leaves == (1.0,) * 10
    halves = recall(truth, truth, None, 3).halves
    assert halves is not None
    assert 0.5 < halves < 1.0


def test_the_share_of_copies_by_hand() -> None:
    truth = column(*(0.5 + 0.005 * n for n in range(101)))  # 1 % quantile: 0.505
    found = memorised(column(0.0, 0.1, 0.505, *[0.7] * 98), truth, None)
    assert found.value == 2 / 101  # the quantile itself is no copy
    assert found.notes["ratio"] == pytest.approx(0.505)
    assert memorised(truth, truth, None).value == pytest.approx(1 / 101)


def test_the_layout_is_pooled_by_hand() -> None:
    maps = torch.tensor([[[0, 0], [0, 0]], [[0, 0], [1, 1]]])
    read = torch.tensor([[[0, 0], [0, 0]], [[0, 1], [1, 1]]])
    counts = confusion(maps, read, torch.ones_like(maps).bool(), 2)
    assert counts.tolist() == [[4, 0, 0, 0], [1, 1, 0, 2]]
    # Class 0: 5 of 6, class 1: 2 of 3.
    assert layout(counts, counts, None).value == pytest.approx((5 / 6 + 2 / 3) / 2)
    seen = torch.ones_like(maps).bool()
    seen[1, 0, 1] = False
    assert layout(confusion(maps, read, seen, 2), counts, None).value == 1.0


def test_the_nearest_window_is_that_of_a_loop() -> None:
    draw = np.random.default_rng(1)
    images, whole = draw.normal(size=(3, 2, 5, 6)), draw.normal(size=(2, 2, 9, 11))
    seen, there = draw.random((3, 1, 5, 6)) > 0.1, draw.random((2, 1, 9, 11)) > 0.1
    whole[1, :, 2:7, 3:9] = images[2]
    size = (12, 11)
    tensors = [
        Spectra(torch.from_numpy(a), torch.from_numpy(b), size)
        for a, b in ((images, seen), (whole, there))
    ]
    found = nearest(tensors[0], tensors[1], size)
    for n in range(3):
        least = math.inf
        for t in range(2):
            for y in range(9 - 5 + 1):
                for x in range(11 - 6 + 1):
                    part = (t, slice(None), slice(y, y + 5), slice(x, x + 6))
                    both = (seen[n] & there[part])[0]
                    if both.sum() >= LEAST_OVERLAP * seen[n].sum():
                        apart = (images[n] - whole[part])[:, both]
                        least = min(least, float(np.sqrt((apart**2).mean())))
        assert float(found[n]) == pytest.approx(least, abs=1e-7)
    assert float(found[2]) < 1e-6


def test_metrics_of_conditions_need_a_store() -> None:
    images = torch.rand(4, 3, 8, 8)
    with pytest.raises(InputError, match="needs the training images or the conditions of a store"):
        compute_sets(["memorised@1"], images, images, data_range=1.0)


def test_without_a_network_text_and_image_have_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip, "folders", lambda: (tmp_path,))
    assert info("text.image@1").available is False
    assert "no CLIP network" in str(info("text.image@1").reason) or "transformers" in str(
        info("text.image@1").reason
    )
    with pytest.raises(MetricUnavailable, match=r"text\.image@1"):
        clip.similarity(torch.rand(1, 3, 8, 8), ["a lake"])
