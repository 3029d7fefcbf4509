"""Every metric id of this version."""

from __future__ import annotations

from rsbench.metrics.catalogue_published import PUBLISHED
from rsbench.metrics.entry import ANY, SCORE, UNIT, Direction, Entry, entry

WANG04 = "Wang, Bovik, Sheikh and Simoncelli 2004, doi 10.1109/TIP.2003.819861"
CHEN06 = "Chen, Yang and Xie 2006, doi 10.1109/ICIP.2006.313132"
WALD00 = "Wald 2000, Quality of high resolution synthesised images: is there a simple criterion?"
KRUSE93 = "Kruse et al. 1993, doi 10.1016/0034-4257(93)90013-N"
WANG02 = "Wang and Bovik 2002, doi 10.1109/97.995823"
ZHU22 = "Zhu et al. 2022, doi 10.1016/j.rse.2022.113002, as commonly quoted"
SAT26 = "Sat-JEPA-Diff 2026, arXiv 2603.13943"
ZHANG18 = "Zhang et al. 2018, arXiv 1801.03924"
BACKBONES = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet"}


def _ergas(ratio: int, use: str) -> Entry:
    return entry(
        f"ergas.r{ratio}@1", "lower", UNIT, "1", WALD00,
        f"relative error over bands, coarse/fine pixel ratio {ratio} ({use})",
        "spectral:ergas", perfect=0.0, per_band=False, ratio=ratio,
    )  # fmt: skip


def _lpips(net: str) -> Entry:
    return entry(
        f"lpips.{net}@1", "lower", UNIT, "1", ZHANG18,
        f"perceptual distance of display@1 pictures, {net} features, version 0.1",
        "perceptual:lpips", perfect=0.0, per_band=False, min_bands=3, min_side=32,
        needs=(BACKBONES[net], f"lpips-{net}"), rgb=True, net=net,
    )  # fmt: skip


def _pixels() -> tuple[Entry, ...]:
    return (
        entry("mae@1", "lower", UNIT, "data", "arithmetic", "mean absolute error",
              "pixel:mae", perfect=0.0),
        entry("mse@1", "lower", UNIT, "data²", "arithmetic", "mean squared error",
              "pixel:mse", perfect=0.0),
        entry("rmse@1", "lower", UNIT, "data", "arithmetic", "root mean squared error per image",
              "pixel:rmse", perfect=0.0),
        entry("psnr@1", "higher", (None, 100.0), "dB", "arithmetic",
              "peak signal-to-noise ratio per image, capped at 100 dB",
              "pixel:psnr", perfect=100.0),
        entry("ssim@1", "higher", SCORE, "1", WANG04,
              "structural similarity, Gaussian 11/1.5, reflect border, whole map",
              "structure:ssim", perfect=1.0, min_side=6),
        entry("ssim.l03@1", "higher", SCORE, "1", WANG04,
              "structural similarity with constants for 0.3 of the data range",
              "structure:ssim", perfect=1.0, min_side=6, constant_range=0.3),
        entry("ssim.blur2@1", "higher", SCORE, "1", SAT26,
              "similarity of blurred images (σ 2, zero border), published as GSSIM",
              "structure:ssim_blur2", perfect=1.0, published=True),
        entry("gssim.sobel3@1", "higher", SCORE, "1", "this project, after " + SAT26,
              "similarity of Sobel magnitudes at three scales, fixed normalisation",
              "gradient:sobel3", perfect=1.0, per_band=False, min_side=24),
        entry("gssim.sobel3-zero@1", "higher", SCORE, "1", SAT26,
              "similarity of Sobel magnitudes at three scales, zero border, min-max per image",
              "gradient:sobel3_zero", perfect=1.0, per_band=False, min_side=8, published=True),
        entry("gssim.chen2006@1", "higher", SCORE, "1", CHEN06,
              "luminance of the images, contrast and structure of their gradients",
              "gradient:chen2006", perfect=1.0, min_side=6),
        _ergas(1, "forecasting"), _ergas(16, "16:1 fusion"), _ergas(20, "20:1 fusion"),
        entry("sam@1", "lower", (0.0, 180.0), "degree", KRUSE93,
              "mean spectral angle over pixels", "spectral:sam",
              perfect=0.0, per_band=False, min_bands=2),
        entry("cc@1", "higher", SCORE, "1", "Pearson 1895, doi 10.1098/rspl.1895.0041",
              "correlation over pixels, per band", "spectral:cc", perfect=1.0, min_side=2),
        entry("uiqi@1", "higher", SCORE, "1", WANG02,
              "universal quality index, 8×8 box", "structure:uiqi", perfect=1.0, min_side=8),
        entry("spectrum.ratio@1", "zero", (None, None), "log10", "this project",
              "log10 of predicted over true power at 0.25–0.5 cycles per pixel",
              "spectrum:ratio", perfect=0.0, min_side=16),
        entry("edge.roberts@1", "zero", SCORE, "1", ZHU22,
              "mean normalised difference of Roberts' edges; below 0 is too smooth",
              "gradient_local:edge", perfect=0.0, min_side=2),
        entry("texture.lbp@1", "zero", SCORE, "1", ZHU22,
              "mean normalised difference of 3×3 local binary patterns",
              "gradient_local:texture", perfect=0.0, min_side=3),
        *(_lpips(net) for net in BACKBONES),
    )  # fmt: skip


