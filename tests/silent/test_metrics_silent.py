"""Faults that once gave a number instead of an error."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torchmetrics.functional.image import spectral_angle_mapper, structural_similarity_index_measure

import rsbench as rb
from rsbench.core.errors import InputError, MetricUnavailable
from rsbench.metrics import image_metrics, metric_info

READY = tuple(
    m.id for m in metric_info(probe=False) if m.available and m.kind == "image" and not m.needs
)


def scenes(n: int = 2, c: int = 3, side: int = 64) -> torch.Tensor:
    return 0.2 + 0.3 * torch.rand(n, c, side, side, generator=torch.Generator().manual_seed(0))


def test_one_zero_spectrum_does_not_erase_the_angle() -> None:
    t = scenes(1)
    p = t * 1.1
    p[..., 3, 3] = 0.0
    assert math.isnan(float(spectral_angle_mapper(p, t)))  # what a common library returns
    found = image_metrics(["sam@1"], p, t, data_range=1.0)["sam@1"]
    assert found.counts == {"zero_spectra": 1}
    assert float(found.value[0]) == pytest.approx(0.0, abs=1e-4)


def test_all_zero_spectra_are_undefined_not_zero_degrees() -> None:
    found = image_metrics(["sam@1"], torch.zeros(1, 3, 8, 8), scenes(1, 3, 8), data_range=1.0)
    assert not found["sam@1"].ok[0]
    assert math.isnan(float(found["sam@1"].value[0]))


def test_kelvin_in_float32_keeps_its_structure() -> None:
    t = scenes(1, 1)
    p = (t + 0.02 * torch.randn(t.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    expected = float(structural_similarity_index_measure(p, t, data_range=1.0))
    naive = float(structural_similarity_index_measure(p + 300, t + 300, data_range=1.0))
    assert abs(naive - expected) > 0.1  # what float32 does to an offset
    ours = rb.metrics.compute(["ssim@1"], p + 300, t + 300, data_range=(300.0, 301.0))["ssim@1"]
    assert float(ours[0]) == pytest.approx(expected, abs=1e-3)


def test_the_data_range_is_never_taken_from_the_batch() -> None:
    t = scenes(2)
    t[1] *= 0.3
    p = t * 0.9
    together = rb.metrics.compute(["ssim@1", "psnr@1"], p, t, data_range=1.0)
    for i in range(2):
        alone = rb.metrics.compute(["ssim@1", "psnr@1"], p[i : i + 1], t[i : i + 1], data_range=1.0)
        for metric, values in alone.items():
            assert float(values[0]) == pytest.approx(float(together[metric][i]), rel=1e-6)


def test_a_slightly_negative_prediction_is_not_rescaled() -> None:
    t = scenes(1)
    p = t.clone()
    p[0, 0, 0, 0] = -0.01
    found = image_metrics(["ssim@1", "psnr@1"], p, t, data_range=1.0)
    assert float(found["ssim@1"].value[0]) > 0.99
    assert found["ssim@1"].counts["clipped_prediction"] == 1


def test_integers_are_refused_before_they_wrap() -> None:
    whole = (scenes(1) * 255).to(torch.uint8)
    with pytest.raises(InputError, match="uint8"):
        rb.metrics.compute(["mae@1"], whole, whole, data_range=255.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match="half precision"):
        rb.metrics.compute(["sam@1"], scenes().to(dtype), scenes(), data_range=1.0)


def test_autocast_is_refused() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(InputError, match="autocast"):
        rb.metrics.compute(["ssim@1"], scenes(), scenes(), data_range=1.0)


def test_a_process_that_allows_bf16_products_gets_the_same_bits_and_its_setting_back() -> None:
    t = scenes()
    p = t * 0.9
    expected = rb.metrics.compute(READY, p, t, data_range=1.0, ratio=2)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        found = rb.metrics.compute(READY, p, t, data_range=1.0, ratio=2)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    for metric in READY:
        assert torch.equal(found[metric], expected[metric]), metric


def test_what_cannot_run_is_absent_not_zero(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RSBENCH_WEIGHTS", "RSBENCH_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    with pytest.raises(MetricUnavailable):
        rb.metrics.compute(["lpips.alex@1"], scenes(), scenes(), data_range=1.0)
    with pytest.raises(MetricUnavailable):
        rb.metrics.compute_sets(["fid.inception2048@1"], scenes(), scenes(), data_range=1.0)


def test_a_cloud_filled_with_zeros_on_both_sides_earns_nothing() -> None:
    t = scenes(1)
    p = (t + 0.1 * torch.randn(t.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    valid = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    valid[..., :32] = False
    filled = rb.metrics.compute(["ssim@1"], p * valid, t * valid, data_range=1.0)["ssim@1"]
    clear = rb.metrics.compute(["ssim@1"], p, t, data_range=1.0)["ssim@1"]
    masked = rb.metrics.compute(["ssim@1"], p, t, valid, data_range=1.0)["ssim@1"]
    assert float(filled - clear) > 0.1
    assert float((masked - clear).abs()) < 0.03


def test_identical_flat_images_are_not_penalised() -> None:
    t = torch.full((1, 1, 64, 64), 0.3)
    t[..., 32:, :] = scenes(1, 1, 64)[..., 32:, :]
    found = rb.metrics.compute(["ssim@1", "uiqi@1"], t.clone(), t, data_range=1.0)
    assert float(found["ssim@1"][0]) == pytest.approx(1.0, abs=1e-6)
    assert float(found["uiqi@1"][0]) == pytest.approx(1.0, abs=1e-9)


def test_scenes_of_different_brightness_do_not_correlate_by_themselves() -> None:
    g = torch.Generator().manual_seed(2)
    level = torch.tensor([0.1, 0.3, 0.5, 0.7]).view(4, 1, 1, 1)
    p, t = (level + 0.01 * torch.randn(4, 1, 64, 64, generator=g) for _ in range(2))
    pooled = float(torch.corrcoef(torch.stack((p.flatten(), t.flatten())))[0, 1])
    ours = float(rb.metrics.compute(["cc@1"], p, t, data_range=1.0)["cc@1"].mean())
    assert pooled > 0.99
    assert abs(ours) < 0.05


def test_gradients_and_inputs_are_left_alone() -> None:
    t = scenes()
    p = (t * 0.9).requires_grad_()
    kept = p.detach().clone(), t.clone()
    found = rb.metrics.compute(READY, p, t, data_range=1.0, ratio=2)
    assert not any(v.requires_grad for v in found.values())
    assert torch.equal(p.detach(), kept[0])
    assert torch.equal(t, kept[1])
