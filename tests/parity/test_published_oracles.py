"""Published definitions against other libraries, float64 loops and numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch.nn.functional import interpolate
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    spectral_angle_mapper,
)
from weight_fixtures import put

import rsbench as rb
from rsbench.catalog import load_protocol, names
from rsbench.metrics import RgbMapping, image_metrics, info, metric_info, suite
from rsbench.metrics.frechet import frechet_distance
from rsbench.metrics.inception import network, to_bytes
from rsbench.metrics.perceptual import CHANNELS
from rsbench.metrics.sets import INCEPTION_INPUTS
from rsbench.metrics.suites import PUBLISHED, SUITES

Array = NDArray[np.float64]
SIDE = 40


def pair(bands: int = 3, n: int = 3, side: int = SIDE) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth scenes between 0.05 and 0.95, and noisy predictions that leave [0, 1]."""
    rng = np.random.default_rng(4)
    fields = rng.random((n, bands, side, side))
    t = ndimage.gaussian_filter(fields, (0, 0, 2, 2)) * 3.0 - 1.0
    p = t + 0.15 * rng.standard_normal(t.shape)
    return torch.from_numpy(p), torch.from_numpy(t.clip(0.05, 0.95))


def ours(metric: str, p: torch.Tensor, t: torch.Tensor, **options: object) -> Array:
    found = image_metrics([metric], p, t, **({"data_range": 1.0} | options))  # type: ignore[arg-type]
    return np.asarray(found[metric].value)


def same(found: Array, expected: object, rel: float = 1e-9) -> None:
    np.testing.assert_allclose(found, np.asarray(expected, dtype=np.float64), rtol=rel, atol=0)


# ------------------------------------------------------------------------------- in suites


def test_they_stand_in_no_default_suite_and_say_what_they_are() -> None:
    marked = {m.id for m in metric_info(probe=False) if m.published}
    named = {metric for ids in PUBLISHED.values() for metric in ids}
    assert named <= marked
    # Two of the meanings of GSSIM stand beside the recommended one.
    meanings = {"ssim.blur2@1", "gssim.sobel3-zero@1"}
    assert marked - named == {"ssim.blur2@1"}
    for name in names("protocols"):
        assert not (marked - meanings) & set(load_protocol(name).suite), name
    for name in SUITES.keys() - PUBLISHED.keys():
        assert not (marked - meanings) & set(suite(name)), name
    assert suite("published.sat-jepa-diff")[-2:] == ("lpips.vgg-raw@1", "fid.inception64-raw@1")
    assert len(suite("published.fusion")) == 10
    assert "@4b7a46e" in info("ergas.swinstfm@1").source


# ------------------------------------------------------------------------------ forecasting


def test_clipped_errors_against_loops() -> None:
    p, t = pair()
    low, high = -0.2, 0.8
    for image in range(len(p)):
        absolute, squared = [], []
        for a, b in zip(p[image].flatten().tolist(), t[image].flatten().tolist(), strict=True):
            a, b = ((min(max(v, low), high) - low) / (high - low) for v in (a, b))
            absolute.append(abs(a - b))
            squared.append((a - b) ** 2)
        mse = math.fsum(squared) / len(squared)
        values = {
            metric: ours(metric, p, t, data_range=(low, high))[image]
            for metric in ("mae.clip@1", "mse.clip@1", "psnr.clip@1")
        }
        assert values["mae.clip@1"] == pytest.approx(math.fsum(absolute) / len(absolute))
        assert values["mse.clip@1"] == pytest.approx(mse)
        assert values["psnr.clip@1"] == pytest.approx(10 * math.log10(1 / mse))


def test_the_cap_of_psnr_is_where_the_script_puts_it() -> None:
    t = torch.full((3, 1, 8, 8), 0.5, dtype=torch.float64)
    p = t + torch.tensor([0.0, 0.9e-5, 1.1e-5], dtype=torch.float64).view(3, 1, 1, 1)
    below = -20 * math.log10(1.1e-5)
    same(ours("psnr.clip@1", p, t), [100.0, 100.0, below], rel=1e-6)
    found = image_metrics(["psnr.clip@1"], p, t, data_range=1.0)["psnr.clip@1"]
    assert found.counts["capped"] == 2


