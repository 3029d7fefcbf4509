"""One call for many metrics: checks once, shares sums and blurred maps, works through chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.images import ImagePairs, PerImage, check_pairs
from rsbench.metrics.precision import products
from rsbench.metrics.registry import Kind, implementation, info
from rsbench.metrics.rgb import RgbMapping


def compute(
    ids: Sequence[str],
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor | None = None,
    *,
    data_range: float | tuple[float, float],
    display: RgbMapping | None = None,
    before: Tensor | None = None,
    before_valid: Tensor | None = None,
) -> dict[str, Tensor]:
    """Score image pairs: {id: (N,) float64}, one value per image.

    ``prediction``, ``truth`` (N, C, H, W) float in the data's unit; ``valid`` (N, 1|C, H, W) bool
    or None. ``data_range`` is a number L for values in [0, L] or a pair (low, high); it belongs to
    the dataset and is never guessed. ``display`` says which bands are red, green and blue, for
    metrics that see these only; three bands need no saying. ``before`` (N, C, H, W) is the last
    context frame with its mask, for metrics of change. An image for which a metric is
    undefined is an error here; `image_metrics` says which images those are instead.
    """
    found = image_metrics(
        ids, prediction, truth, valid=valid, data_range=data_range, display=display,
        before=before, before_valid=before_valid,
    )  # fmt: skip
    for metric, result in found.items():
        if not bool(result.ok.all()):
            images = torch.nonzero(~result.ok).flatten().tolist()
            shown = ", ".join(map(str, images[:8])) + (" …" if len(images) > 8 else "")
            raise InputError(
                f"metric {metric!r}",
                f"it is undefined for {len(images)} of {len(result.ok)} images ({shown}): "
                f"{_why(valid, result.ok)}",
                "Leave these images out, or use rsbench.metrics.image_metrics, "
                "which marks them in `ok`",
            )
    return {metric: result.value for metric, result in found.items()}


def _why(valid: Tensor | None, ok: Tensor) -> str:
    """Say why images have no value: nothing to see, or nothing that the metric can measure."""
    if valid is not None and not bool(valid.flatten(1).any(1).cpu()[~ok].any()):
        return "no pixel of theirs is valid"
    masked = " where they are valid" if valid is not None else ""
    return f"they are too constant, or too dark,{masked} for what it divides by"


def image_metrics(
    ids: Sequence[str],
    prediction: Tensor,
    truth: Tensor,
    *,
    valid: Tensor | None = None,
    data_range: float | tuple[float, float],
    bands: Sequence[str] | None = None,
    chunk: int | None = None,
    display: RgbMapping | None = None,
    before: Tensor | None = None,
    before_valid: Tensor | None = None,
) -> dict[str, PerImage]:
    """Score image pairs with per-band values, definedness and counts: {id: PerImage}.

    Arguments as in `compute`; ``bands`` names the bands in error messages, ``chunk`` fixes how
    many images are worked on at a time (values do not depend on it). Arithmetic is float32 with
    float64 sums, or float64 where both images are.
    """
    if isinstance(ids, str):
        ids = (ids,)
    wanted = [(metric, *_runnable(metric, ("image", "change"))) for metric in dict.fromkeys(ids)]
    with exact():
        pairs = check_pairs(prediction, truth, valid, data_range, bands)
        _check_before(before, before_valid, pairs)
        pairs = replace(pairs, rgb=display, before=before, before_valid=before_valid)
        for metric, _, _ in wanted:
            _check_size(metric, pairs)
        parts: dict[str, list[PerImage]] = {metric: [] for metric, _, _ in wanted}
        for images in pairs.chunks(chunk):
            for metric, function, options in wanted:
                parts[metric].append(function(images, **options))
    return {metric: PerImage.join(found) for metric, found in parts.items()}


def member_metrics(
    ids: Sequence[str],
    members: Tensor,
    truth: Tensor,
    *,
    valid: Tensor | None = None,
    data_range: float | tuple[float, float],
) -> dict[str, PerImage]:
    """Score ensembles (N, M, C, H, W) against truths (N, C, H, W): {id: PerImage}."""
    wanted = [(m, *_runnable(m, ("members",))) for m in ((ids,) if isinstance(ids, str) else ids)]
    if members.ndim != 5 or members.shape[1] < 2:
        raise InputError(
            "scoring an ensemble", f"shape {tuple(members.shape)}",
            "Give (N, M, C, H, W) with two members or more",
        )  # fmt: skip
    with exact():
        # A value that is not finite in one member is not finite in the mean.
        pairs = check_pairs(members.mean(1), truth, valid, data_range, None)
        parts: dict[str, list[PerImage]] = {metric: [] for metric, _, _ in wanted}
        for images in pairs.chunks():
            own = members[images.first : images.first + len(images.truth)].to(images.truth.dtype)
            if images.valid is not None:
                own = torch.where(images.valid[:, None], own, 0.0)
            for metric, function, options in wanted:
                parts[metric].append(function(images, own, **options))
    return {metric: PerImage.join(found) for metric, found in parts.items()}


_WHERE = {
    "image": "it compares images one by one; use rsbench.metrics.compute",
    "change": "it compares images one by one; use rsbench.metrics.compute",
    "set": "it compares sets of images; use rsbench.metrics.compute_sets",
    "members": "it scores ensembles; use rsbench.metrics.member_metrics",
}


def _runnable(
    metric: str, kinds: tuple[Kind, ...]
) -> tuple[Callable[..., PerImage], Mapping[str, Any]]:
    known = info(metric)
    if known.kind not in kinds:
        found, _, remedy = _WHERE[known.kind].partition("; ")
        raise InputError(f"metric {metric!r}", found, remedy.capitalize())
    return implementation(metric)


def _check_before(before: Tensor | None, valid: Tensor | None, pairs: ImagePairs) -> None:
    shape = tuple(pairs.truth.shape)
    if before is not None and tuple(before.shape) != shape:
        raise InputError("before", f"shape {tuple(before.shape)}", f"Give {shape}, as the truth")
    masks = {shape, (shape[0], 1, *shape[2:])}
    if valid is not None and (valid.dtype != torch.bool or tuple(valid.shape) not in masks):
        raise InputError(
            "before_valid", f"{valid.dtype} {tuple(valid.shape)}", "Give a bool mask of `before`"
        )


def _check_size(metric: str, pairs: ImagePairs) -> None:
    known = info(metric)
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


@contextmanager
def exact() -> Iterator[None]:
    """No gradients, and full float32 products whatever the caller allowed for training.

    TF32 or bfloat16 products, which `torch.set_float32_matmul_precision` switches on for the whole
    process, change SSIM in the third decimal.
    """
    with products("ieee"), torch.no_grad():
        yield
