"""Against other projects' code, and against float64 loops written in another form.

Oracles: torchmetrics (SSIM, PSNR, ERGAS), scikit-image (SSIM inside the border, PSNR), SciPy
(Sobel, filters, windows, correlation) and plain NumPy loops for the angle and for masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, signal, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import (
    error_relative_global_dimensionless_synthesis,
    structural_similarity_index_measure,
    universal_image_quality_index,
)

import rsbench as rb

Array = NDArray[np.float64]
SIDES = (64, 128, 200)  # the last lies beyond the dense product and is no multiple of its blocks


def scenes(n: int, c: int, side: int, *, mean: float = 0.2, seed: int = 0) -> torch.Tensor:
    """Reflectance-like fields: smooth patches, edges and a little texture; float32."""
    rng = np.random.default_rng(seed)
    out = np.empty((n, c, side, side), dtype=np.float32)
    for i in range(n):
        fields = ndimage.zoom(rng.random((9, 9)), side / 9, order=0, grid_mode=True, mode="nearest")
        for b in range(c):
            texture = ndimage.gaussian_filter(rng.standard_normal((side, side)), 1.0)
            out[i, b] = mean * (0.5 + fields * (0.6 + 0.3 * b)) + 0.02 * texture
    return torch.from_numpy(out.clip(0, 1))


def pair(c: int = 3, side: int = 128, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    t = scenes(n, c, side)
    g = torch.Generator().manual_seed(7)
    noise = torch.randn(t.shape, generator=g) * torch.tensor([0.003, 0.01, 0.03, 0.1])[
        :n, None, None, None
    ].expand(-1, c, 1, 1)
    return (t + noise).clamp(0, 1), t


def close(found: torch.Tensor, expected: object, rel: float) -> None:
    want = np.asarray(expected, dtype=np.float64)
    np.testing.assert_allclose(found.numpy(), want, rtol=rel, atol=0)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bands", [1, 3, 6])
def test_ssim_equals_torchmetrics(bands: int, side: int) -> None:
    p, t = pair(bands, side)
    oracle = structural_similarity_index_measure(
        p.double(), t.double(), data_range=1.0, reduction="none"
    )
    close(rb.metrics.compute(["ssim@1"], p, t, data_range=1.0)["ssim@1"], oracle, 2e-6)
    # Its float32 form carries errors of its own, more than ours.
    single = structural_similarity_index_measure(p, t, data_range=1.0, reduction="none")
    found = rb.metrics.compute(["ssim@1"], p, t, data_range=1.0)["ssim@1"]
    np.testing.assert_allclose(found, single, rtol=0, atol=5e-6)


def test_ssim_l03_equals_torchmetrics_with_its_constants() -> None:
    p, t = pair()
    oracle = structural_similarity_index_measure(
        p.double(), t.double(), data_range=0.3, reduction="none"
    )
    close(rb.metrics.compute(["ssim.l03@1"], p, t, data_range=1.0)["ssim.l03@1"], oracle, 2e-6)


def test_ssim_with_an_offset_range_equals_torchmetrics_on_shifted_data() -> None:
    p, t = pair(1)
    kelvin_p, kelvin_t = 250 + 100 * p.double(), 250 + 100 * t.double()
    oracle = structural_similarity_index_measure(
        p.double(), t.double(), data_range=1.0, reduction="none"
    )
    found = rb.metrics.compute(["ssim@1"], kelvin_p, kelvin_t, data_range=(250.0, 350.0))["ssim@1"]
    close(found, oracle, 1e-9)


def test_ssim_inside_the_border_equals_scikit_image() -> None:
    p, t = pair(1, 96, 1)
    _, whole = structural_similarity(
        t[0, 0].double().numpy(), p[0, 0].double().numpy(), data_range=1.0, gaussian_weights=True,
        sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    from rsbench.metrics.structure import REFLECT
    from rsbench.metrics.windows import moments, similarity

    maps = torch.stack([p, t, p, t]).double()  # the last two places are filled by `moments`
    ours = similarity(moments(maps, REFLECT), 1e-4, 9e-4)[0, 0].numpy()
    np.testing.assert_allclose(ours[5:-5, 5:-5], whole[5:-5, 5:-5], rtol=1e-9)


def test_psnr_equals_scikit_image_per_image() -> None:
    p, t = pair()
    oracle = [
        peak_signal_noise_ratio(a.double().numpy(), b.double().numpy(), data_range=1.0)
        for a, b in zip(t, p, strict=True)
    ]
    close(rb.metrics.compute(["psnr@1"], p, t, data_range=1.0)["psnr@1"], oracle, 2e-6)


def test_psnr_equals_torchmetrics_per_image() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio as theirs

    p, t = pair()
    oracle = [
        float(theirs(a[None].double(), b[None].double(), data_range=1.0))
        for a, b in zip(p, t, strict=True)
    ]
    close(rb.metrics.compute(["psnr@1"], p, t, data_range=1.0)["psnr@1"], oracle, 2e-6)


@pytest.mark.parametrize("ratio", [1, 16, 20])
def test_ergas_equals_torchmetrics_per_image(ratio: int) -> None:
    p, t = pair(4)
    oracle = error_relative_global_dimensionless_synthesis(
        p.double(), t.double(), ratio=ratio, reduction="none"
    )
    name = f"ergas.r{ratio}@1"
    close(rb.metrics.compute([name], p, t, data_range=1.0)[name], oracle, 2e-6)


@pytest.mark.parametrize("bands", [2, 3, 4, 6])
def test_sam_equals_a_float64_loop(bands: int) -> None:
    p, t = pair(bands, 24)
    expected = []
    for a, b in zip(p.double().numpy(), t.double().numpy(), strict=True):
        angles = []
        for y in range(24):
            for x in range(24):
                u, v = a[:, y, x], b[:, y, x]
                if not u.any() or not v.any():
                    continue
                u, v = u / np.sqrt((u**2).sum()), v / np.sqrt((v**2).sum())
                half = math.atan2(np.linalg.norm(u - v), np.linalg.norm(u + v))
                angles.append(math.degrees(2 * half))
        expected.append(np.mean(angles))
    close(rb.metrics.compute(["sam@1"], p, t, data_range=1.0)["sam@1"], expected, 1e-6)


def test_cc_equals_scipy_per_band() -> None:
    p, t = pair(3)
    found = rb.metrics.image_metrics(["cc@1"], p, t, data_range=1.0)["cc@1"]
    for i in range(4):
        bands = [
            stats.pearsonr(p[i, b].double().ravel(), t[i, b].double().ravel()).statistic
            for b in range(3)
        ]
        assert found.per_band is not None
        close(found.per_band[i], bands, 1e-6)
        assert float(found.value[i]) == pytest.approx(np.mean(bands), rel=1e-6)


def test_cc_keeps_its_digits_on_a_large_offset() -> None:
    p, t = pair(1)
    hot_p, hot_t = 300 + 5 * p, 300 + 5 * t  # kelvin in float32
    expected = [
        stats.pearsonr(a.double().ravel(), b.double().ravel()).statistic
        for a, b in zip(hot_p, hot_t, strict=True)
    ]
    close(rb.metrics.compute(["cc@1"], hot_p, hot_t, data_range=(250, 350))["cc@1"], expected, 1e-6)


def test_uiqi_equals_a_loop_over_boxes() -> None:
    p, t = pair(2, 24, 2)
    found = rb.metrics.compute(["uiqi@1"], p, t, data_range=1.0)["uiqi@1"]
    for i in range(2):
        per_band = []
        for b in range(2):
            a, c = p[i, b].double().numpy(), t[i, b].double().numpy()
            q = []
            for y in range(17):
                for x in range(17):
                    u, v = a[y : y + 8, x : x + 8].ravel(), c[y : y + 8, x : x + 8].ravel()
                    s = np.cov(u, v)
                    below = (s[0, 0] + s[1, 1]) * (u.mean() ** 2 + v.mean() ** 2)
                    q.append(4 * s[0, 1] * u.mean() * v.mean() / below)
            per_band.append(np.mean(q))
        assert float(found[i]) == pytest.approx(np.mean(per_band), rel=1e-9)


def sewar_uqi(p: Array, t: Array) -> float:
    """Means of boxes in the formula for sums: 64 m(xy) − m(x) m(y) in place of the covariance."""
    x, y, xy, squares = (
        ndimage.uniform_filter(a, 8)[4:-4, 4:-4] for a in (p, t, p * t, p * p + t * t)
    )
    product, means = x * y, x * x + y * y
    return float(np.mean(4 * (64 * xy - product) * product / ((64 * squares - means) * means)))


def test_uiqi_beside_torchmetrics_and_sewar_is_as_the_page_says() -> None:
    """The formula of sewar gives the values of its releases 0.4.4 and 0.4.10 to the last digit."""
    p, t = pair()
    sewar = [
        np.mean(
            [sewar_uqi(a.double().numpy(), b.double().numpy()) for a, b in zip(x, y, strict=True)]
        )
        for x, y in zip(p, t, strict=True)
    ]
    gaussian = universal_image_quality_index(p, t, reduction="none").mean((1, 2, 3))
    ours = rb.metrics.compute(["uiqi@1"], p, t, data_range=1.0)["uiqi@1"]
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name, values in (("`uiqi@1`", ours), ("torchmetrics 1.9", gaussian), ("sewar", sewar)):
        row = next(line for line in page.splitlines() if line.startswith(f"  | {name} |"))
        stated = [float(cell) for cell in row.split("|")[2:-1]]
        assert [float(v) for v in values] == pytest.approx(stated, abs=6e-5), name


def test_the_angle_of_sewar_changed_its_meaning() -> None:
    """0.4.4: images of a band as vectors; 0.4.10: spectra. By hand, in radians."""
    p, t = pair(3, 64, 3)
    x, y = p.double().numpy(), t.double().numpy()

    def angle(a: Array, b: Array, axes: tuple[int, ...]) -> Array:
        below = np.sqrt((a * a).sum(axes) * (b * b).sum(axes))
        return np.arccos(np.clip((a * b).sum(axes) / below, -1, 1))

    found = rb.metrics.compute(["sam.swinstfm@1", "sam@1"], p, t, data_range=1.0)
    bands, spectra = np.degrees(angle(x, y, (2, 3))).mean(1), np.degrees(angle(x, y, (1,)))
    close(found["sam.swinstfm@1"], bands, 1e-6)
    close(found["sam@1"], spectra.mean((1, 2)), 1e-5)
    assert (np.abs(bands / spectra.mean((1, 2)) - 1) > 0.15).all()


def test_spectrum_ratio_equals_a_full_transform_with_scipy_window() -> None:
    p, t = pair(2, 50, 2)

    def power(x: Array) -> float:
        taper = np.outer(*(signal.get_window("hann", n) for n in x.shape))
        field = np.abs(np.fft.fft2((x - x.mean()) * taper)) ** 2
        radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in x.shape), indexing="ij"))
        return float(field[(radius >= 0.25) & (radius <= 0.5)].sum())

    found = rb.metrics.image_metrics(["spectrum.ratio@1"], p, t, data_range=1.0)["spectrum.ratio@1"]
    for i in range(2):
        expected = [
            math.log10(power(p[i, b].double().numpy()) / power(t[i, b].double().numpy()))
            for b in range(2)
        ]
        assert found.per_band is not None
        np.testing.assert_allclose(found.per_band[i], expected, rtol=1e-6)


# --- the gradient family, in SciPy -----------------------------------------------------------


def gaussian(sigma: float) -> Array:
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * sigma**2))
    return np.outer(taps, taps) / taps.sum() ** 2


def ssim_map(x: Array, y: Array, mode: str, epsilon: float = 0.0) -> Array:
    def g(z: Array) -> Array:
        return np.asarray(ndimage.correlate(z, gaussian(1.5), mode=mode, cval=0.0))

    mx, my = g(x), g(y)
    sxx, syy, sxy = g(x * x) - mx**2, g(y * y) - my**2, g(x * y) - mx * my
    top = (2 * mx * my + 1e-4) * (2 * sxy + 9e-4)
    return np.asarray(top / ((mx**2 + my**2 + 1e-4) * (sxx + syy + 9e-4) + epsilon))


def gradients(x: Array, mode: str) -> tuple[Array, Array]:
    return tuple(ndimage.sobel(x, axis, mode=mode, cval=0.0) for axis in (0, 1))  # type: ignore[return-value]


def shrink(x: Array, factor: int) -> Array:
    """Bilinear without antialiasing at ½ and ¼ of an even side: the mean of the middle 2 × 2."""
    if factor == 1:
        return x
    a = factor // 2 - 1
    return np.asarray(
        (x[a::factor, a::factor] + x[a + 1 :: factor, a::factor]
         + x[a::factor, a + 1 :: factor] + x[a + 1 :: factor, a + 1 :: factor]) / 4
    )  # fmt: skip


def gssim(x: Array, y: Array, *, zero: bool) -> float:
    def magnitude(z: Array) -> Array:
        gy, gx = gradients(z, "constant" if zero else "nearest")
        if not zero:
            return np.minimum(np.sqrt(gx**2 + gy**2) / 0.5, 1.0)
        m = np.sqrt(gx**2 + gy**2 + 1e-8)
        return np.asarray((m - m.min()) / (m.max() - m.min() + 1e-8))

    mode = "constant" if zero else "mirror"
    return float(np.mean([
        ssim_map(magnitude(shrink(x, f)), magnitude(shrink(y, f)), mode).mean() for f in (1, 2, 4)
    ]))  # fmt: skip


def chen(x: Array, y: Array) -> float:
    """All three factors written out, C3 = C2 / 2."""

    def g(z: Array) -> Array:
        return np.asarray(ndimage.correlate(z, gaussian(1.5), mode="mirror"))

    c1, c2, c3 = 1e-4, 9e-4, 4.5e-4
    u, v = (np.hypot(*gradients(z, "nearest")) / 4 for z in (x, y))
    su = np.sqrt(np.maximum(g(u * u) - g(u) ** 2, 0))
    sv = np.sqrt(np.maximum(g(v * v) - g(v) ** 2, 0))
    suv = g(u * v) - g(u) * g(v)
    luminance = (2 * g(x) * g(y) + c1) / (g(x) ** 2 + g(y) ** 2 + c1)
    contrast = (2 * su * sv + c2) / (su**2 + sv**2 + c2)
    structure = (suv + c3) / (su * sv + c3)
    return float((luminance * contrast * structure).mean())


def blur2(x: Array, y: Array) -> float:
    a, b = (ndimage.correlate(z, gaussian(2.0), mode="constant") for z in (x, y))
    return float(ssim_map(a, b, "constant", 1e-8).mean())


@pytest.mark.parametrize(
    ("metric", "oracle", "grey"),
    [
        ("gssim.sobel3@1", lambda x, y: gssim(x, y, zero=False), True),
        ("gssim.sobel3-zero@1", lambda x, y: gssim(x, y, zero=True), True),
        ("gssim.chen2006@1", chen, False),
        ("ssim.blur2@1", blur2, False),
    ],
)
def test_the_gradient_family_equals_scipy(
    metric: str, oracle: Callable[[Array, Array], float], grey: bool
) -> None:
    p, t = pair(3, 64)
    expected = []
    for a, b in zip(p.double().numpy(), t.double().numpy(), strict=True):
        if grey:
            expected.append(oracle(a.mean(0), b.mean(0)))
        else:
            expected.append(float(np.mean([oracle(x, y) for x, y in zip(a, b, strict=True)])))
    close(rb.metrics.compute([metric], p, t, data_range=1.0)[metric], expected, 5e-6)
    exact = rb.metrics.compute([metric], p.double(), t.double(), data_range=1.0)[metric]
    close(exact, expected, 1e-7)


# --- masks, as loops --------------------------------------------------------------------------


def clouds(n: int, side: int, share: float, seed: int = 3) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((n, side, side)), (0, 4, 4))
    valid = smooth > np.quantile(smooth, share, axis=(1, 2), keepdims=True)
    return torch.from_numpy(valid[:, None])


def test_masked_sums_equal_loops_over_valid_pixels() -> None:
    p, t = pair(3, 40)
    valid = clouds(4, 40, 0.3)
    ids = ["mae@1", "rmse@1", "psnr@1", "ergas.r1@1", "cc@1", "sam@1"]
    found = rb.metrics.compute(ids, p, t, valid, data_range=1.0)
    for i in range(4):
        m = valid[i, 0].numpy()
        a, b = p[i].double().numpy()[:, m], t[i].double().numpy()[:, m]
        mse = ((a - b) ** 2).mean()
        bands = [((x - y) ** 2).mean() / y.mean() ** 2 for x, y in zip(a, b, strict=True)]
        cosine = (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
        expected = {
            "mae@1": np.abs(a - b).mean(), "rmse@1": mse**0.5,
            "psnr@1": -10 * math.log10(mse), "ergas.r1@1": 100 * np.mean(bands) ** 0.5,
            "cc@1": np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]),
            "sam@1": np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean(),
        }  # fmt: skip
        for metric, value in expected.items():
            assert float(found[metric][i]) == pytest.approx(value, rel=2e-6), metric


def test_masked_ssim_equals_a_loop_over_windows() -> None:
    side = 30
    p, t = pair(1, side, 1)
    valid = clouds(1, side, 0.35)
    x, y, m = (z[0, 0].double().numpy() for z in (p, t, valid))
    weights = gaussian(1.5)
    mirrored = [np.pad(z, 5, mode="reflect") for z in (x, y, m)]
    values = []
    for i in range(side):
        for j in range(side):
            u, v, w = (z[i : i + 11, j : j + 11] for z in mirrored)
            share = (weights * w).sum()
            if not m[i, j] or share < 0.5:
                continue
            k = weights * w / share
            mu, mv = (k * u).sum(), (k * v).sum()
            suu, svv = (k * (u - mu) ** 2).sum(), (k * (v - mv) ** 2).sum()
            suv = (k * (u - mu) * (v - mv)).sum()
            top = (2 * mu * mv + 1e-4) * (2 * suv + 9e-4)
            values.append(top / ((mu**2 + mv**2 + 1e-4) * (suu + svv + 9e-4)))
    found = rb.metrics.compute(["ssim@1"], p, t, valid, data_range=1.0)["ssim@1"]
    assert float(found[0]) == pytest.approx(np.mean(values), rel=2e-6)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_clouds_move_masked_ssim_by_less_than_two_hundredths(share: float) -> None:
    p, t = pair(3, 128)
    clear = rb.metrics.compute(["ssim@1"], p, t, data_range=1.0)["ssim@1"]
    under = rb.metrics.compute(["ssim@1"], p, t, clouds(4, 128, share), data_range=1.0)["ssim@1"]
    assert float((clear - under).abs().max()) < 0.02
