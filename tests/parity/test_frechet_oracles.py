"""Distances of sets against scipy's matrix root, hand-worked cases and plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

import rsbench as rb
from rsbench.core.errors import InputError
from rsbench.evaluation.intervals import interval, jackknife
from rsbench.metrics.frechet import (
    SetScore,
    frechet,
    frechet_distance,
    polynomial_mmd,
    rbf_mmd,
)
from rsbench.metrics.texture import features, length


def vectors(n: int, d: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return torch.randn(n, d, generator=g, dtype=torch.float64) @ (mix / d**0.5) * scale + shift


def by_root(a: torch.Tensor, b: torch.Tensor) -> float:
    x, y = a.numpy(), b.numpy()
    one, two = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(one @ two)
    gap = x.mean(0) - y.mean(0)
    return float(gap @ gap + np.trace(one) + np.trace(two) - 2 * np.trace(root.real))


@pytest.mark.parametrize(("n", "d"), [(200, 5), (60, 40), (41, 40), (40, 40)])
def test_the_fast_form_is_that_of_the_matrix_root(n: int, d: int) -> None:
    a, b = vectors(n, d, 0), vectors(n, d, 1, shift=0.3, scale=1.5)
    assert frechet_distance(a, b) == pytest.approx(by_root(a, b), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(20, 64), (7, 200)])
def test_it_is_exact_where_images_are_fewer_than_features(n: int, d: int) -> None:
    # scipy's root of a singular product is good to a few digits; symmetric eigenvalues to more.
    a, b = vectors(n, d, 0), vectors(n, d, 1, shift=0.3)
    assert frechet_distance(a, b) == pytest.approx(by_root(a, b), rel=1e-3)
    one, two = (torch.from_numpy(np.cov(x.numpy(), rowvar=False)) for x in (a, b))
    values, axes = torch.linalg.eigh(one)
    half = axes * values.clamp_min(0).sqrt() @ axes.T
    root = torch.linalg.eigvalsh(half @ two @ half).clamp_min(0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    assert frechet_distance(a, b) == pytest.approx(
        float(gap + one.trace() + two.trace() - 2 * root), rel=1e-6
    )


@pytest.mark.parametrize("n", [12, 13])
@pytest.mark.parametrize("distance", [polynomial_mmd, rbf_mmd])
def test_the_halves_are_the_distance_of_every_other_image_to_the_rest(
    distance: Callable[..., SetScore], n: int
) -> None:
    truth = vectors(n, 5, 2)
    found = distance(truth, truth, None)
    even, odd = truth[0 : n // 2 * 2 : 2], truth[1::2][: n // 2]

    def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if distance is polynomial_mmd:
            return (x @ y.T / 5 + 1) ** 3
        scale = truth.std(0)
        return (
            -((x[:, None] - y) / scale).square().sum(-1) / (2 * found.notes["sigma"] ** 2)
        ).exp()

    among = [kernel(x, x) for x in (even, odd)]
    pairs = sum(float(k.sum() - k.trace()) for k in among) / (n // 2 * (n // 2 - 1))
    assert found.halves == pytest.approx(pairs - 2 * float(kernel(even, odd).mean()), rel=1e-6)


def test_one_feature_by_hand() -> None:
    # Values −1, 1 and 2, 6: means 0 and 4, variances 2 and 8.
    a, b = torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [6.0]])
    assert frechet_distance(a, b) == pytest.approx(16.0 + (math.sqrt(8) - math.sqrt(2)) ** 2)
    assert frechet_distance(a, a.clone()) == pytest.approx(0.0, abs=1e-12)


def test_the_bias_is_that_of_equals_and_the_halves_show_it() -> None:
    a, b = vectors(100, 64, 0), vectors(100, 64, 1)
    score = frechet(a, b, None)
    assert score.n, score.d == (100, 64)
    assert score.halves is not None
    assert 0.1 < score.value < score.halves  # fewer images, more bias
    assert "n = 100, d = 64" in str(score)
    assert "n = 50" in str(score)


def loops(x: torch.Tensor, y: torch.Tensor, kernel: object) -> float:
    n, m = len(x), len(y)
    k = kernel
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))  # type: ignore[operator]
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))  # type: ignore[operator]
    xy = sum(k(x[i], y[j]) for i in range(n) for j in range(m)) / (n * m)  # type: ignore[operator]
    return float(xx + yy - 2 * xy)


def test_mmd_is_what_plain_loops_give() -> None:
    p, t = vectors(9, 4, 0), vectors(9, 4, 1, shift=0.5)

    def cubic(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a @ b / 4 + 1) ** 3)

    assert polynomial_mmd(p, t, None).value == pytest.approx(loops(p, t, cubic), rel=1e-10)
    score = rbf_mmd(p, t, None)
    x, y = ((v - t.mean(0)) / t.std(0) for v in (p, t))
    gaps = sorted(float((y[i] - y[j]).square().sum()) for i in range(9) for j in range(i))
    squared = gaps[(len(gaps) - 1) // 2]
    assert score.notes["sigma"] == pytest.approx(squared**0.5)

    def gauss(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(-float((a - b).square().sum()) / (2 * squared))

    assert score.value == pytest.approx(loops(x, y, gauss), rel=1e-9)


@pytest.mark.parametrize("distance", [frechet, polynomial_mmd, rbf_mmd])
def test_leaves_are_the_value_without_each_region(distance: object) -> None:
    p, t = vectors(24, 3, 0), vectors(24, 3, 1, shift=0.2)
    groups = torch.arange(24) % 4
    leaves = distance(p, t, groups).leaves  # type: ignore[operator]
    assert len(leaves) == 4
    if distance is rbf_mmd:
        return  # the width of its kernel is that of the whole truth
    for region in range(4):
        left = groups != region
        alone = distance(p[left], t[left], None).value  # type: ignore[operator]
        assert leaves[region] == pytest.approx(alone, rel=1e-9)


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = [0.3, 0.9, 0.1, 0.7, 0.5, 0.2, 0.8, 0.6, 1.4]
    total, n = sum(values), len(values)
    leaves = [(total - v) / (n - 1) for v in values]
    found = jackknife(total / n, leaves)
    plain = interval(values, paired=True)
    assert found is not None
    assert plain is not None
    assert (found.lo, found.hi) == pytest.approx((plain.lo, plain.hi), rel=1e-12)
    assert found.name == "jackknife-t95"
    assert jackknife(0.0, leaves[:7]) is None


def test_texture_by_hand() -> None:
    x = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    x[0, 0, :, ::2] = 1.0  # columns 1 0 1 0
    x[0, 1] = 1.0 - x[0, 0]
    found = features(x, None)[0]
    assert len(found) == length(2) == 9
    assert found[:4].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.5])
    # 12 horizontal neighbours differ by 1, 12 vertical ones by 0; blocks of 2 × 2 are all alike.
    assert found[4].item() == pytest.approx(math.log10(0.5 + 1e-8))
    assert found[6].item() == pytest.approx(-8.0)
    assert found[8].item() == pytest.approx(-1.0)


def scenes(n: int, seed: int, c: int = 6) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(
        torch.rand(n, c, 8, 8, generator=g), size=32, mode="bilinear"
    )
    common = torch.nn.functional.interpolate(
        torch.rand(n, 1, 8, 8, generator=g), size=32, mode="bilinear"
    )
    return 0.1 + 0.2 * common + 0.05 * coarse + 0.01 * torch.randn(n, c, 32, 32, generator=g)


def test_texture_sees_every_band() -> None:
    """What a distance of red, green and blue cannot see."""
    real, other = scenes(120, 0), scenes(120, 1)

    def value(x: torch.Tensor) -> float:
        return rb.metrics.compute_sets(["fd.texture@1"], x, real, data_range=1.0)[
            "fd.texture@1"
        ].value

    same = value(other)
    nir_of_another = other.clone()
    nir_of_another[:, 3] = other.roll(1, 0)[:, 3]
    dimmer, swapped = other.clone(), other[:, [0, 1, 2, 3, 5, 4]].clone()
    dimmer[:, 3] *= 0.8
    swapped[:, 4] = swapped[:, 4] * 1.3
    blurred = torch.nn.functional.avg_pool2d(other, 3, 1, 1, count_include_pad=False)
    for spoilt in (nir_of_another, dimmer, swapped, blurred):
        assert value(spoilt) > 2 * same


def test_masked_content_and_order_change_nothing() -> None:
    real, other = scenes(12, 0), scenes(12, 1)
    valid = torch.rand(12, 1, 32, 32, generator=torch.Generator().manual_seed(5)) > 0.2
    ids = ["fd.texture@1", "mmd.rbf@1"]
    found = rb.metrics.compute_sets(ids, other, real, valid, data_range=1.0)
    dirty = torch.where(valid, other, torch.nan)
    again = rb.metrics.compute_sets(ids, dirty, torch.where(valid, real, -7.0), valid,
                                    data_range=1.0)  # fmt: skip
    for metric in ids:
        assert again[metric].value == found[metric].value
    order = torch.randperm(12, generator=torch.Generator().manual_seed(6))
    mixed = rb.metrics.compute_sets(ids, other[order], real[order], valid[order], data_range=1.0)
    for metric in ids:
        assert mixed[metric].value == pytest.approx(found[metric].value, rel=1e-6, abs=1e-9)


def test_sets_of_unequal_size_are_refused() -> None:
    with pytest.raises(InputError, match="12 predictions and 11 truths"):
        rb.metrics.compute_sets(["fd.texture@1"], scenes(12, 0), scenes(11, 1), data_range=1.0)
    with pytest.raises(InputError, match="needs two"):
        rb.metrics.compute_sets(["fd.texture@1"], scenes(1, 0), scenes(1, 1), data_range=1.0)
    with pytest.raises(InputError, match="one by one"):
        rb.metrics.compute_sets(["ssim@1"], scenes(2, 0), scenes(2, 1), data_range=1.0)
