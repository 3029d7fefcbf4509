"""What metrics there are: ids, directions, ranges, units and sources, without importing torch.

An id is ``name@version``. The definition under an id never changes; a changed definition gets a
new version. Functions stand in their own modules and are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rsbench.errors import MetricUnavailable, UnknownName, unknown

Direction = Literal["higher", "lower", "zero"]
Kind = Literal["image", "set", "members", "change"]


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """One metric: its id, how to read its values, where it comes from, and whether it runs here.

    ``direction`` says which values are better; ``zero`` means nearer to zero.
    ``range`` holds the smallest and largest value, None where there is no bound.
    ``perfect`` is the value of a prediction equal to the truth (used by skill scores).
    ``kind`` is ``image`` for one value per image pair, ``set`` for one value per set of images,
    ``members`` for ensembles, ``change`` where the context is needed as well.
    """

    id: str
    direction: Direction
    range: tuple[float | None, float | None]
    unit: str
    source: str
    available: bool
    reason: str | None
    title: str
    kind: Kind
    perfect: float | None
    per_band: bool
    min_bands: int
    min_side: int


@dataclass(frozen=True, slots=True)
class _Entry:
    info: MetricInfo
    where: str | None  # "module:function" below rsbench.metrics
    options: dict[str, Any]


_WANG04 = "Wang, Bovik, Sheikh and Simoncelli 2004, doi 10.1109/TIP.2003.819861"
_CHEN06 = "Chen, Yang and Xie 2006, doi 10.1109/ICIP.2006.313132"
_WALD00 = "Wald 2000, Quality of high resolution synthesised images: is there a simple criterion?"
_KRUSE93 = "Kruse et al. 1993, doi 10.1016/0034-4257(93)90013-N"
_WANG02 = "Wang and Bovik 2002, doi 10.1109/97.995823"
_SAT26 = "Sat-JEPA-Diff 2026, arXiv 2603.13943"
_HEUSEL17 = "Heusel et al. 2017, arXiv 1706.08500"
_ZHANG18 = "Zhang et al. 2018, arXiv 1801.03924"
_LATER = "not part of this version of rsbench"


def _image(
    metric: str,
    direction: Direction,
    bounds: tuple[float | None, float | None],
    unit: str,
    source: str,
    title: str,
    where: str,
    *,
    perfect: float,
    per_band: bool = True,
    min_bands: int = 1,
    min_side: int = 1,
    **options: Any,
) -> _Entry:
    info = MetricInfo(
        metric, direction, bounds, unit, source, True, None, title, "image",
        perfect, per_band, min_bands, min_side,
    )  # fmt: skip
    return _Entry(info, where, options)


def _later(
    metric: str,
    direction: Direction,
    bounds: tuple[float | None, float | None],
    unit: str,
    source: str,
    title: str,
    kind: Kind,
    perfect: float,
) -> _Entry:
    info = MetricInfo(
        metric, direction, bounds, unit, source, False, _LATER, title, kind, perfect, False, 1, 1
    )
    return _Entry(info, None, {})


def _ergas(ratio: int, use: str) -> _Entry:
    return _image(
        f"ergas.r{ratio}@1", "lower", (0.0, None), "1", _WALD00,
        f"relative error over bands, coarse/fine pixel ratio {ratio} ({use})",
        "spectral:ergas", perfect=0.0, per_band=False, ratio=ratio,
    )  # fmt: skip


def _entries() -> tuple[_Entry, ...]:
    unit, score = (0.0, None), (-1.0, 1.0)
    return (
        _image("mae@1", "lower", unit, "data", "arithmetic", "mean absolute error",
               "pixel:mae", perfect=0.0),
        _image("mse@1", "lower", unit, "data²", "arithmetic", "mean squared error",
               "pixel:mse", perfect=0.0),
        _image("rmse@1", "lower", unit, "data", "arithmetic", "root mean squared error per image",
               "pixel:rmse", perfect=0.0),
        _image("psnr@1", "higher", (None, 100.0), "dB", "arithmetic",
               "peak signal-to-noise ratio per image, capped at 100 dB",
               "pixel:psnr", perfect=100.0),
        _image("ssim@1", "higher", score, "1", _WANG04,
               "structural similarity, Gaussian 11/1.5, reflect border, whole map",
               "structure:ssim", perfect=1.0, min_side=6),
        _image("ssim.l03@1", "higher", score, "1", _WANG04,
               "structural similarity with constants for 0.3 of the data range",
               "structure:ssim", perfect=1.0, min_side=6, constant_range=0.3),
        _image("ssim.blur2@1", "higher", score, "1", _SAT26,
               "similarity of blurred images (σ 2, zero border), published as GSSIM",
               "structure:ssim_blur2", perfect=1.0),
        _image("gssim.sobel3@1", "higher", score, "1", "this project, after " + _SAT26,
               "similarity of Sobel magnitudes at three scales, fixed normalisation",
               "gradient:sobel3", perfect=1.0, per_band=False, min_side=24),
        _image("gssim.sobel3-zero@1", "higher", score, "1", _SAT26,
               "similarity of Sobel magnitudes at three scales, zero border, min-max per image",
               "gradient:sobel3_zero", perfect=1.0, per_band=False, min_side=8),
        _image("gssim.chen2006@1", "higher", score, "1", _CHEN06,
               "luminance of the images, contrast and structure of their gradients",
               "gradient:chen2006", perfect=1.0, min_side=6),
        _ergas(1, "forecasting"), _ergas(16, "16:1 fusion"), _ergas(20, "20:1 fusion"),
        _image("sam@1", "lower", (0.0, 180.0), "degree", _KRUSE93,
               "mean spectral angle over pixels", "spectral:sam",
               perfect=0.0, per_band=False, min_bands=2),
        _image("cc@1", "higher", score, "1", "Pearson 1895, doi 10.1098/rspl.1895.0041",
               "correlation over pixels, per band", "spectral:cc", perfect=1.0, min_side=2),
        _image("uiqi@1", "higher", score, "1", _WANG02,
               "universal quality index, 8×8 box", "structure:uiqi", perfect=1.0, min_side=8),
        _image("spectrum.ratio@1", "zero", (None, None), "log10", "this project",
               "log10 of predicted over true power at 0.25–0.5 cycles per pixel",
               "spectrum:ratio", perfect=0.0, min_side=16),
        *(_later(f"lpips.{net}@1", "lower", unit, "1", _ZHANG18,
                 f"perceptual distance, {net} features", "image", 0.0)
          for net in ("alex", "vgg", "squeeze")),
        *(_later(f"fid.inception{d}@1", "lower", unit, "1", _HEUSEL17,
                 f"Fréchet distance of {d} Inception features", "set", 0.0)
          for d in (64, 192, 768, 2048)),
        _later("kid.inception2048@1", "lower", (None, None), "1",
               "Bińkowski et al. 2018, arXiv 1801.01401",
               "unbiased polynomial MMD of Inception features", "set", 0.0),
        _later("mmd.rbf@1", "lower", (None, None), "1",
               "Gretton et al. 2012, Journal of Machine Learning Research 13",
               "unbiased MMD with a Gaussian kernel", "set", 0.0),
        _later("fd.texture@1", "lower", unit, "1", "this project",
               "Fréchet distance of spectral and texture features of all bands", "set", 0.0),
        _later("crps.fair@1", "lower", (None, None), "data",
               "Ferro 2014, doi 10.1002/qj.2270", "fair continuous ranked probability score",
               "members", 0.0),
        _later("rmse.changed@1", "lower", unit, "data", "this project",
               "error where the truth changed", "change", 0.0),
    )  # fmt: skip


_REGISTRY: dict[str, _Entry] = {entry.info.id: entry for entry in _entries()}


def metric_info() -> tuple[MetricInfo, ...]:
    """List every metric id this version knows, available or not."""
    return tuple(entry.info for entry in _REGISTRY.values())


def info(metric: str) -> MetricInfo:
    """Describe one metric; an unknown id says what was probably meant."""
    return _entry(metric).info


def implementation(metric: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Load the function behind an id and the options the id stands for."""
    entry = _entry(metric)
    if entry.where is None:
        raise MetricUnavailable(
            f"metric {metric!r}",
            entry.info.reason or _LATER,
            "Leave it out; `rsbench metrics` lists what can run here",
        )
    module, _, function = entry.where.partition(":")
    found = getattr(importlib.import_module(f"rsbench.metrics.{module}"), function)
    return found, entry.options


def _entry(metric: str) -> _Entry:
    if metric in _REGISTRY:
        return _REGISTRY[metric]
    name, at, version = metric.partition("@")
    versions = sorted(known for known in _REGISTRY if known.partition("@")[0] == name)
    if versions and at and version.isdigit():
        raise UnknownName(
            f"metric {metric!r}",
            f"this version of rsbench defines {', '.join(versions)}",
            f"Use a newer rsbench for version {version}, or ask for {versions[-1]}: "
            "another version is another definition",
        )
    if versions:
        raise UnknownName(
            f"metric {metric!r}", "an id carries its version", f"Did you mean {versions[-1]}?"
        )
    raise unknown("metric", metric, _REGISTRY)
