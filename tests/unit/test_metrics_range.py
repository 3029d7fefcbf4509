"""Units and ranges that are stated wrong, or not at all, give no number."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from weight_fixtures import random_alex, random_inception

import rsbench as rb
from rsbench.core.errors import InputError
from rsbench.metrics import ImageOptions, RgbMapping, image_metrics, member_metrics, metric_info
from rsbench.metrics.metric import MOST_OUTSIDE
from rsbench.metrics.spectral import SMALLEST_MEAN

CLIPPING = tuple(
    m.id for m in metric_info(probe=False) if m.clips and m.kind == "image" and not m.needs
)
PICTURES = tuple(m.id for m in metric_info(probe=False) if m.clips == "display")


def noise(seed: int, n: int = 1, c: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(n, c, side, side, generator=torch.Generator().manual_seed(seed))


def outside(p: torch.Tensor, t: torch.Tensor, **options: Any) -> set[str]:
    found = image_metrics(CLIPPING, p, t, **({"data_range": 1.0} | options))
    for metric, result in found.items():
        assert result.outside is not None
        assert torch.equal(result.ok, ~result.outside), metric
        assert result.value[result.outside].isnan().all()
        assert result.counts["outside_range"] == int(result.outside.sum())
    return {metric for metric, result in found.items() if bool(result.outside.any())}


# ------------------------------------------------------------------------------------- range


def test_every_metric_that_clips_states_it() -> None:
    """Where prediction and truth differ only outside the range, an undeclared clip is equality."""
    t = noise(0)
    p = t.clone()
    p[..., :4] = 1.0 + noise(1)[..., :4]  # an eighth of the pixels
    t[..., :4] = 2.0 + noise(2)[..., :4]
    ready = [m.id for m in metric_info(probe=False) if m.kind == "image" and not m.needs]
    options = ImageOptions(ratio=4)
    clipped = image_metrics(ready, p.clamp(0, 1), t.clamp(0, 1), data_range=1.0, options=options)
    plain = image_metrics(ready, p, t, data_range=1.0, options=options)
    hidden = {m for m in ready if torch.equal(clipped[m].value, plain[m].value)}
    assert hidden <= set(CLIPPING)
    for metric in CLIPPING:
        shares = plain[metric].clipped
        assert shares is not None
        assert shares.flatten().tolist() == pytest.approx([0.125] * 6)


@pytest.mark.parametrize("side", ["prediction", "truth", "both"])
@pytest.mark.parametrize(
    ("scale", "offset", "data_range"),
    [
        (3000.0, 500.0, 1.0),  # DN in the range of reflectance
        (8.0, 285.0, 150.0),  # kelvin in the width of 200 … 350
        (255.0, 0.0, 1.0),  # bytes in the range of [0, 1]
        (1.0, -0.5, 1.0),  # zero mean in the width of the data
        (40.0, -20.0, (200.0, 350.0)),  # Celsius in the range of kelvin
        (0.03, -0.05, (0.0, 1.0)),  # an offset that was forgotten
    ],
)
def test_images_mostly_outside_have_no_value(
    side: str, scale: float, offset: float, data_range: Any
) -> None:
    low, high = data_range if isinstance(data_range, tuple) else (0.0, data_range)
    inside = low + (high - low) * noise(2)
    p, t = (offset + scale * noise(k) for k in (0, 1))
    p, t = inside if side == "truth" else p, inside if side == "prediction" else t
    assert outside(p, t, data_range=data_range) == set(CLIPPING)
    with pytest.raises(InputError, match=r"ssim@1.*1 of 1 images \(0\) lie mostly outside"):
        rb.metrics.compute(["ssim@1"], p, t, data_range=data_range)


def test_one_band_outside_is_enough_and_the_other_bands_keep_their_values() -> None:
    p, t = noise(0, 2, 4), noise(1, 2, 4)
    plain = image_metrics(["ssim@1"], p, t, data_range=1.0)["ssim@1"]
    t[1, 2] *= 1e4
    found = image_metrics(["ssim@1"], p, t, data_range=1.0)["ssim@1"]
    assert found.ok.tolist() == [True, False]
    assert found.band_ok is not None
    assert found.per_band is not None
    assert plain.per_band is not None
    assert found.band_ok[1].tolist() == [True, True, False, True]
    kept = found.band_ok[1]
    assert torch.equal(found.per_band[1, kept], plain.per_band[1, kept])
    assert found.per_band[1, 2].isnan()


def test_only_valid_pixels_count() -> None:
    p, t = noise(0, 2), noise(1, 2)
    valid = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    valid[0, ..., 20:] = False
    p[0, ..., 20:] = math.nan  # invalid: no matter what
    t[0, ..., 20:] = -9999.0
    assert outside(p, t, valid=valid) == set()
    t[0, ..., :8] = 7.0  # 8 of 20 valid columns
    assert outside(p, t, valid=valid) == set(CLIPPING)


def test_a_few_values_outside_are_clipped_and_their_share_is_stated() -> None:
    p, t = noise(0), noise(1)
    columns = int(MOST_OUTSIDE * 32)
    p[..., :columns] = -0.5
    assert outside(p, t) == set()
    p[..., : columns + 1] = -0.5
    assert outside(p, t) == set(CLIPPING)
    # Noise around the dark end is no error of unit.
    assert outside(noise(0) * 0.005 - 0.005, noise(1) * 0.005) == set()


def test_a_refusal_names_both_meanings_of_a_number() -> None:
    p, t = (290 + noise(k) for k in (0, 1))
    says = re.escape(
        "A number means 0 … 150 here; data_range of torchmetrics is the width max − min"
    )
    with pytest.raises(InputError, match=says):
        rb.metrics.compute(["ssim@1"], p, t, data_range=150.0)
    for given in (1e-3, (0.0, 150.0)):  # too narrow, or a pair
        with pytest.raises(InputError, match="Pass the range of the data as a pair") as refused:
            rb.metrics.compute(["ssim@1"], p, t, data_range=given)
        assert "torchmetrics" not in str(refused.value)
    assert rb.metrics.compute(["ssim@1"], p, t, data_range=(200.0, 350.0))["ssim@1"] < 1.0


# -------------------------------------------------------------------------------------- unit


def test_pictures_need_a_unit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    random_alex(monkeypatch, tmp_path)
    p, t = noise(0, 2, 3, 64) * 0.3, noise(1, 2, 3, 64) * 0.3
    says = r"metric 'lpips.alex@1': .*unit of the data is not stated\. Pass unit="
    for options in ({}, {"display": RgbMapping((0, 1, 2))}):
        with pytest.raises(InputError, match=says):
            rb.metrics.compute(["lpips.alex@1"], p, t, data_range=1.0, **options)
    random_inception(monkeypatch, tmp_path)
    with pytest.raises(InputError, match=says.replace("lpips.alex", "fid.inception64")):
        rb.metrics.compute_sets(["fid.inception64@1"], p, t, data_range=1.0)
    with pytest.raises(InputError, match=r"fid.inception64@1': 2 of 2 images .*mostly outside"):
        rb.metrics.compute_sets(
            ["fid.inception64@1"], p * 1e4, t * 1e4, data_range=1e4, unit="reflectance"
        )
    with pytest.raises(InputError, match="no unit of this name"):
        rb.metrics.compute(["lpips.alex@1"], p, t, data_range=1.0, unit="DN")
    contrary = RgbMapping((2, 1, 0), "display")
    with pytest.raises(InputError, match="states the unit 'display'"):
        rb.metrics.compute(
            ["lpips.alex@1"], p, t, data_range=1.0, unit="reflectance", display=contrary
        )


def test_the_raw_form_is_asked_for_by_its_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    random_alex(monkeypatch, tmp_path)
    p, t = noise(0, 2, 3, 64) * 0.3, noise(1, 2, 3, 64) * 0.3
    found = {
        unit: rb.metrics.compute(
            ["lpips.alex@1", "lpips.alex-raw@1"], p, t, data_range=1.0, unit=unit
        )
        for unit in ("reflectance", "display")
    }
    raw = rb.metrics.compute(["lpips.alex-raw@1"], p, t, data_range=1.0)["lpips.alex-raw@1"]
    assert all(torch.equal(one["lpips.alex-raw@1"], raw) for one in found.values())
    assert torch.equal(found["display"]["lpips.alex@1"], raw)
    assert (found["reflectance"]["lpips.alex@1"] > 1.5 * raw).all()
    # The unit may stand in the mapping, or beside it.
    mapped = rb.metrics.compute(
        ["lpips.alex@1"], p, t, data_range=1.0, display=RgbMapping((0, 1, 2), "reflectance")
    )
    beside = image_metrics(
        ["lpips.alex@1"], p, t, data_range=1.0,
        options=ImageOptions(display=RgbMapping((0, 1, 2)), unit="reflectance"),
    )  # fmt: skip
    assert torch.equal(mapped["lpips.alex@1"], found["reflectance"]["lpips.alex@1"])
    assert torch.equal(beside["lpips.alex@1"].value, mapped["lpips.alex@1"])


def test_pictures_that_are_mostly_white_have_no_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    random_alex(monkeypatch, tmp_path)
    snow, other = (0.7 + 0.2 * noise(k, 1, 3, 64) for k in (0, 1))
    for unit, seen in (("reflectance", False), ("display", True)):
        found = image_metrics(
            ["lpips.alex@1"], snow, other, data_range=1.0, options=ImageOptions(unit=unit)
        )["lpips.alex@1"]
        assert found.ok.tolist() == [seen], unit
    with pytest.raises(InputError, match=r"0 … 0\.6, which display@1 shows of reflectance"):
        rb.metrics.compute(["lpips.alex@1"], snow, other, data_range=1.0, unit="reflectance")


# ------------------------------------------------------------------------- dark bands, types


def test_ergas_leaves_out_the_same_bands_in_every_unit() -> None:
    t = noise(0, 1, 4)
    t[:, 1] *= 1.9 * SMALLEST_MEAN  # a mean below the threshold
    t[:, 2] *= 2.1 * SMALLEST_MEAN  # and one above
    t[:, 3] = -0.05
    p = t + 0.01
    found = {
        scale: image_metrics(["ergas.r1@1"], p * scale, t * scale, data_range=scale)["ergas.r1@1"]
        for scale in (1.0, 255.0, 1e4)
    }
    kept = [0, 2]
    terms = [(0.01 / float(t[0, band].mean())) ** 2 for band in kept]
    for one in found.values():
        assert one.counts["skipped_bands"] == 2
        assert one.value.tolist() == pytest.approx([100 * math.sqrt(sum(terms) / 2)], rel=1e-4)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.int16, torch.uint8, torch.bool, torch.complex64]
)
def test_every_entrance_refuses_types_that_lose_digits(dtype: torch.dtype) -> None:
    t = noise(0, 4)
    bad = t.to(dtype)
    calls = (
        lambda: rb.metrics.compute(["mae@1"], bad, t, data_range=1.0),
        lambda: rb.metrics.compute(["mae@1"], t, bad, data_range=1.0),
        lambda: rb.metrics.compute(["rmse.changed@1"], t, t, data_range=1.0, before=bad),
        lambda: image_metrics(["ssim@1"], bad, bad, data_range=1.0),
        lambda: member_metrics(["crps.fair@1"], bad[:, None].expand(-1, 3, -1, -1, -1), t,
                               data_range=1.0),
        lambda: rb.metrics.compute_sets(["fd.texture@1"], bad, t, data_range=1.0),
    )  # fmt: skip
    for call in calls:
        with pytest.raises(InputError, match=f"{dtype}"):
            call()
