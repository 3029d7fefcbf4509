"""Edge and texture scores against scikit-image, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.feature import multiblock_lbp
from skimage.filters import roberts_neg_diag, roberts_pos_diag
from skimage.transform import integral_image

import rsbench as rb
from rsbench.metrics.suites import suite

IDS = ["edge.roberts@1", "texture.lbp@1"]
F64 = NDArray[np.float64]


def images(seed: int, n: int = 2, bands: int = 2, side: int = 17) -> torch.Tensor:
    """Whole numbers over 64, so that equal brightness occurs and sums are exact."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 64, (n, bands, side, side + 3)) / 64)


def edges(x: F64) -> F64:
    """Both diagonals of Roberts' cross, of the blocks inside the image."""
    answer: F64 = np.abs(roberts_pos_diag(x)) + np.abs(roberts_neg_diag(x))
    return answer[:-1, :-1]


def patterns(x: F64) -> F64:
    """Blocks of one pixel: the pattern of Ojala's 3 × 3 neighbourhood."""
    summed = integral_image(x * 64)
    rows, columns = x.shape
    return np.array(
        [[multiblock_lbp(summed, r, c, 1, 1) for c in range(columns - 2)] for r in range(rows - 2)],
        dtype=np.float64,
    )


def difference(p: F64, t: F64, keep: NDArray[np.bool_]) -> float:
    both = p + t
    ratio = np.divide(p - t, both, out=np.zeros_like(both), where=both > 0)
    return float(ratio[keep].mean())


@pytest.mark.parametrize("metric", IDS)
@pytest.mark.parametrize("masked", [False, True])
def test_they_are_those_of_scikit_image(metric: str, masked: bool) -> None:
    p, t = images(0), images(1)
    valid = torch.from_numpy(np.random.default_rng(2).random((2, 1, 17, 20)) > 0.05)
    found = rb.metrics.image_metrics(
        [metric], p, t, valid=valid if masked else None, data_range=1.0
    )[metric]
    assert found.per_band is not None
    for n in range(2):
        own = valid[n, 0].numpy() if masked else np.ones((17, 20), bool)
        side = 2 if metric.startswith("edge") else 3
        windows = np.lib.stride_tricks.sliding_window_view(own, (side, side))
        keep = windows.all(axis=(2, 3))
        for c in range(2):
            x, y = p[n, c].numpy(), t[n, c].numpy()
            if side == 2:
                pair = [edges(image) for image in (x, y)]
            else:
                pair = [patterns(image) for image in (x, y)]
            expected = difference(pair[0], pair[1], keep)
            assert float(found.per_band[n, c]) == pytest.approx(expected, abs=1e-9)
        assert float(found.value[n]) == pytest.approx(float(found.per_band[n].mean()))


def test_smooth_is_below_zero_and_rough_above() -> None:
    t = images(3, side=40)
    smooth = torch.nn.functional.avg_pool2d(t, 3, stride=1, padding=1, count_include_pad=False)
    rough = t + 0.4 * torch.from_numpy(np.random.default_rng(4).standard_normal(t.shape))
    flat = torch.full_like(t, 0.3)
    values = [
        rb.metrics.compute(["edge.roberts@1"], p, t, data_range=1.0)["edge.roberts@1"]
        for p in (smooth, t, rough, flat)
    ]
    assert (values[0] < -0.2).all()
    assert (values[1] == 0).all()
    assert (values[2] > 0.05).all()
    assert (values[3] < -0.99).all()  # all but where the truth itself has none
    even = rb.metrics.compute(IDS, flat, flat + 0.1, data_range=1.0)
    assert all((value == 0).all() for value in even.values())


def test_a_pattern_by_hand() -> None:
    """The bits run clockwise from the upper left: 128 64 32 16 8 4 2 1."""
    from rsbench.metrics.gradient_local import _pattern

    block = torch.tensor([[9.0, 1.0, 9.0], [1.0, 5.0, 5.0], [1.0, 9.0, 1.0]])
    assert float(_pattern(block[None, None])) == 128 + 32 + 16 + 4


def test_they_stand_in_the_suite_of_fusion() -> None:
    assert {*IDS, "rmse.changed@1", "change.csi@1", "uiqi@1", "cc@1"} <= set(suite("fusion"))
    from rsbench.catalog import load_protocol, names

    fusion = [load_protocol(name) for name in names("protocols")]
    for protocol in (p for p in fusion if p.task == "fusion"):
        assert {*IDS, *suite("change")} <= set(protocol.suite), protocol.name
