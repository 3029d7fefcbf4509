"""Suites: named lists of metric ids."""

from __future__ import annotations

from rsbench.core.errors import unknown
from rsbench.metrics.registry import info


def _ids(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Conditioned on the truth: one of them alone misleads, so a suite has all or none.
CHANGE = _ids("rmse.changed@1 rmse.unchanged@1 change.hit@1 change.false@1 change.csi@1")

_SAT_JEPA_DIFF = "mae.clip@1 mse.clip@1 psnr.clip@1 ssim.zero@1 gssim.sobel3-zero@1 "
_FUSION_CODES = ("stfdiff", "gpstfdiff", "swinstfm", "edcstfn", "libstf")

# Definitions of published code, to read older tables with; no protocol takes them.
PUBLISHED: dict[str, tuple[str, ...]] = {
    # Entries of models: evaluate.py.
    "published.sat-jepa-diff": _ids(_SAT_JEPA_DIFF + "lpips.vgg-raw@1 fid.inception64-raw@1"),
    # The entry "Default", a copy of last year: calculate_original_scores.py.
    "published.sat-jepa-diff-default": _ids(
        _SAT_JEPA_DIFF + "lpips.alex-raw@1 fid.inception2048-wrap@1"
    ),
    "published.segmentation": _ids("miou.batchmean@1 miou.pangaea@1"),
    "published.openstl": _ids("mse.openstl@1 mae.openstl@1 ssim.openstl@1"),
    **{f"published.{code}": (f"ergas.{code}@1", f"sam.{code}@1") for code in _FUSION_CODES},
    "published.fusion": tuple(f"{m}.{code}@1" for m in ("ergas", "sam") for code in _FUSION_CODES),
}

SUITES: dict[str, tuple[str, ...]] = {
    "pixel": _ids("mae@1 mse@1 rmse@1 psnr@1"),
    "standard": _ids(
        "mae@1 mse@1 rmse@1 psnr@1 ssim@1 gssim.sobel3@1 ergas.r1@1 sam@1 cc@1 spectrum.ratio@1"
    ),
    # Of one image, without weights, with every definition of SSIM and GSSIM.
    "full": _ids(
        "mae@1 mse@1 rmse@1 psnr@1 ssim@1 ssim.l03@1 ssim.blur2@1 gssim.sobel3@1 "
        "gssim.sobel3-zero@1 gssim.chen2006@1 ergas.r1@1 sam@1 cc@1 uiqi@1 spectrum.ratio@1"
    ),
    # Needs weights, and red, green and blue.
    "perceptual": _ids("lpips.alex@1 lpips.squeeze@1 lpips.vgg@1"),
    # Of whole sets of images; the Inception ones need weights, and red, green and blue.
    "distribution": _ids("fd.texture@1 mmd.rbf@1 fid.inception2048@1 kid.inception2048@1"),
    # Of class probabilities against a map of classes.
    "classes": _ids("miou@1 miou.truth@1 iou@1 mf1@1 f1@1 oa@1 macc@1 brier@1 ece.15@1"),
    "ensemble": _ids("crps.fair@1 spread.skill@1 rank.deviation@1"),
    "change": CHANGE,
    "fusion": (
        *_ids("mae@1 rmse@1 psnr@1 ssim@1 ergas.r16@1 sam@1 cc@1 uiqi@1"),
        *_ids("edge.roberts@1 texture.lbp@1"),
        *CHANGE,
    ),
    **PUBLISHED,
}


def suite(name: str) -> tuple[str, ...]:
    """Return the ids of suites and single ids, several joined by commas, each once.

    One metric of change adds the other metrics of change.

    Args:
        name: suites and ids.

    Raises:
        UnknownName: for a name that is neither.
    """
    found: dict[str, None] = {}
    for part in name.replace(",", " ").split():
        if part in SUITES:
            found |= dict.fromkeys(SUITES[part])
        elif "@" in part:
            found[info(part).id] = None
        else:
            raise unknown("suite", part, SUITES)
    if not found.keys().isdisjoint(CHANGE):
        found |= dict.fromkeys(CHANGE)
    if not found:
        raise unknown("suite", name, SUITES)
    return tuple(found)


def for_bands(
    ids: tuple[str, ...],
    bands: int,
    *,
    rgb: bool = True,
    members: int = 2,
    start: bool = True,
    ratio: int | None = None,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the ids that can run on such data, and the reason for each of the others.

    ``sam@1`` needs two bands, LPIPS needs red, green and blue (``rgb``) and its weights, a metric
    of change an earlier frame of what is predicted (``start``), a metric of coarser pixels their
    ``ratio``: without these it has no value, and the reason is returned.

    Args:
        ids: metric ids.
        bands: number of bands of the data.
        rgb: whether the data name red, green and blue.
        members: ensemble members.
        start: whether there is an earlier frame of what is predicted.
        ratio: predicted pixels along one side of a given pixel, where there are any.

    Raises:
        UnknownName: for an id that no installed package defines.
    """
    kept, dropped = [], {}
    for metric in ids:
        known = info(metric)
        if bands < known.min_bands:
            dropped[metric] = f"needs {known.min_bands} bands, the data have {bands}"
        elif known.rgb and not rgb:
            dropped[metric] = (
                "uses red, green and blue, which the data do not name; "
                "import-dataset --rgb NAMES states them"
            )
        elif known.kind == "change" and not start:
            dropped[metric] = "needs an earlier image of what is predicted, and none is given"
        elif known.coarser and ratio is None:
            dropped[metric] = "needs a coarser image of the same date, and none is given"
        elif known.kind == "members" and members < 2:
            dropped[metric] = "scores ensembles, and one member was asked for (--members)"
        elif not known.available:
            dropped[metric] = str(known.reason)
        else:
            kept.append(metric)
    return tuple(kept), dropped