def _inception(metric: str, tap: int, source: str, title: str, where: str) -> Entry:
    return entry(
        metric, "lower", ANY if where.endswith("mmd") else UNIT, "1", source, title, where,
        perfect=0.0, kind="set", per_band=False, min_bands=3, needs=("inception",), rgb=True,
        features=f"inception{tap}",
    )  # fmt: skip


def _sets() -> tuple[Entry, ...]:
    texture = "spectral and texture features of every band, standardised by the truth"
    return (
        *(
            _inception(f"fid.inception{tap}@1", tap, HEUSEL17,
                       f"Fréchet distance of {tap} Inception features of display@1 pictures",
                       "frechet:frechet")
            for tap in (64, 192, 768, 2048)
        ),
        _inception("kid.inception2048@1", 2048, "Bińkowski et al. 2018, arXiv 1801.01401",
                   "unbiased polynomial MMD² of Inception features, all pairs",
                   "frechet:polynomial_mmd"),
        entry("mmd.rbf@1", "lower", ANY, "1",
              "Gretton et al. 2012, Journal of Machine Learning Research 13",
              f"unbiased MMD² with a Gaussian kernel of {texture}", "frechet:rbf_mmd",
              perfect=0.0, kind="set", per_band=False, min_side=4, features="texture"),
        entry("fd.texture@1", "lower", UNIT, "1", "this project",
              f"Fréchet distance of {texture}", "frechet:texture_frechet",
              perfect=0.0, kind="set", per_band=False, min_side=4, features="texture"),
    )  # fmt: skip


def _members() -> tuple[Entry, ...]:
    return (
        entry("crps.fair@1", "lower", ANY, "data", "Ferro 2014, doi 10.1002/qj.2270",
              "fair continuous ranked probability score of all members", "ensemble:crps",
              perfect=0.0, kind="members"),
        entry("spread.skill@1", "zero", ANY, "log10",
              "Fortin et al. 2014, doi 10.1175/JHM-D-14-0008.1",
              "log10 of ensemble spread over error of the mean", "ensemble:spread_skill",
              perfect=None, kind="members"),
        entry("rank.deviation@1", "lower", (0.0, 2.0), "1",
              "Delle Monache et al. 2006, doi 10.1029/2005JD006917",
              "deviation of the rank histogram from a flat one", "ensemble:rank_deviation",
              perfect=None, kind="members", per_band=False),
    )  # fmt: skip


def _change(
    metric: str, direction: Direction, unit: str, title: str, where: str, perfect: float
) -> Entry:
    return entry(
        metric, direction, UNIT if unit == "data" else (0.0, 1.0), unit, "this project", title,
        f"change:{where}", perfect=perfect, kind="change", per_band=unit == "data", ranked=False,
    )  # fmt: skip


def _changes() -> tuple[Entry, ...]:
    return (
        _change("rmse.changed@1", "lower", "data",
                "error where the truth changed since the last context frame or first reference",
                "rmse_changed", 0.0),
        _change("rmse.unchanged@1", "lower", "data",
                "error where the truth did not change", "rmse_unchanged", 0.0),
        _change("change.hit@1", "higher", "1", "share of changed pixels predicted to change",
                "hit", 1.0),
        _change("change.false@1", "lower", "1", "share of unchanged pixels predicted to change",
                "false_change", 0.0),
        _change("change.csi@1", "higher", "1", "critical success index of change", "csi", 1.0),
    )  # fmt: skip


HEUSEL17 = "Heusel et al. 2017, arXiv 1706.08500"

ENTRIES: tuple[Entry, ...] = (
    *_pixels(),
    *_sets(),
    *_members(),
    *_changes(),
    *PUBLISHED,
)
