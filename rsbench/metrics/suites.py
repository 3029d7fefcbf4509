"""Named lists of metric ids, so that two tables with one suite hold the same columns."""

from __future__ import annotations

from rsbench.errors import unknown
from rsbench.metrics.base import info

SUITES: dict[str, tuple[str, ...]] = {
    "pixel": ("mae@1", "mse@1", "rmse@1", "psnr@1"),
    "standard": (
        "mae@1",
        "mse@1",
        "rmse@1",
        "psnr@1",
        "ssim@1",
        "gssim.sobel3@1",
        "ergas.r1@1",
        "sam@1",
        "cc@1",
        "spectrum.ratio@1",
    ),
    # Every weight-free definition, those kept for reading older tables included.
    "full": (
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
        "sam@1",
        "cc@1",
        "uiqi@1",
        "spectrum.ratio@1",
    ),
    "fusion": ("mae@1", "rmse@1", "psnr@1", "ssim@1", "ergas.r16@1", "sam@1", "cc@1", "uiqi@1"),
}


def suite(name: str) -> tuple[str, ...]:
    """Return the ids of a suite; ids of one metric may be given in place of a suite's name."""
    if name in SUITES:
        return SUITES[name]
    if "@" in name:
        return (info(name).id,)
    raise unknown("suite", name, SUITES)


def for_bands(ids: tuple[str, ...], bands: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """Split ids into those that this many bands allow and the reason for each of the others.

    ``sam@1`` needs two bands: on one band it is absent with its reason, never a number.
    """
    kept, dropped = [], {}
    for metric in ids:
        needed = info(metric).min_bands
        if bands >= needed:
            kept.append(metric)
        else:
            dropped[metric] = f"needs {needed} bands, the data have {bands}"
    return tuple(kept), dropped
