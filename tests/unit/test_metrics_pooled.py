"""Pooled metrics of class maps, on tables worked by hand and against other packages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from rsbench.core.errors import InputError
from rsbench.metrics import compute, compute_pooled
from rsbench.metrics.class_values import evaluate

POOLED = ("miou@1", "miou.truth@1", "iou@1", "mf1@1", "f1@1", "oa@1", "macc@1")


def counts(*tables: list[list[int]]) -> NDArray[np.float64]:
    return np.array(tables, dtype=float)


def test_a_table_by_hand() -> None:
    table = counts([[3, 1, 0], [1, 2, 0], [0, 1, 0]])
    found = evaluate("iou@1", table)
    assert found.per_class == pytest.approx([0.6, 0.4, 0.0])
    assert found.value == pytest.approx(1 / 3)
    assert evaluate("f1@1", table).per_class == pytest.approx([0.75, 4 / 7, 0.0])
    assert evaluate("oa@1", table).value == pytest.approx(0.625)
    assert evaluate("macc@1", table).value == pytest.approx((0.75 + 2 / 3 + 0) / 3)


def test_pooling_averaging_and_absent_classes_are_three_numbers() -> None:
    """Image A has one class, image B two; no prediction of A is of B's classes."""
    a, b = [[4, 0], [0, 0]], [[0, 0], [2, 2]]
    assert evaluate("miou@1", counts(a, b)).value == pytest.approx((4 / 6 + 2 / 4) / 2)
    each = [evaluate("miou@1", counts(one)).value for one in (a, b)]
    assert np.mean(each) == pytest.approx(0.625)
    zero = [evaluate("miou.pangaea@1", counts(one)).value for one in (a, b)]
    assert np.mean(zero) == pytest.approx(0.375, abs=1e-6)
    one_batch = evaluate("miou.batchmean@1", counts(a, b)).value
    assert one_batch == pytest.approx(evaluate("miou@1", counts(a, b)).value)


def test_batches_of_64_images() -> None:
    a, b = [[4, 0], [0, 0]], [[0, 0], [2, 2]]
    stack = counts(*([a] * 64), *([b] * 10))
    assert evaluate("miou.batchmean@1", stack).value == pytest.approx((1.0 + 0.25) / 2)


def test_classes_absent_from_the_truth_count_in_one_definition_only() -> None:
    table = counts([[3, 0, 1], [0, 4, 0], [0, 0, 0]])
    assert evaluate("miou@1", table).value == pytest.approx((0.75 + 1 + 0) / 3)
    assert evaluate("miou.truth@1", table).value == pytest.approx((0.75 + 1) / 2)
    assert math.isnan(evaluate("iou@1", counts([[3, 0], [0, 0]])).per_class[1])  # type: ignore[index]


def maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 4, (5, 12, 9), generator=draw)
    one_hot = torch.nn.functional.one_hot(truth, 4).permute(0, 3, 1, 2).float()
    probability = (one_hot + 2 * torch.rand(one_hot.shape, generator=draw)).softmax(1)
    valid = torch.rand((5, 1, 12, 9), generator=draw) > 0.3
    return probability, one_hot, valid


def test_scikit_learn_and_torchmetrics_agree() -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    probability, truth, valid = maps()
    found = compute_pooled([*POOLED, "ece.15@1"], probability, truth, valid)
    seen = valid[:, 0].numpy()
    y, p = truth.argmax(1).numpy()[seen], probability.argmax(1).numpy()[seen]
    assert found["iou@1"].per_class == pytest.approx(jaccard_score(y, p, average=None))
    assert found["miou@1"].value == pytest.approx(jaccard_score(y, p, average="macro"))
    assert found["mf1@1"].value == pytest.approx(f1_score(y, p, average="macro"))
    assert found["oa@1"].value == pytest.approx((y == p).mean())
    table = confusion_matrix(y, p)
    assert found["macc@1"].value == pytest.approx((np.diag(table) / table.sum(1)).mean())
    flat = probability.permute(0, 2, 3, 1)[valid[:, 0]]
    ece = multiclass_calibration_error(flat, torch.from_numpy(y), 4, n_bins=15, norm="l1")
    assert found["ece.15@1"].value == pytest.approx(float(ece), abs=1e-6)


def test_brier_is_the_squared_error_summed_over_classes() -> None:
    probability, truth, valid = maps(1)
    found = compute(["brier@1"], probability, truth, valid, data_range=1.0)["brier@1"]
    square = ((probability - truth) ** 2).sum(1)
    by_hand = [float(square[i][valid[i, 0]].mean()) for i in range(5)]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)


def test_images_add_up_bit_for_bit_in_any_batches() -> None:
    probability, truth, valid = maps(2)
    whole = compute_pooled(POOLED, probability, truth, valid)
    order = torch.tensor([3, 1, 4, 0, 2])
    turned = compute_pooled(POOLED, probability[order], truth[order], valid[order])
    assert {k: v.value for k, v in whole.items()} == {k: v.value for k, v in turned.items()}


def test_a_pooled_metric_is_no_metric_of_single_images() -> None:
    probability, truth, _ = maps()
    with pytest.raises(InputError, match="compute_pooled"):
        compute(["miou@1"], probability, truth, data_range=1.0)
    with pytest.raises(InputError, match="not pooled"):
        compute_pooled(["mse@1"], probability, truth)
