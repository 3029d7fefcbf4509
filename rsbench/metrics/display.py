"""RGB images for networks and for display, under one fixed transfer function.

``display@1`` of reflectance ρ is ``clip(ρ / 0.6, 0, 1) ** (1 / 2.2)``; other units are scaled by
the data range. It never depends on the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rsbench.core.errors import InputError
from rsbench.metrics.rgb import RgbMapping

if TYPE_CHECKING:
    from torch import Tensor

    from rsbench.metrics.images import ImageBatch

WHITE = 0.6
GAMMA = 2.2
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


def rgb_of(images: ImageBatch) -> RgbMapping:
    """Return the images' RGB mapping; three bands without one are red, green and blue."""
    if images.rgb is not None:
        return images.rgb
    bands = images.truth.shape[1]
    if bands != 3:
        raise InputError(
            "a metric that sees red, green and blue",
            f"the images have {bands} bands and no RGB mapping is given",
            "Pass display=RgbMapping((red, green, blue), unit), or three bands",
        )
    return RgbMapping((0, 1, 2))


def rgb_pair(images: ImageBatch, *, raw: bool = False) -> RgbPair:
    """Return both images under display@1, or scaled by the data range where ``raw``."""
    return images.share(f"rgb pair {raw}", lambda: _rgb_pair(images, raw=raw))


def _rgb_pair(images: ImageBatch, *, raw: bool) -> RgbPair:
    rgb = rgb_of(images)
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
    reflectance = rgb.unit == "reflectance" and not raw
    low, high = (0.0, WHITE) if reflectance else (images.low, images.high)
    counts = {"elements": t.numel(), "few_valid": int((~ok).sum())}
    for name, x in (("prediction", p), ("truth", t)):
        counts[f"clipped_{name}"] = int(((x < low) | (x > high)).sum())
    p, t = (((x - low) / (high - low)).clamp_(0.0, 1.0) for x in (p, t))
    if reflectance:
        p, t = p.pow_(1.0 / GAMMA), t.pow_(1.0 / GAMMA)
    device = rgb.device or t.device
    return RgbPair(p.to(device), t.to(device), ok.to(device), counts)
