"""Compute several metrics in one pass: inputs are checked once, sums and blurred maps shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.checks import check_pairs, check_tensor
from rsbench.metrics.clipping import Scored, refusal, within
from rsbench.metrics.display import require_rgb
from rsbench.metrics.images import ImageOptions, ImagePairs, PerImage
from rsbench.metrics.precision import products
from rsbench.metrics.registry import Kind, MetricInfo, implementation, info
from rsbench.metrics.rgb import RgbMapping, stated_rgb


def compute(
    ids: Sequence[str],
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor | None = None,
    *,
    data_range: float | tuple[float, float],
    unit: str | None = None,
    display: RgbMapping | None = None,
    before: Tensor | None = None,
    before_valid: Tensor | None = None,
    ratio: int | None = None,
) -> dict[str, Tensor]:
    """Score image pairs: {id: (N,) float64}, one value per image.

    Args:
        ids: metric ids.
        prediction, truth: (N, C, H, W) float32 or float64 in the data's unit.
        valid: (N, 1|C, H, W) bool, or None where every pixel is valid.
        data_range: a number L for values in [0, L], or a pair (low, high). It belongs to the
            dataset and is never estimated from the images.
        unit: of the values: ``reflectance``, ``kelvin`` or ``display``. Metrics of display@1
            pictures (LPIPS) need it.
        display: which bands are red, green and blue; not needed for three bands.
        before: last context frame (N, C, H, W), for metrics of change.
        before_valid: its mask.
        ratio: pixels along one side of a pixel of the coarser image that the prediction was made
            from, for ``consistency.rmse@1`` and ``psnr.shift@1``.

    Raises:
        InputError: if a metric is undefined for an image or an image lies mostly outside the range
            to which the metric clips; `image_metrics` marks those images.
    """
    options = ImageOptions(
        display=display, unit=unit, before=before, before_valid=before_valid, ratio=ratio
    )
    found = image_metrics(
        ids, prediction, truth, valid=valid, data_range=data_range, options=options
    )
    for metric, result in found.items():
        if result.outside is not None and bool(result.outside.any()):
            stated = unit or (display.unit if display else None)
            given = Scored(prediction, truth, valid, data_range, stated)
            raise refusal(info(metric), result.outside, given)
        if not bool(result.ok.all()):
            raise _undefined(metric, result.ok, valid)
    return {metric: result.value for metric, result in found.items()}


def _undefined(metric: str, ok: Tensor, valid: Tensor | None) -> InputError:
    images = torch.nonzero(~ok).flatten().tolist()
    shown = ", ".join(map(str, images[:8])) + (" …" if len(images) > 8 else "")
    return InputError(
        f"metric {metric!r}",
        f"it is undefined for {len(images)} of {len(ok)} images ({shown}): {_why(valid, ok)}",
        "Leave these images out, or use rsbench.metrics.image_metrics, which marks them in `ok`",
    )


def _why(valid: Tensor | None, ok: Tensor) -> str:
    """Return why images have no value."""
    if valid is not None and not bool(valid.flatten(1).any(1).cpu()[~ok].any()):
        return "they have no valid pixel"
    masked = " where they are valid" if valid is not None else ""
    return f"they are too constant, or too dark,{masked} for what it divides by"


def image_metrics(
    ids: Sequence[str],
    prediction: Tensor,
    truth: Tensor,
    *,
    valid: Tensor | None = None,
    data_range: float | tuple[float, float],
    options: ImageOptions = ImageOptions(),  # noqa: B008 - frozen
) -> dict[str, PerImage]:
    """Score image pairs with per-band values, definedness and counts: {id: PerImage}.

    Arithmetic is float32 with float64 sums, or float64 where both images are float64. Images that
    lie mostly outside the range to which a metric clips have no value and are marked in
    ``outside``.

    Args:
        ids: metric ids.
        prediction, truth: (N, C, H, W) in the data's unit.
        valid: (N, 1|C, H, W) bool, or None where every pixel is valid.
        data_range: the number or pair of `compute`.
        options: unit, display, and the frames before the images, of the same shape.

    Raises:
        InputError: if a metric is not of single images, or shapes, unit or range do not fit.
    """
    if isinstance(ids, str):
        ids = (ids,)
    wanted = [_runnable(metric, ("image", "change")) for metric in dict.fromkeys(ids)]
    with exact():
        pairs = check_pairs(prediction, truth, valid, data_range, options.bands)
        _check_before(options.before, options.before_valid, pairs)
        pairs = replace(
            pairs, rgb=stated_rgb(options.display, options.unit, truth.shape[1]),
            before=options.before, before_valid=options.before_valid, ratio=options.ratio,
        )  # fmt: skip
        for known, _ in wanted:
            _check_fits(known, pairs)
        parts: dict[str, list[PerImage]] = {known.id: [] for known, _ in wanted}
        for images in pairs.chunks(options.chunk):
            for known, function in wanted:
                parts[known.id].append(within(function(images), known, images))
    return {metric: PerImage.join(found) for metric, found in parts.items()}


def member_metrics(
    ids: Sequence[str],
    members: Tensor,
    truth: Tensor,
    *,
    valid: Tensor | None = None,
    data_range: float | tuple[float, float],
) -> dict[str, PerImage]:
    """Score ensembles against truths: {id: PerImage}.

    Args:
        ids: ids of metrics of members.
        members: (N, M, C, H, W), M ≥ 2, in the data's unit.
        truth: (N, C, H, W) in the same unit.
        valid: (N, 1|C, H, W) bool, or None where every pixel is valid.
        data_range: the number or pair of `compute`.

    Raises:
        InputError: if a metric is not of members, there is one member, or shapes differ.
    """
    wanted = [_runnable(m, ("members",)) for m in ((ids,) if isinstance(ids, str) else ids)]
    check_tensor("members", members)
    if members.ndim != 5 or members.shape[1] < 2:
        raise InputError(
            "scoring an ensemble", f"shape {tuple(members.shape)}",
            "Give (N, M, C, H, W) with two members or more",
        )  # fmt: skip
    with exact():
        # The mean is finite only where every member is.
        pairs = check_pairs(members.mean(1), truth, valid, data_range, None)
        parts: dict[str, list[PerImage]] = {known.id: [] for known, _ in wanted}
        for images in pairs.chunks():
            own = members[images.first : images.first + len(images.truth)].to(images.truth.dtype)
            if images.valid is not None:
                own = torch.where(images.valid[:, None], own, 0.0)
            for known, function in wanted:
                parts[known.id].append(within(function(images, own), known, images))
    return {metric: PerImage.join(found) for metric, found in parts.items()}


_WHERE = {
    "image": "it compares images one by one; use rsbench.metrics.compute",
    "change": "it compares images one by one; use rsbench.metrics.compute",
    "set": "it compares sets of images; use rsbench.metrics.compute_sets",
    "pooled": "it is pooled over images; use rsbench.metrics.compute_pooled",
    "members": "it scores ensembles; use rsbench.metrics.member_metrics",
}


def _runnable(metric: str, kinds: tuple[Kind, ...]) -> tuple[MetricInfo, Callable[..., PerImage]]:
    """Return a metric and its function with its options, where it is of one of the kinds."""
    known = info(metric)
    if known.kind not in kinds:
        found, _, remedy = _WHERE[known.kind].partition("; ")
        raise InputError(f"metric {metric!r}", found, remedy.capitalize())
    function, options = implementation(metric)
    return known, partial(function, **options)


def _check_before(before: Tensor | None, valid: Tensor | None, pairs: ImagePairs) -> None:
    shape = tuple(pairs.truth.shape)
    if before is not None:
        check_tensor("before", before)
    if before is not None and tuple(before.shape) != shape:
        raise InputError("before", f"shape {tuple(before.shape)}", f"Give {shape}, as the truth")
    masks = {shape, (shape[0], 1, *shape[2:])}
    if valid is not None and (valid.dtype != torch.bool or tuple(valid.shape) not in masks):
        raise InputError(
            "before_valid", f"{valid.dtype} {tuple(valid.shape)}", "Give a bool mask of `before`"
        )


def _check_fits(known: MetricInfo, pairs: ImagePairs) -> None:
    """Raise InputError if bands, pixels or what is stated of them are too little for a metric."""
    metric = known.id
    _, bands, height, width = pairs.truth.shape
    if bands < known.min_bands:
        raise InputError(
            f"metric {metric!r}", f"axis C (bands) is {bands}, it needs {known.min_bands}",
            "Leave the metric out for these data, or give more bands",
        )  # fmt: skip
    if min(height, width) < known.min_side:
        raise InputError(
            f"metric {metric!r}",
            f"axes H, W are {height} × {width}, it needs {known.min_side} pixels on each",
            "Give larger images, or leave the metric out",
        )
    require_rgb(known, pairs)
    most = min(height, width) // 2
    if known.coarser and not (pairs.ratio is not None and 2 <= pairs.ratio <= most):
        raise InputError(
            f"metric {metric!r}",
            f"the ratio of pixel sizes is {pairs.ratio or 'not stated'}",
            f"State ratio, 2 to {most}: pixels along one side of a coarser pixel",
        )


@contextmanager
def exact() -> Iterator[None]:
    """Disable gradients and multiply float32 in full precision inside a ``with`` block.

    `torch.set_float32_matmul_precision` allows TF32 or bfloat16 products in the whole process;
    they change SSIM in the third decimal.
    """
    with products("ieee"), torch.no_grad():
        yield
