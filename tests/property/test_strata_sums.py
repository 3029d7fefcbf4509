"""Classes of pixels: their parts add up to the whole image, whatever the classes and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from rsbench.metrics import image_metrics, metric_info
from rsbench.metrics.pixel_classes import ClassSums, class_sums

N, C, SIDE = 3, 4, 24
ADDITIVE = tuple(m.id for m in metric_info(probe=False) if m.additive)


def drawn(seed: int, masked: float, per_band: bool) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(N, C, SIDE, SIDE, generator=g)
    prediction = truth + 0.1 * torch.randn(truth.shape, generator=g)
    mask = torch.rand(N, C if per_band else 1, SIDE, SIDE, generator=g) >= masked
    return prediction, truth, mask


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**20), st.sampled_from((0.0, 0.3, 0.97)), st.booleans(), st.integers(1, 9))
def test_the_parts_of_classes_are_the_whole(
    seed: int, masked: float, per_band: bool, number: int
) -> None:
    prediction, truth, valid = drawn(seed, masked, per_band)
    classes = torch.from_numpy(np.random.default_rng(seed).integers(0, number, (N, SIDE, SIDE)))
    found = class_sums(ADDITIVE, prediction, truth, valid, one_hot(classes, number).float())
    whole = image_metrics(ADDITIVE, prediction, truth, valid=valid, data_range=1.0)
    torch.testing.assert_close(found.weight.sum(1), torch.ones(N, dtype=torch.float64))
    for metric in ADDITIVE:
        torch.testing.assert_close(
            found.value[metric].sum(1), whole[metric].value, rtol=1e-6, atol=0.0
        )


def loop(
    prediction: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor, classes: torch.Tensor
) -> dict[tuple[int, int], list[float]]:
    """Σ squared error, Σ absolute error and elements per image and class, in plain Python."""
    sums: dict[tuple[int, int], list[float]] = {}
    for n, c, y, x in np.ndindex(*truth.shape):
        if valid[n, c if valid.shape[1] > 1 else 0, y, x]:
            error = float(prediction[n, c, y, x]) - float(truth[n, c, y, x])
            part = sums.setdefault((n, int(classes[n, y, x])), [0.0, 0.0, 0.0])
            part[0] += error**2
            part[1] += abs(error)
            part[2] += 1
    return sums


@pytest.mark.parametrize("per_band", [False, True])
def test_the_mean_of_a_class_is_that_of_a_loop(per_band: bool) -> None:
    prediction, truth, valid = drawn(5, 0.2, per_band)
    classes = torch.from_numpy(np.random.default_rng(5).integers(0, 3, (N, SIDE, SIDE)))
    found = class_sums(ADDITIVE, prediction, truth, valid, one_hot(classes, 4).float())
    for (n, k), (squared, absolute, elements) in loop(prediction, truth, valid, classes).items():
        means = {m: float(found.value[m][n, k] / found.weight[n, k]) for m in ADDITIVE}
        assert means["mse@1"] == pytest.approx(squared / elements, rel=1e-6)
        assert means["mae@1"] == pytest.approx(absolute / elements, rel=1e-6)
        assert float(found.weight[n, k]) == elements / float(valid.expand(-1, C, -1, -1)[n].sum())
    assert found.weight[:, 3].tolist() == [0.0] * N  # nobody is of the fourth class


def test_what_is_masked_changes_nothing_and_an_empty_image_is_in_no_class() -> None:
    prediction, truth, valid = drawn(7, 0.4, False)
    valid[1] = False
    member = torch.ones(N, SIDE, SIDE, 1)
    holes = (~valid).expand(-1, C, -1, -1)
    hidden = [x.masked_fill(holes, float("nan")) for x in (prediction, truth)]

    def same(a: ClassSums, b: ClassSums) -> bool:
        return all(torch.equal(a.value[m], b.value[m]) for m in ADDITIVE)

    clean = class_sums(ADDITIVE, prediction, truth, valid, member)
    assert same(clean, class_sums(ADDITIVE, hidden[0], hidden[1], valid, member))
    assert clean.weight[:, 0].tolist() == [1.0, 0.0, 1.0]
