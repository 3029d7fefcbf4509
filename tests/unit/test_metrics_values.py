"""Hand-worked numbers and the manners of the public functions."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import rsbench as rb
from rsbench.core.errors import InputError, PixelError, UnknownName
from rsbench.metrics.checks import check_pairs
from rsbench.metrics.images import ImageOptions, ImagePairs
from rsbench.metrics.registry import info, metric_info
from rsbench.metrics.suites import SUITES, for_bands, suite

READY = tuple(
    m.id for m in metric_info(probe=False) if m.available and m.kind == "image" and not m.needs
)
PINNED = {
    "brier@1",
    "consistency.rmse@1",
    "psnr.shift@1",
    "mae@1",
    "mse@1",
    "rmse@1",
    "psnr@1",
    "ssim@1",
    "ssim.l03@1",
    "ssim.blur2@1",
    "gssim.sobel3@1",
    "gssim.sobel3-zero@1",
    "gssim.chen2006@1",
    "ergas.r1@1",
    "ergas.r16@1",
    "ergas.r20@1",
    "sam@1",
    "cc@1",
    "uiqi@1",
    "edge.roberts@1",
    "texture.lbp@1",
    "spectrum.ratio@1",
}


def scenes(n: int = 3, c: int = 3, side: int = 32, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, c, side, side, generator=g)


def one(metric: str, p: torch.Tensor, t: torch.Tensor, **options: object) -> float:
    found = rb.metrics.compute([metric], p, t, **({"data_range": 1.0} | options))  # type: ignore[arg-type]
    return float(found[metric][0])


def flat(*values: float, side: int = 32) -> torch.Tensor:
    return (
        torch.tensor(values, dtype=torch.float32)
        .view(1, -1, 1, 1)
        .expand(1, len(values), side, side)
        .contiguous()
    )


def test_every_pinned_id_can_run() -> None:
    published = {m for m in READY if info(m).published}
    assert {m for m in READY if not info(m).published} | (published & PINNED) == PINNED
    assert len({m.id for m in metric_info()}) == len(metric_info())


def test_pixel_errors_by_hand() -> None:
    p, t = flat(0.5, 0.1), flat(0.2, 0.5)
    assert one("mae@1", p, t) == pytest.approx(0.35, rel=1e-6)
    assert one("mse@1", p, t) == pytest.approx(0.125, rel=1e-6)
    assert one("rmse@1", p, t) == pytest.approx(math.sqrt(0.125), rel=1e-6)
    assert one("psnr@1", p, t) == pytest.approx(10 * math.log10(8.0), rel=1e-6)
    assert one("psnr@1", p, t, data_range=2.0) == pytest.approx(10 * math.log10(32.0), rel=1e-6)


def test_per_band_values_stand_beside_the_image_value() -> None:
    p, t = flat(0.5, 0.1), flat(0.2, 0.5)
    found = rb.metrics.image_metrics(["rmse@1", "mae@1"], p, t, data_range=1.0)
    bands = found["rmse@1"].per_band
    assert bands is not None
    assert bands[0].tolist() == pytest.approx([0.3, 0.4], rel=1e-6)


def test_psnr_cap_is_counted() -> None:
    t = scenes()
    p = t.clone()
    p[1] += 0.1
    found = rb.metrics.image_metrics(["psnr@1"], p, t, data_range=1.0)["psnr@1"]
    assert found.value.tolist() == pytest.approx([100.0, 20.0, 100.0], abs=1e-3)
    assert found.counts == {"capped": 2}


def test_ergas_by_hand_and_its_ratio() -> None:
    p, t = flat(0.3, 0.3), flat(0.2, 0.4)
    expected = 100 * math.sqrt((0.01 / 0.04 + 0.01 / 0.16) / 2)
    assert one("ergas.r1@1", p, t) == pytest.approx(expected, rel=1e-5)
    assert one("ergas.r16@1", p, t) == pytest.approx(expected / 16, rel=1e-5)
    assert one("ergas.r20@1", p, t) == pytest.approx(expected / 20, rel=1e-5)


def test_ergas_leaves_out_bands_without_a_mean_and_counts_them() -> None:
    found = rb.metrics.image_metrics(
        ["ergas.r1@1"], flat(0.3, 0.5), flat(0.2, 0.0), data_range=1.0
    )["ergas.r1@1"]
    assert found.value[0] == pytest.approx(50.0, rel=1e-5)
    assert found.counts == {"skipped_bands": 1}
    nothing = rb.metrics.image_metrics(["ergas.r1@1"], flat(0.3), flat(0.0), data_range=1.0)
    assert not nothing["ergas.r1@1"].ok[0]


def test_sam_by_hand() -> None:
    assert one("sam@1", flat(1.0, 0.0), flat(1.0, 1.0)) == pytest.approx(45.0, rel=1e-6)
    assert one("sam@1", flat(1.0, 0.0), flat(-2.0, 0.0)) == pytest.approx(180.0, rel=1e-6)
    tiny = one("sam@1", flat(1.0, 1e-6, 0.0), flat(1.0, 0.0, 0.0))
    assert tiny == pytest.approx(math.degrees(1e-6), rel=1e-4)
    many = one("sam@1", flat(1.0, 1e-4, 0.0, 0.0, 0.0, 0.0), flat(1.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert many == pytest.approx(math.degrees(1e-4), rel=1e-4)


def test_ssim_of_constants_is_its_luminance_term() -> None:
    c1 = 1e-4
    expected = (2 * 0.3 * 0.6 + c1) / (0.09 + 0.36 + c1)
    for metric in ("ssim@1", "gssim.chen2006@1"):
        assert one(metric, flat(0.3), flat(0.6)) == pytest.approx(expected, rel=1e-6)
    c1 *= 0.09
    expected = (2 * 0.3 * 0.6 + c1) / (0.09 + 0.36 + c1)
    assert one("ssim.l03@1", flat(0.3), flat(0.6)) == pytest.approx(expected, rel=1e-6)


def test_a_gain_is_perfect_for_the_min_max_form_only() -> None:
    t = scenes(1, 3, 64) * 0.8
    t[..., :1, :] = t[..., -1:, :] = t[..., :1] = t[..., -1:] = 0  # no bright border edge
    found = rb.metrics.compute(
        ["gssim.sobel3-zero@1", "gssim.sobel3@1", "gssim.chen2006@1"], 0.6 * t, t, data_range=1.0
    )
    assert found["gssim.sobel3-zero@1"][0] > 0.9999
    assert found["gssim.sobel3@1"][0] < 0.9
    assert found["gssim.chen2006@1"][0] < 0.9


def test_zero_padding_rewards_brightness_of_unrelated_textures() -> None:
    def texture(seed: int, mean: float, spread: float) -> torch.Tensor:
        noise = torch.randn(4, 3, 128, 128, generator=torch.Generator().manual_seed(seed))
        smooth = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
        return (mean + spread * smooth / smooth.std()).clamp(0, 1)

    def mean(metric: str, level: float, spread: float) -> float:
        p, t = texture(1, level, spread), texture(2, level, spread)
        return float(rb.metrics.compute([metric], p, t, data_range=1.0)[metric].mean())

    assert mean("gssim.sobel3-zero@1", 0.10, 0.03) < 0.45
    assert mean("gssim.sobel3-zero@1", 0.40, 0.01) > 0.8
    assert mean("gssim.sobel3@1", 0.40, 0.03) == pytest.approx(
        mean("gssim.sobel3@1", 0.12, 0.03), abs=1e-3
    )


def test_spectrum_ratio_by_hand() -> None:
    t = scenes(1, 2, 64)
    smooth = torch.nn.functional.avg_pool2d(t, 5, 1, 2)
    assert one("spectrum.ratio@1", 0.1 * t, t) == pytest.approx(-2.0, abs=1e-5)
    assert one("spectrum.ratio@1", 10 * t, t) == pytest.approx(2.0, abs=1e-5)
    assert one("spectrum.ratio@1", smooth, t) < -0.8
    # A wave of 3/8 cycles per pixel lies inside the band, one of 1/8 outside.
    x = torch.arange(64) * 2 * math.pi
    fine, coarse = torch.sin(x * 3 / 8), torch.sin(x / 8)
    wave = lambda a, b: (a * fine + b * coarse).expand(1, 1, 64, 64).contiguous()  # noqa: E731
    assert one("spectrum.ratio@1", wave(2, 5), wave(1, 1)) == pytest.approx(math.log10(4), abs=1e-3)


def test_uiqi_of_a_scaled_image_by_hand() -> None:
    # y = a x: σxy = a σ², µy = a µ, so Q = 4a²/(1 + a²)² in every window.
    t = scenes(1, 2) + 0.1
    assert one("uiqi@1", 0.5 * t, t) == pytest.approx(4 * 0.25 / 1.25**2, rel=1e-9)


def test_an_undefined_image_is_named_by_compute_and_marked_by_image_metrics() -> None:
    t = scenes(3, 1)
    t[1] = 0.5
    with pytest.raises(InputError, match=r"cc@1.*undefined for 1 of 3 images \(1\)"):
        rb.metrics.compute(["cc@1"], scenes(3, 1, seed=1), t, data_range=1.0)
    found = rb.metrics.image_metrics(["cc@1"], scenes(3, 1, seed=1), t, data_range=1.0)["cc@1"]
    assert found.ok.tolist() == [True, False, True]
    assert math.isnan(found.value[1])


def test_an_image_without_valid_pixels_is_undefined_everywhere() -> None:
    t = scenes(2, 3, 48)
    valid = torch.ones(2, 1, 48, 48, dtype=torch.bool)
    valid[0] = False
    found = rb.metrics.image_metrics(
        READY, t * 0.9, t, valid=valid, data_range=1.0, options=ImageOptions(ratio=4)
    )
    for metric, result in found.items():
        assert result.ok.tolist() == [False, True], metric
        assert math.isfinite(float(result.value[1])), metric


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("ssim", "Did you mean ssim@1"),
        ("ssin@1", "Did you mean ssim@1"),
        ("ssim@2", "defines ssim@1"),
        ("gssim.sobel3zero@1", "gssim.sobel3-zero@1"),
    ],
)
def test_an_unknown_id_says_what_was_meant(asked: str, says: str) -> None:
    with pytest.raises(UnknownName, match=says):
        rb.metrics.compute([asked], scenes(), scenes(), data_range=1.0)
    with pytest.raises(UnknownName, match=says):
        info(asked)


def test_every_kind_of_metric_names_the_function_for_the_others() -> None:
    for asked, where in (
        ("fd.texture@1", "compute_sets"), ("crps.fair@1", "member_metrics"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=where):
            rb.metrics.compute([asked], scenes(), scenes(), data_range=1.0)
    with pytest.raises(InputError, match="last context frame"):
        rb.metrics.compute(["change.csi@1"], scenes(), scenes(), data_range=1.0)
    with pytest.raises(InputError, match="one by one"):
        rb.metrics.compute_sets(["ssim@1"], scenes(), scenes(), data_range=1.0)


@pytest.mark.parametrize(
    ("p", "t", "says"),
    [
        (torch.rand(2, 3, 8, 8), torch.rand(2, 4, 8, 8), r"axis C \(bands\) is 3"),
        (torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 9), r"axis W \(columns\)"),
        (torch.rand(3, 8, 8), torch.rand(3, 8, 8), "3 axes"),
        (torch.rand(0, 3, 8, 8), torch.rand(0, 3, 8, 8), r"axis N \(images\) is empty"),
        (torch.rand(1, 1, 8, 8).half(), torch.rand(1, 1, 8, 8), "float16"),
        (torch.rand(1, 1, 8, 8), torch.ones(1, 1, 8, 8, dtype=torch.uint8), "integers wrap"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(
    p: torch.Tensor, t: torch.Tensor, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        rb.metrics.compute(["mae@1"], p, t, data_range=1.0)


@pytest.mark.parametrize(
    "bad", [None, 0.0, -1.0, (1.0, 1.0), (2.0, 1.0), float("nan"), float("inf"), "1e", (1, 2, 3)]
)
def test_a_data_range_is_required_and_must_span_something(bad: object) -> None:
    with pytest.raises(InputError, match="data_range"):
        rb.metrics.compute(["mae@1"], scenes(), scenes(), data_range=bad)  # type: ignore[arg-type]


def test_masks_of_another_shape_or_dtype_are_refused() -> None:
    t = scenes()
    for valid in (torch.ones(3, 2, 32, 32, dtype=torch.bool), torch.ones(3, 1, 32, 32)):
        with pytest.raises(InputError, match="valid"):
            rb.metrics.compute(["mae@1"], t, t, valid, data_range=1.0)


def test_too_few_bands_or_pixels_name_the_axis() -> None:
    with pytest.raises(InputError, match=r"sam@1.*axis C \(bands\) is 1, it needs 2"):
        rb.metrics.compute(["sam@1"], scenes(1, 1), scenes(1, 1), data_range=1.0)
    with pytest.raises(InputError, match=r"ssim@1.*5 × 5, it needs 6"):
        rb.metrics.compute(["ssim@1"], scenes(1, 1, 5), scenes(1, 1, 5), data_range=1.0)


@pytest.mark.parametrize("metric", READY)
def test_the_smallest_allowed_side_is_enough(metric: str) -> None:
    side = info(metric).min_side
    p, t = scenes(1, 3, side), scenes(1, 3, side, seed=1)
    assert math.isfinite(one(metric, p + 0.01, t + 0.01, ratio=2))


def test_a_non_finite_value_inside_the_valid_area_names_image_and_band() -> None:
    t = scenes(10, 3)
    p = t.clone()
    p[9, 1, 4, 4] = float("nan")
    bands = ImageOptions(bands=["nir", "red", "green"])
    with pytest.raises(PixelError, match=r"image 9, band red.*1 non-finite prediction"):
        rb.metrics.image_metrics(["mae@1"], p, t, data_range=1.0, options=bands)
    with pytest.raises(PixelError, match=r"image 9, band 1.*truth"):
        rb.metrics.compute(["mae@1"], t, p, data_range=1.0)
    valid = torch.ones(10, 1, 32, 32, dtype=torch.bool)
    valid[9, :, 4, 4] = False
    assert one("mae@1", p, t, valid=valid) == 0.0
    huge = torch.full((1, 1, 64, 64), 3e38)  # finite, though its sum is not
    assert isinstance(check_pairs(huge, huge, None, 1.0, None), ImagePairs)
    next(check_pairs(huge, huge, None, 1.0, None).chunks())


def test_clipped_elements_are_counted_and_pixel_metrics_do_not_clip() -> None:
    t = flat(0.9)
    p = flat(1.4)
    found = rb.metrics.image_metrics(["ssim@1", "mae@1"], p, t, data_range=1.0)
    counts = found["ssim@1"].counts
    assert counts["clipped_prediction"] == counts["elements"] == 32 * 32
    assert counts["clipped_truth"] == 0
    assert found["mae@1"].value[0] == pytest.approx(0.5)


def test_a_half_masked_band_counts_its_own_pixels() -> None:
    t = flat(0.2, 0.2)
    p = flat(0.3, 0.6)
    valid = torch.ones(1, 2, 32, 32, dtype=torch.bool)
    valid[:, 1, :16] = False
    # 1024 elements off by 0.1 and 512 off by 0.4
    assert one("mae@1", p, t, valid=valid) == pytest.approx((0.1 * 2 + 0.4) / 3, rel=1e-5)


def test_suites_hold_known_ids_and_bands_decide() -> None:
    for name in SUITES:
        assert all(info(m).available or info(m).needs for m in suite(name))
    assert suite("mae@1") == ("mae@1",)
    with pytest.raises(UnknownName, match="standard"):
        suite("standart")
    kept, dropped = for_bands(suite("standard"), 1)
    assert "sam@1" not in kept
    assert dropped == {"sam@1": "needs 2 bands, the data have 1"}


def test_the_list_of_metrics_loads_no_torch() -> None:
    script = (
        "import sys, rsbench.metrics as m; m.metric_info(); m.suite('standard');"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_borrowed_buffers_carry_nothing_from_one_call_to_the_next() -> None:
    """Between two calls: a larger one, in inference mode; one that fails; several in threads."""
    ids = ["ssim@1", "ssim.blur2@1", "gssim.sobel3@1", "gssim.sobel3-zero@1", "gssim.chen2006@1"]
    g = torch.Generator().manual_seed(11)
    p, t = (torch.rand(2, 3, 40, 52, generator=g) for _ in range(2))
    before = {metric: values.clone() for metric, values in score(ids, p, t).items()}
    with torch.inference_mode():
        score(ids, torch.rand(9, 4, 64, 64), torch.rand(9, 4, 64, 64))
    with pytest.raises(PixelError):
        score(ids, torch.full_like(p, math.nan), t)
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda _: score(ids, p, t), range(4)))
    for found in (score(ids, p, t), *others):
        assert all(torch.equal(found[metric], before[metric]) for metric in ids)
    alone = {metric: score([metric], p, t)[metric] for metric in reversed(ids)}
    assert all(torch.equal(alone[metric], before[metric]) for metric in ids)


def test_an_undefined_score_says_whether_there_was_anything_to_see() -> None:
    x = scenes(2)
    none = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    none[1] = False
    with pytest.raises(InputError, match=r"1 of 2 images \(1\): they have no valid pixel"):
        rb.metrics.compute(["ssim@1"], x, x, none, data_range=1.0)
    with pytest.raises(InputError, match=r"2 of 2 images \(0, 1\): they are too constant"):
        rb.metrics.compute(["cc@1"], torch.ones_like(x), x, data_range=1.0)


def score(ids: list[str], p: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
    return rb.metrics.compute(ids, p, t, data_range=1.0)
