"""Metrics of one image pair."""

from __future__ import annotations

from rsbench.metrics.metric import SCORE, UNIT, Metric, Placement

WANG04 = "Wang, Bovik, Sheikh and Simoncelli 2004, doi 10.1109/TIP.2003.819861"
CHEN06 = "Chen, Yang and Xie 2006, doi 10.1109/ICIP.2006.313132"
WALD00 = "Wald 2000, Quality of high resolution synthesised images: is there a simple criterion?"
KRUSE93 = "Kruse et al. 1993, doi 10.1016/0034-4257(93)90013-N"
WANG02 = "Wang and Bovik 2002, doi 10.1109/97.995823"
ZHU22 = "Zhu et al. 2022, doi 10.1016/j.rse.2022.113002, as commonly quoted"
SAT26 = "Sat-JEPA-Diff 2026, arXiv 2603.13943"
ZHANG18 = "Zhang et al. 2018, arXiv 1801.03924"
BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}
LPIPS_AXIS = {"alex": 0, "vgg": 1, "squeeze": 2}


def _ergas(ratio: int, use: str) -> Metric:
    return Metric(
        f"ergas.r{ratio}@1", "lower", UNIT, "1", WALD00,
        f"relative error over bands, coarse/fine pixel ratio {ratio} ({use})",
        "rsbench.metrics.spectral:ergas", perfect=0.0, per_band=False,
        pixel_ratio=ratio, options={"ratio": ratio},
    )  # fmt: skip


def _lpips(net: str) -> Metric:
    return Metric(
        f"lpips.{net}@1", "lower", UNIT, "1", ZHANG18,
        f"perceptual distance of display@1 pictures, {net} features, version 0.1",
        "rsbench.metrics.perceptual:lpips", perfect=0.0, per_band=False, min_bands=3, min_side=32,
        needs=(BACKBONES[net], f"lpips-{net}"), rgb=True, clips="display",
        placement=Placement(axis="perception", axis_order=LPIPS_AXIS[net]), options={"net": net},
    )  # fmt: skip


METRICS: tuple[Metric, ...] = (
    Metric("mae@1", "lower", UNIT, "data", "arithmetic", "mean absolute error",
           "rsbench.metrics.pixel:mae", perfect=0.0, skill=True, pixelwise=True,
           pixel_error="rsbench.metrics.pixel:absolute_error",
           placement=Placement(order=2, axis="distortion", axis_order=2)),
    Metric("mse@1", "lower", UNIT, "data²", "arithmetic", "mean squared error",
           "rsbench.metrics.pixel:mse", perfect=0.0, skill=True, pixelwise=True,
           pixel_error="rsbench.metrics.pixel:squared_error",
           placement=Placement(order=0, headline=True, axis="distortion", axis_order=1)),
    Metric("rmse@1", "lower", UNIT, "data", "arithmetic", "root mean squared error per image",
           "rsbench.metrics.pixel:rmse", perfect=0.0, pixelwise=True,
           placement=Placement(order=1, axis="distortion", axis_order=0)),
    Metric("psnr@1", "higher", (None, 100.0), "dB", "arithmetic",
           "peak signal-to-noise ratio per image, capped at 100 dB",
           "rsbench.metrics.pixel:psnr", perfect=100.0,
           placement=Placement(order=3, headline=True)),
    Metric("ssim@1", "higher", SCORE, "1", WANG04,
           "structural similarity, Gaussian 11/1.5, reflect border, whole map",
           "rsbench.metrics.structure:ssim", perfect=1.0, clips="range", min_side=6, skill=True,
           placement=Placement(order=4, headline=True)),
    Metric("ssim.l03@1", "higher", SCORE, "1", WANG04,
           "structural similarity with constants for 0.3 of the data range",
           "rsbench.metrics.structure:ssim", perfect=1.0, clips="range", min_side=6,
           options={"constant_range": 0.3}),
    Metric("ssim.blur2@1", "higher", SCORE, "1", SAT26,
           "similarity of blurred images (σ 2, zero border), published as GSSIM",
           "rsbench.metrics.structure:ssim_blur2", perfect=1.0, clips="range", published=True),
    Metric("gssim.sobel3@1", "higher", SCORE, "1", "this project, after " + SAT26,
           "similarity of Sobel magnitudes at three scales, fixed normalisation",
           "rsbench.metrics.gradient:sobel3", perfect=1.0, clips="range", per_band=False,
           min_side=24, placement=Placement(headline=True)),
    Metric("gssim.sobel3-zero@1", "higher", SCORE, "1", SAT26,
           "similarity of Sobel magnitudes at three scales, zero border, min-max per image",
           "rsbench.metrics.gradient:sobel3_zero", perfect=1.0, clips="range", per_band=False,
           min_side=8, published=True),
    Metric("gssim.chen2006@1", "higher", SCORE, "1", CHEN06,
           "luminance of the images, contrast and structure of their gradients",
           "rsbench.metrics.gradient:chen2006", perfect=1.0, clips="range", min_side=6),
    _ergas(1, "forecasting"), _ergas(16, "16:1 fusion"), _ergas(20, "20:1 fusion"),
    Metric("sam@1", "lower", (0.0, 180.0), "degree", KRUSE93,
           "mean spectral angle over pixels", "rsbench.metrics.spectral:sam",
           perfect=0.0, per_band=False, min_bands=2, pixelwise=True),
    Metric("cc@1", "higher", SCORE, "1", "Pearson 1895, doi 10.1098/rspl.1895.0041",
           "correlation over pixels, per band", "rsbench.metrics.spectral:cc", perfect=1.0,
           min_side=2, pixelwise=True),
    Metric("uiqi@1", "higher", SCORE, "1", WANG02,
           "universal quality index, 8×8 box", "rsbench.metrics.structure:uiqi", perfect=1.0,
           min_side=8),
    Metric("spectrum.ratio@1", "zero", (None, None), "log10", "this project",
           "log10 of predicted over true power at 0.25–0.5 cycles per pixel",
           "rsbench.metrics.spectrum:ratio", perfect=0.0, min_side=16,
           placement=Placement(axis="perception", axis_order=6)),
    Metric("edge.roberts@1", "zero", SCORE, "1", ZHU22,
           "mean normalised difference of Roberts' edges; below 0 is too smooth",
           "rsbench.metrics.gradient_local:edge", perfect=0.0, min_side=2),
    Metric("texture.lbp@1", "zero", SCORE, "1", ZHU22,
           "mean normalised difference of 3×3 local binary patterns",
           "rsbench.metrics.gradient_local:texture", perfect=0.0, min_side=3),
    *(_lpips(net) for net in BACKBONES),
)  # fmt: skip
