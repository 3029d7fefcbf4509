"""Metrics as published code defines them, kept to read older tables; no default suite has them."""

from __future__ import annotations

from rsbench.metrics.metric import SCORE, UNIT, Bounds, Metric

SJD = "VU-AIML/SAT-JEPA-DIFF @711324f, evaluate.py"
SJD_COPY = "VU-AIML/SAT-JEPA-DIFF @711324f, data/calculate_original_scores.py"
OPENSTL = "chengtan9907/OpenSTL @0d74406, openstl/core/metrics.py"
STFDIFF = "prowDIY/STF, metrics as called by its test script"
GPSTFDIFF = "JiazhenZhao02091/GPSTFDiff @641575e, src/metrics"
SWINSTFM = "LouisChen0104/swinstfm @4b7a46e, test.py"
EDCSTFN = "theonegis/edcstfn @c451477, evaluate.py"
LIBSTF = "yc-cui/Deep-Learning-Spatiotemporal-Fusion-Survey @e4d0b76, LibSTFv1"

RADIANS: Bounds = (0.0, 3.1416)
DEGREES: Bounds = (0.0, 180.0)


def _clipped(metric: str, unit: str, title: str, where: str) -> Metric:
    return Metric(
        metric, "lower", (0.0, 1.0), unit, SJD,
        f"{title} of images clipped and mapped onto [0, 1]", f"rsbench.metrics.published:{where}",
        perfect=0.0, published=True, clips="range",
    )  # fmt: skip


def _ergas(name: str, source: str, title: str) -> Metric:
    return Metric(
        f"ergas.{name}@1", "lower", UNIT, "1", source, title,
        f"rsbench.metrics.published:ergas_{name}", perfect=0.0, per_band=False, published=True,
    )  # fmt: skip


def _sam(name: str, source: str, title: str, perfect: float | None = 0.0) -> Metric:
    degrees = name == "swinstfm"
    return Metric(
        f"sam.{name}@1", "lower", DEGREES if degrees else RADIANS,
        "degree" if degrees else "radian", source, title,
        f"rsbench.metrics.published:sam_{name}", perfect=perfect, per_band=degrees,
        min_bands=1 if degrees else 2, published=True,
    )  # fmt: skip


def _lpips(net: str, backbone: str, side: int, source: str) -> Metric:
    return Metric(
        f"lpips.{net}-raw@1", "lower", UNIT, "1", source,
        f"perceptual distance of bands scaled by the data range, {net} features, version 0.1",
        "rsbench.metrics.perceptual:lpips", perfect=0.0, per_band=False, min_bands=3,
        min_side=side, needs=(backbone, f"lpips-{net}"), rgb=True, clips="range", published=True,
        options={"net": net, "raw": True},
    )  # fmt: skip


def _fid(metric: str, title: str, source: str, features: str) -> Metric:
    return Metric(
        metric, "lower", UNIT, "1", source, title, "rsbench.metrics.frechet:frechet",
        perfect=0.0, kind="set", per_band=False, min_bands=3, needs=("inception",), rgb=True,
        clips="range", published=True,
        features=features,
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    _clipped("mae.clip@1", "1", "mean absolute error", "mae_clip"),
    _clipped("mse.clip@1", "1", "mean squared error", "mse_clip"),
    Metric("psnr.clip@1", "higher", (None, 100.0), "dB", SJD,
           "peak signal-to-noise ratio of clipped images, mean of dB, capped at 100",
           "rsbench.metrics.published:psnr_clip", perfect=100.0, published=True, clips="range"),
    Metric("ssim.zero@1", "higher", SCORE, "1", SJD,
           "structural similarity, Gaussian 11/1.5, zeros beyond the border, whole map",
           "rsbench.metrics.published:ssim_zero", perfect=1.0, published=True, clips="range"),
    _lpips("vgg", "vgg16", 32, SJD),
    _lpips("alex", "alexnet", 64, SJD_COPY),
    _fid("fid.inception64-raw@1",
         "Fréchet distance of 64 Inception features, bytes cut off, resized with antialiasing",
         SJD, "inception64-raw"),
    _fid("fid.inception2048-wrap@1",
         "Fréchet distance of 2048 Inception features of wrapped bytes: photographic negatives",
         SJD_COPY, "inception2048-wrap"),
    Metric("mse.openstl@1", "lower", UNIT, "data²", OPENSTL,
           "squared error summed over bands and pixels of a frame",
           "rsbench.metrics.published:mse_openstl", perfect=0.0, per_band=False, published=True),
    Metric("mae.openstl@1", "lower", UNIT, "data", OPENSTL,
           "absolute error summed over bands and pixels of a frame",
           "rsbench.metrics.published:mae_openstl", perfect=0.0, per_band=False, published=True),
    Metric("ssim.openstl@1", "higher", SCORE, "1", OPENSTL,
           "structural similarity, 7×7 box, sample covariance, cropped, "
           "constants for a range of 2",
           "rsbench.metrics.published:ssim_openstl", perfect=1.0, min_side=7, published=True,
           clips="range"),
    _ergas("stfdiff", STFDIFF, "100/16, mean of the prediction below the line"),
    _ergas("gpstfdiff", GPSTFDIFF, "100/16, mean of the truth, dark bands kept"),
    _ergas("swinstfm", SWINSTFM, "factor 6, invalid pixels kept as zeros"),
    _ergas("edcstfn", EDCSTFN, "100/16, relative error not squared, mean of the prediction"),
    _ergas("libstf", LIBSTF, "100/64, mean of the truth"),
    _sam("stfdiff", STFDIFF, "mean spectral angle, cosine not clamped, NaN left out"),
    _sam("gpstfdiff", GPSTFDIFF, "mean spectral angle, a zero spectrum is a right angle"),
    _sam("swinstfm", f"{SWINSTFM} with sewar 0.4.4",
         "angle between the images of a band over pixels, mean of bands"),
    _sam("edcstfn", EDCSTFN, "mean of acos with sums of absolute values as norms", None),
    _sam("libstf", LIBSTF, "mean spectral angle, one zero spectrum leaves no value"),
)  # fmt: skip