def test_ssim_with_zeros_beyond_the_border_against_scipy() -> None:
    p, t = pair()
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / 4.5)
    window /= window.sum()

    def blurred(x: Array) -> Array:
        return np.asarray(ndimage.correlate(x, window, mode="constant", cval=0.0))

    expected = []
    for image in range(len(p)):
        maps = []
        for x, y in zip(p[image].clamp(0, 1).numpy(), t[image].numpy(), strict=True):
            mx, my = blurred(x), blurred(y)
            sx, sy, sxy = (
                blurred(a) - b for a, b in ((x * x, mx**2), (y * y, my**2), (x * y, mx * my))
            )
            maps.append(
                (2 * mx * my + 1e-4) * (2 * sxy + 9e-4)
                / ((mx**2 + my**2 + 1e-4) * (sx + sy + 9e-4))
            )  # fmt: skip
        expected.append(np.mean(maps))
    same(ours("ssim.zero@1", p, t), expected)
    assert (ours("ssim.zero@1", p, t) > ours("ssim@1", p, t)).all()


def test_openstl_sums_over_a_frame() -> None:
    p, t = pair(bands=2, n=4)
    # Their MSE: mean over samples and frames, then sum over bands, rows and columns.
    frames = (p - t).numpy().reshape(2, 2, 2, SIDE, SIDE)
    assert np.mean(ours("mse.openstl@1", p, t)) == pytest.approx(
        (frames**2).mean(axis=(0, 1)).sum(), rel=1e-12
    )
    assert np.mean(ours("mae.openstl@1", p, t)) == pytest.approx(
        np.abs(frames).mean(axis=(0, 1)).sum(), rel=1e-12
    )
    valid = torch.ones(4, 1, SIDE, SIDE, dtype=torch.bool)
    valid[..., : SIDE // 2] = False
    half = ours("mse.openstl@1", p, t, valid=valid)
    same(half, 2 * (p - t)[..., SIDE // 2 :].square().sum((1, 2, 3)))


def test_openstl_ssim_is_that_of_scikit_image_with_a_range_of_two() -> None:
    p, t = pair()
    t = t + 0.3  # the truth is not clipped
    expected = [
        structural_similarity(a, b, channel_axis=0, data_range=2.0)
        for a, b in zip(p.clamp(0, 1).numpy(), t.numpy(), strict=True)
    ]
    same(ours("ssim.openstl@1", p, t), expected)


# -------------------------------------------------------------------------------- perceptual


def test_raw_lpips_sees_no_display_curve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    state = models.alexnet(weights=None).state_dict()
    put(monkeypatch, tmp_path, "alexnet", {k: v for k, v in state.items() if "features" in k})
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1)
             for i, c in enumerate(CHANNELS["alex"])}  # fmt: skip
    put(monkeypatch, tmp_path, "lpips-alex", heads)
    p, t = (x.float().clamp(0, 1) for x in pair(side=64))
    seen = RgbMapping((0, 1, 2), "reflectance")
    raw = rb.metrics.compute(["lpips.alex-raw@1"], p, t, data_range=1.0, display=seen)
    shown = rb.metrics.compute(["lpips.alex@1"], p, t, data_range=1.0, display=seen)
    plain = rb.metrics.compute(
        ["lpips.alex@1"], p, t, data_range=1.0, display=RgbMapping((0, 1, 2), "display")
    )
    same(raw["lpips.alex-raw@1"].numpy(), plain["lpips.alex@1"])
    assert not torch.allclose(raw["lpips.alex-raw@1"], shown["lpips.alex@1"], rtol=0.01)


@pytest.fixture(scope="module")
def inception_state() -> dict[str, torch.Tensor]:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    net = models.inception_v3(weights=None, aux_logits=False, init_weights=False, num_classes=1008)
    return dict(net.state_dict())


def test_fid_as_the_scripts_make_their_bytes(
    inception_state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put(monkeypatch, tmp_path, "inception", inception_state)
    p, t = (x.float().clamp(0, 1) for x in pair(n=10, side=16))
    sides = []
    for x in (p, t):
        cut = (x * 255).numpy().astype(np.uint8)
        large = interpolate(
            torch.from_numpy(cut).float(), (299, 299), mode="bilinear", antialias=True
        )
        sides.append(torch.cat([network((part - 128) / 128, 64)[64] for part in large.split(16)]))
    found = rb.metrics.compute_sets(["fid.inception64-raw@1"], p, t, data_range=1.0)
    score = found["fid.inception64-raw@1"]
    assert (score.n, score.d) == (10, 64)
    assert score.value == pytest.approx(frechet_distance(*sides), rel=1e-5)
    rounded = rb.metrics.compute_sets(
        ["fid.inception64@1"], p, t, data_range=1.0, display=RgbMapping((0, 1, 2), "display")
    )
    assert score.value != pytest.approx(rounded["fid.inception64@1"].value, rel=1e-4)


def test_wrapped_bytes_are_negatives_of_bytes() -> None:
    x = torch.linspace(0, 1, 511)
    cut = (x * 255).numpy().astype(np.uint8)
    with np.errstate(over="ignore"):
        wrapped = cut * np.uint8(255)  # what a byte times 255 is, in bytes
    assert to_bytes(x, "wrap").tolist() == wrapped.tolist()
    assert wrapped[1:].tolist() != [255] * 510
    stated = INCEPTION_INPUTS["inception2048-wrap"]
    assert (stated.tap, stated.rounding, stated.raw, stated.antialias) == (2048, "wrap", True, True)


# ------------------------------------------------------------------------------------ fusion


def loops(p: torch.Tensor, t: torch.Tensor) -> list[list[tuple[float, float, float]]]:
    """MSE, mean of the truth and mean of the prediction per image and band."""
    found = []
    for a, b in zip(p.tolist(), t.tolist(), strict=True):
        bands = []
        for x, y in zip(a, b, strict=True):
            xs, ys = [v for row in x for v in row], [v for row in y for v in row]
            n = len(xs)
            mse = math.fsum((u - v) ** 2 for u, v in zip(xs, ys, strict=True)) / n
            bands.append((mse, math.fsum(ys) / n, math.fsum(xs) / n))
        found.append(bands)
    return found


def test_five_readings_of_ergas_against_loops() -> None:
    p, t = pair(bands=4)
    t = t + 0.2
    p = p + 0.4
    sums = loops(p, t)

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    def expected(relative: Callable[[float, float, float], float]) -> list[float]:
        return [6.25 * math.sqrt(mean([relative(*band) for band in bands])) for bands in sums]

    same(ours("ergas.stfdiff@1", p, t), expected(lambda mse, _, mu: mse / mu**2))
    same(ours("ergas.gpstfdiff@1", p, t), expected(lambda mse, mu, _: mse / (mu**2 + 1e-10)))
    same(ours("ergas.edcstfn@1", p, t), expected(lambda mse, _, mu: math.sqrt(mse) / mu))
    same(ours("ergas.swinstfm@1", p, t), 0.96 * ours("ergas.r16@1", p, t))
    theirs = error_relative_global_dimensionless_synthesis(p, t, ratio=4, reduction="none") / 16
    same(ours("ergas.libstf@1", p, t), theirs)
    same(ours("ergas.libstf@1", p, t), ours("ergas.r16@1", p, t) / 4)


def test_invalid_pixels_stay_in_the_means_of_one_reading_only() -> None:
    p, t = pair(bands=2)
    t = t + 0.2
    valid = torch.ones(3, 1, SIDE, SIDE, dtype=torch.bool)
    valid[..., : SIDE // 4] = False
    kept = torch.where(valid, p, 0.0), torch.where(valid, t, 0.0)
    expected = [
        6 * math.sqrt(sum(m / u**2 for m, u, _ in bands) / 2) for bands in loops(*kept)
    ]  # zeros in both images, all pixels in the means
    same(ours("ergas.swinstfm@1", p, t, valid=valid), expected)
    whole = ours("ergas.gpstfdiff@1", p, t, valid=valid)
    same(ours("ergas.swinstfm@1", p, t, valid=valid), 0.96 * whole / math.sqrt(0.75), rel=1e-8)


def angles(p: torch.Tensor, t: torch.Tensor) -> list[list[float]]:
    found = []
    for a, b in zip(p, t, strict=True):
        own = []
        for x, y in zip(a.flatten(1).T.tolist(), b.flatten(1).T.tolist(), strict=True):
            dot = math.fsum(u * v for u, v in zip(x, y, strict=True))
            own.append(math.acos(min(1.0, dot / (math.hypot(*x) * math.hypot(*y)))))
        found.append(own)
    return found


def test_five_readings_of_the_spectral_angle() -> None:
    p, t = pair(bands=4)
    p, t = p + 0.5, t + 0.2
    true = [math.fsum(own) / len(own) for own in angles(p, t)]
    same(ours("sam.stfdiff@1", p, t), true)
    same(ours("sam.gpstfdiff@1", p, t), true, rel=1e-5)
    same(ours("sam.libstf@1", p, t), spectral_angle_mapper(p, t, reduction="none").mean((1, 2)))
    same(ours("sam@1", p, t) * math.pi / 180, true, rel=1e-6)
    absolute = []
    for a, b in zip(p, t, strict=True):
        own = [
            math.acos(math.fsum(u * v for u, v in zip(x, y, strict=True))
                      / (math.fsum(map(abs, x)) * math.fsum(map(abs, y))))
            for x, y in zip(a.flatten(1).T.tolist(), b.flatten(1).T.tolist(), strict=True)
        ]  # fmt: skip
        absolute.append(math.fsum(own) / len(own))
    same(ours("sam.edcstfn@1", p, t), absolute)
    by_band = [
        np.mean([
            np.degrees(np.arccos(np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y))))
            for x, y in zip(a.flatten(1).numpy(), b.flatten(1).numpy(), strict=True)
        ])
        for a, b in zip(p, t, strict=True)
    ]  # fmt: skip
    same(ours("sam.swinstfm@1", p, t), by_band)


def test_angles_of_one_and_two_pixels_by_hand() -> None:
    # Truth (1, 0), prediction (1, 1): 45 degrees. The other pixel is zero in the prediction.
    t = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]], dtype=torch.float64)
    p = torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]], dtype=torch.float64)
    found = image_metrics(
        [f"sam.{name}@1" for name in ("stfdiff", "gpstfdiff", "edcstfn", "libstf")], p, t,
        data_range=1.0,
    )  # fmt: skip
    assert found["sam.stfdiff@1"].value.item() == pytest.approx(math.pi / 4)
    assert found["sam.stfdiff@1"].counts == {"nan_angles": 1}
    # A zero spectrum is a right angle there, and no value at all in the two others.
    assert found["sam.gpstfdiff@1"].value.item() == pytest.approx((math.pi / 4 + math.pi / 2) / 2)
    assert not found["sam.libstf@1"].ok.item()
    assert not found["sam.edcstfn@1"].ok.item()
    one = rb.metrics.compute(["sam.edcstfn@1"], p[..., :1], t[..., :1], data_range=1.0)
    assert one["sam.edcstfn@1"].item() == pytest.approx(math.acos(1 / 2))  # 1 / (1 · 2)
    copy = rb.metrics.compute(["sam.edcstfn@1"], p[..., :1], p[..., :1], data_range=1.0)
    assert copy["sam.edcstfn@1"].item() == pytest.approx(math.acos(2 / 4))  # far from zero


def test_an_angle_over_pixels_does_not_see_the_spectrum() -> None:
    _, t = pair(bands=3)
    gains = torch.tensor([0.5, 1.0, 2.0]).view(1, 3, 1, 1)
    assert (ours("sam.swinstfm@1", t * gains, t) < 1e-4).all()
    assert (ours("sam@1", t * gains, t) > 15).all()


def test_halving_the_error_halves_every_reading_but_one() -> None:
    _, t = pair()
    error = 0.05 * torch.randn(t.shape, generator=torch.Generator().manual_seed(1)).double()
    error -= error.mean((-1, -2), keepdim=True)  # keeps the mean of the prediction
    for name in ("stfdiff", "gpstfdiff", "swinstfm", "libstf"):
        ratio = ours(f"ergas.{name}@1", t + error, t) / ours(f"ergas.{name}@1", t + error / 2, t)
        same(ratio, [2.0] * 3, rel=1e-6)
    one = ours("ergas.edcstfn@1", t + error, t) / ours("ergas.edcstfn@1", t + error / 2, t)
    same(one, [math.sqrt(2)] * 3, rel=1e-6)
