"""Scores where the truth changed since the last context frame, and where it did not.

In fusion the frame that change is counted from is the fine image of the first reference.

Change is a change-vector magnitude √Σ_b (t_b − c_b)² above three times the noise, in groups of at
least nine pixels that touch (edges or corners). The noise is √Σ_b σ_b² with σ_b = 1.4826 · median
|t_b − c_b| of the image, at least 0.5 % of the data range: half of an image may change before it
grows, and a shift of all pixels alike is no change. Pixels count where all bands of truth and
context are valid. These values are conditioned on the truth: shown together, never ranked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from rsbench.core.errors import InputError
from rsbench.metrics.images import ImageBatch, PerImage, total

TIMES_NOISE = 3.0
LEAST_PIXELS = 9
LEAST_NOISE = 0.005  # of the data range
MAD = 1.4826  # of a normal distribution, its deviation over its median absolute deviation


@dataclass(frozen=True)
class Change:
    """Where the truth changed and where the prediction did, (n, H, W) bool, and what counts."""

    true: Tensor
    predicted: Tensor
    valid: Tensor


def components(mask: Tensor, least: int) -> Tensor:
    """Keep the groups of touching pixels (8 neighbours) that hold at least ``least``: (n, H, W)."""
    n, height, width = mask.shape
    size = n * height * width
    number = torch.arange(size, dtype=torch.float64, device=mask.device).view(n, 1, height, width)
    inside = mask[:, None]
    # Each pixel takes the largest number in reach; jumping to that pixel's own number makes the
    # reach double, so long groups take few rounds.
    label = torch.where(inside, number, -1.0)
    while True:
        grown = torch.where(inside, max_pool2d(label, 3, stride=1, padding=1), -1.0)
        flat = grown.flatten()
        jumped = torch.where(flat >= 0, flat[flat.long().clamp_min(0)], flat).view_as(grown)
        if torch.equal(jumped, label):
            break
        label = jumped
    flat = label.flatten().long()
    sizes = torch.bincount(flat[flat >= 0], minlength=size)
    return (mask.flatten() & (sizes[flat.clamp_min(0)] >= least)).view_as(mask)


def change(images: ImageBatch) -> Change:
    """Find both changes, once for all metrics of a call."""
    return images.share("change", lambda: _change(images))


def _change(images: ImageBatch) -> Change:
    if images.before is None:
        raise InputError(
            "a metric of change", "the last context frame is not given",
            "Pass before=, (N, C, H, W) like the truth",
        )  # fmt: skip
    everywhere = torch.ones_like(images.truth[:, :1], dtype=torch.bool)
    valid = everywhere if images.all_bands is None else images.all_bands
    if images.before_valid is not None:
        valid = valid & images.before_valid.all(1, keepdim=True)
    noise = noise_of(images.truth - images.before, valid, images.span)
    found = [
        beyond(after - images.before, valid, noise) for after in (images.truth, images.prediction)
    ]
    return Change(found[0], found[1], valid[:, 0])


def noise_of(step: Tensor, valid: Tensor, span: float) -> Tensor:
    """Return the noise (n,) of steps (n, C, H, W) from one date to another, where valid."""
    known = torch.where(valid, step, torch.nan)
    middle = known.abs().flatten(2).nanmedian(2).values.nan_to_num()
    return (MAD * middle).clamp_min(LEAST_NOISE * span).square().sum(1).sqrt()


def beyond(step: Tensor, valid: Tensor, noise: Tensor) -> Tensor:
    """Return where steps (n, C, H, W) are changes, (n, H, W) bool."""
    magnitude = torch.where(valid, step, 0.0).square().sum(1).sqrt()
    above = (magnitude > TIMES_NOISE * noise[:, None, None]) & valid[:, 0]
    return components(above, LEAST_PIXELS)


def _rmse(images: ImageBatch, where: Tensor) -> PerImage:
    squared = (images.prediction - images.truth).square_().masked_fill_(~where[:, None], 0.0)
    sums = total(squared)
    number = where.sum((-1, -2)).double()
    bands = sums.shape[1]
    per_band = (sums / number[:, None]).sqrt()
    band_ok = (number > 0)[:, None].expand(-1, bands)
    value = (sums.sum(1) / (number * bands)).sqrt()
    return PerImage.of(
        value, number > 0, per_band=per_band, band_ok=band_ok, counts={"pixels": int(number.sum())}
    )


def rmse_changed(images: ImageBatch) -> PerImage:
    """Root mean squared error over the pixels where the truth changed; none: no value."""
    return _rmse(images, change(images).true)


def rmse_unchanged(images: ImageBatch) -> PerImage:
    """Root mean squared error over the valid pixels where the truth did not change."""
    found = change(images)
    return _rmse(images, found.valid & ~found.true)


def _share(part: Tensor, whole: Tensor) -> PerImage:
    above, below = (x.sum((-1, -2)).double() for x in (part, whole))
    return PerImage.of(above / below, below > 0)


def hit(images: ImageBatch) -> PerImage:
    """Share of the changed pixels where the prediction changed as well; higher is better."""
    found = change(images)
    return _share(found.true & found.predicted, found.true)


def false_change(images: ImageBatch) -> PerImage:
    """Share of the unchanged pixels where the prediction did change: invented; lower is better."""
    found = change(images)
    still = found.valid & ~found.true
    return _share(still & found.predicted, still)


def csi(images: ImageBatch) -> PerImage:
    """Critical success index, pixels changed in both over those changed in either."""
    found = change(images)
    return _share(found.true & found.predicted, found.true | found.predicted)
