"""Metrics of super-resolution: hand-worked numbers, masks, and the ratio that must be stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import rsbench as rb
from rsbench.core.errors import InputError
from rsbench.metrics import ImageOptions, image_metrics, info
from rsbench.metrics.suites import for_bands

IDS = ("consistency.rmse@1", "psnr.shift@1")


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def one(metric: str, p: torch.Tensor, t: torch.Tensor, ratio: int, **options: object) -> float:
    found = rb.metrics.compute([metric], p, t, data_range=1.0, ratio=ratio, **options)  # type: ignore[arg-type]
    return float(found[metric][0])


def test_blur_is_consistent_and_wrong() -> None:
    truth = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).repeat(2, 2)[None, None] / 8
    answer = torch.full_like(truth, 4.0 / 8)
    assert one("rmse@1", answer, truth, 2) == pytest.approx(math.sqrt(5) / 8)
    assert one("consistency.rmse@1", answer, truth, 2) == 0.0
    shifted = answer + 0.25
    shifted[..., :2] -= 0.25  # half of the blocks are right
    assert one("consistency.rmse@1", shifted, truth, 2) == pytest.approx(0.25 / math.sqrt(2))


def test_incomplete_and_invalid_blocks_do_not_count() -> None:
    truth = torch.zeros(1, 1, 5, 5)
    answer = truth.clone()
    answer[..., 4, :] = answer[..., :, 4] = 9.0  # no whole block of 2 × 2
    assert one("consistency.rmse@1", answer, truth, 2) == 0.0
    answer[..., 0, 0], answer[..., 2:4, 2:4] = 7.0, 0.5
    valid = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    valid[..., 1, 1] = False  # in the block of the 7
    assert one("consistency.rmse@1", answer, truth, 2, valid=valid) == pytest.approx(
        0.5 / math.sqrt(3)
    )


def test_bands_stand_beside_the_image_value() -> None:
    truth = torch.zeros(1, 2, 8, 8)
    answer = truth.clone()
    answer[:, 1] = 0.3
    found = image_metrics(IDS, answer, truth, data_range=1.0, options=ImageOptions(ratio=4))
    bands = found[IDS[0]].per_band
    assert bands is not None
    assert bands[0].tolist() == pytest.approx([0.0, 0.3])
    assert found[IDS[0]].value[0] == pytest.approx(0.3 / math.sqrt(2))
    assert found[IDS[1]].value[0] == 100.0  # the offset of a band costs nothing


@pytest.mark.parametrize("shift", [(0, 0), (1, -2), (-2, 2)])
def test_a_shift_and_an_offset_cost_nothing(shift: tuple[int, int]) -> None:
    truth = noise(0, 1, 2, 24, 24)
    answer = torch.roll(truth, shift, (-2, -1)) + torch.tensor([0.1, -0.2]).view(1, 2, 1, 1)
    assert one("psnr.shift@1", answer, truth, 4) == 100.0
    assert one("psnr.shift@1", torch.roll(truth, (3, 0), (-2, -1)), truth, 4) < 15


def test_the_best_shift_is_that_of_a_loop() -> None:
    truth, answer = noise(1, 3, 2, 13, 11), noise(2, 3, 2, 13, 11)
    answer = 0.5 * answer + 0.5 * torch.roll(truth, 1, -1)
    seen = noise(3, 3, 1, 13, 11) > 0.2
    found = rb.metrics.compute(["psnr.shift@1"], answer, truth, seen, data_range=2.0, ratio=3)
    for image in range(3):
        errors = []
        for dy in range(3):
            for dx in range(3):
                part = answer[image, :, dy : 11 + dy, dx : 9 + dx].double().numpy()
                inner = truth[image, :, 1:-1, 1:-1].double().numpy()
                both = (
                    seen[image, :, 1:-1, 1:-1] & seen[image, :, dy : 11 + dy, dx : 9 + dx]
                ).numpy()[0]
                gaps = [(part - inner)[band][both] for band in range(2)]
                errors.append(np.mean([np.mean((gap - gap.mean()) ** 2) for gap in gaps]))
        expected = 10 * math.log10(4 / min(errors))
        assert float(found["psnr.shift@1"][image]) == pytest.approx(expected, rel=1e-5)


def test_the_ratio_must_be_stated() -> None:
    image = noise(0, 1, 3, 8, 8)
    for metric in IDS:
        assert info(metric).coarser
        with pytest.raises(InputError, match="ratio of pixel sizes is not stated"):
            rb.metrics.compute([metric], image, image, data_range=1.0)
        with pytest.raises(InputError, match=r"ratio of pixel sizes is 5\. .*2 to 4"):
            rb.metrics.compute([metric], image, image, data_range=1.0, ratio=5)
    kept, dropped = for_bands(("mae@1", *IDS), 3)
    assert kept == ("mae@1",)
    assert all("coarser image" in dropped[metric] for metric in IDS)
    assert for_bands(IDS, 3, ratio=4)[0] == IDS
