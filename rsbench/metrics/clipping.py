"""Images outside the range that a metric clips to: shares, and the rule from when on no value is.

Two images that are clipped to the same end of the range look equal, whatever they hold. A metric
that clips therefore has no value for an image of which a band lies mostly outside, in prediction or
truth. Values that are beyond the range by at most ``MARGIN`` of its width are clipped as well but
do not count as outside: clipping moves them by less than SSIM resolves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.display import rgb_of, shown_range
from rsbench.metrics.images import ImageBatch, PerImage
from rsbench.metrics.metric import MARGIN, MOST_OUTSIDE, MOST_SATURATED, OUTSIDE, Metric
from rsbench.metrics.rgb import WHITE


@dataclass(frozen=True)
class Clipping:
    """What one metric clips in a batch.

    Args:
        clipped: (n, 2, C) float64, share of the valid pixels of prediction and truth that are
            clipped.
        mostly: (n, 2, C) bool, bands of prediction and truth that lie mostly outside.
    """

    clipped: Tensor
    mostly: Tensor

    @property
    def outside(self) -> Tensor:
        """Images of which any band lies mostly outside, (n,) bool."""
        return self.mostly.flatten(1).any(1)


def clipping(metric: Metric, images: ImageBatch) -> Clipping | None:
    """Return what a metric clips, on the CPU; None for a metric that clips nothing."""
    if metric.clips is None:
        return None
    bands = rgb_of(images, raw=metric.clips == "range").bands if metric.rgb else None
    found = images.share(
        f"clipping {bands}", lambda: _clipping(images, (images.low, images.high), bands)
    )
    if metric.clips == "range":
        return found
    shown = shown_range(images)
    if shown == (images.low, images.high):
        return found
    seen = images.share(
        f"saturation {bands}", lambda: _clipping(images, shown, bands, MOST_SATURATED)
    )
    return replace(seen, mostly=seen.mostly | found.mostly)


def _clipping(
    images: ImageBatch, bounds: tuple[float, float], bands: tuple[int, ...] | None,
    most: float = MOST_OUTSIDE,
) -> Clipping:  # fmt: skip
    valid = images.valid if bands is None else images.all_bands
    chosen = slice(None) if bands is None else list(bands)
    low, high = bounds
    margin = MARGIN * (high - low)
    clipped, far = [], []
    for x in (images.prediction[:, chosen], images.truth[:, chosen]):
        reach = tuple(float(end) for end in x.aminmax())
        clipped.append(beyond(x, valid, (low, high), reach))
        far.append(beyond(x, valid, (low - margin, high + margin), reach))
    return Clipping(torch.stack(clipped, 1), torch.stack(far, 1) > most)


def beyond(
    x: Tensor, valid: Tensor | None, bounds: tuple[float, float], reach: tuple[float, ...]
) -> Tensor:
    """Return the share of the valid pixels of a band out of bounds: (n, C) float64, on the CPU.

    ``reach`` is the smallest and the largest value of all.
    """
    n, bands, height, width = x.shape
    low, high = bounds
    if reach[0] >= low and reach[1] <= high:
        return torch.zeros(n, bands, dtype=torch.float64)
    outside = (x < low) | (x > high)
    if valid is None:
        return outside.sum((-1, -2)).double().cpu() / (height * width)
    number = valid.sum((-1, -2)).double().clamp_min(1.0)
    return ((outside & valid).sum((-1, -2)).double() / number).cpu()


def within(found: PerImage, metric: Metric, images: ImageBatch) -> PerImage:
    """Return the values without those of images that lie mostly outside, and what was clipped."""
    cut = clipping(metric, images)
    if cut is None:
        return found
    outside = cut.outside
    counts = dict(found.counts) | {OUTSIDE: int(outside.sum())}
    found = replace(found, counts=counts, clipped=cut.clipped, outside=outside)
    if not bool(outside.any()):
        return found
    per_band, band_ok = found.per_band, found.band_ok
    if per_band is not None and band_ok is not None:
        band_ok = band_ok & ~cut.mostly.any(1)
        per_band = per_band.masked_fill(~band_ok, math.nan)
    return replace(
        found, value=found.value.masked_fill(outside, math.nan), ok=found.ok & ~outside,
        per_band=per_band, band_ok=band_ok,
    )  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """What a call of the public API was given, for the message of a refusal."""

    prediction: Tensor
    truth: Tensor
    valid: Tensor | None
    data_range: float | tuple[float, float]
    unit: str | None


def refusal(metric: Metric, outside: Tensor, given: Scored) -> InputError:
    """Return the error for images (N,) bool that lie mostly outside."""
    where = torch.nonzero(outside).flatten().tolist()
    shown = ", ".join(map(str, where[:8])) + (" …" if len(where) > 8 else "")
    least, most = _extremes(given)
    seen = metric.clips == "display" and given.unit == "reflectance"
    what = f"data_range={given.data_range}"
    what += f" or 0 … {WHITE}, which display@1 shows of reflectance" if seen else ""
    return InputError(
        f"metric {metric.id!r}",
        f"{len(where)} of {len(outside)} images ({shown}) lie mostly outside {what}; it clips both "
        f"images; the values span {least:.6g} … {most:.6g}",
        _remedy(given, least, most, seen=seen),
    )


def _remedy(given: Scored, least: float, most: float, *, seen: bool) -> str:
    if seen:
        return (
            "Convert the images to reflectance, and leave out those that are mostly negative or "
            f"brighter than {WHITE}"
        )
    remedy = "Pass the range of the data as a pair (low, high), or convert the data to its unit"
    if isinstance(given.data_range, tuple | list) or most - least > given.data_range:
        return remedy
    width = f"{given.data_range:g}"
    return (
        f"{remedy}. A number means 0 … {width} here; data_range of torchmetrics is the width "
        f"max − min, for which the pair is (low, low + {width})"
    )


def _extremes(given: Scored) -> tuple[float, float]:
    """Return the smallest and the largest valid value of both."""
    pairs = [x if given.valid is None else x[given.valid.expand_as(x)]
             for x in (given.prediction, given.truth)]  # fmt: skip
    return min(float(x.min()) for x in pairs), max(float(x.max()) for x in pairs)
