"""RGB images for networks and for display, under one fixed transfer function.

``display@1`` of reflectance ρ is ``clip(ρ / 0.6, 0, 1) ** (1 / 2.2)``; other units are scaled by
the data range. It never depends on the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch

from rsbench.catalog.models_sensor import Unit
from rsbench.core.errors import InputError
from rsbench.metrics.rgb import GAMMA, WHITE, RgbMapping

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.metrics.images import ImageBatch, ImagePairs
    from rsbench.metrics.metric import Metric

SMALLEST_VALID = 0.7
"""Share of valid pixels below which an image has no value of a network-based metric."""


@dataclass(frozen=True)
class RgbPair:
    """Red, green and blue of predictions and truths.

    Args:
        prediction, truth: (n, 3, H, W) float32 in [0, 1]; invalid pixels hold the truth's mean.
        ok: (n,) bool, images with enough valid pixels.
        counts: elements, elements outside the displayed range, images with few valid pixels.
    """

    prediction: Tensor
    truth: Tensor
    ok: Tensor
    counts: dict[str, int]


def rgb_of(
    images: ImageBatch | ImagePairs, *, raw: bool = False, asked: str = "an RGB metric"
) -> RgbMapping:
    """Return the images' RGB mapping.

    Args:
        images: checked image pairs.
        raw: whether bands are scaled by the data range; otherwise display@1 needs their unit.
        asked: what needs it, for the message.

    Raises:
        InputError: if the mapping or the unit is not stated.
    """
    if images.rgb is None:
        raise InputError(
            asked, f"the images have {images.truth.shape[1]} bands and it needs red, green and "
            "blue", "Pass display=RgbMapping((red, green, blue), unit), or three bands",
        )  # fmt: skip
    if images.rgb.unit is None and not raw:
        raise InputError(
            asked,
            "it sees images under display@1, and the unit of the data is not stated",
            f"Pass unit= one of {', '.join(get_args(Unit))}; metrics with -raw in their id scale "
            "the bands by the data range instead",
        )
    return images.rgb


def require_rgb(metric: Metric, images: ImagePairs) -> None:
    """Raise InputError if a metric needs bands or a unit that are not stated."""
    if metric.rgb:
        rgb_of(images, raw=metric.clips != "display", asked=f"metric {metric.id!r}")


def shown_range(images: ImageBatch, *, raw: bool = False) -> tuple[float, float]:
    """Return the values that become 0 and 1; those beyond are clipped."""
    reflectance = rgb_of(images, raw=raw).unit == "reflectance" and not raw
    return (0.0, WHITE) if reflectance else (images.low, images.high)


def rgb_pair(images: ImageBatch, *, raw: bool = False) -> RgbPair:
    """Return both images under display@1, or scaled by the data range where ``raw``.

    Raises:
        InputError: if the bands or, for display@1, the unit are not stated.
    """
    return images.share(f"rgb pair {raw}", lambda: _rgb_pair(images, raw=raw))


def _rgb_pair(images: ImageBatch, *, raw: bool) -> RgbPair:
    rgb = rgb_of(images, raw=raw)
    chosen = list(rgb.bands)
    p, t = images.prediction[:, chosen].float(), images.truth[:, chosen].float()
    valid, ok = None, torch.ones(len(t), dtype=torch.bool, device=t.device)
    if images.all_bands is not None:
        valid = images.all_bands
        share = valid.float().mean((1, 2, 3))
        ok = share >= SMALLEST_VALID
        number = valid.sum((-1, -2), keepdim=True).clamp_min(1)
        mean = (t * valid).sum((-1, -2), keepdim=True) / number
        p, t = torch.where(valid, p, mean), torch.where(valid, t, mean)
    low, high = shown_range(images, raw=raw)
    counts = {"elements": t.numel(), "few_valid": int((~ok).sum())}
    for name, x in (("prediction", p), ("truth", t)):
        counts[f"clipped_{name}"] = int(((x < low) | (x > high)).sum())
    p, t = (((x - low) / (high - low)).clamp_(0.0, 1.0) for x in (p, t))
    if rgb.unit == "reflectance" and not raw:
        p, t = p.pow_(1.0 / GAMMA), t.pow_(1.0 / GAMMA)
    device = rgb.device or t.device
    return RgbPair(p.to(device), t.to(device), ok.to(device), counts)
