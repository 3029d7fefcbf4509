"""Metrics of whole sets of images: features of each image, then one distance of two sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.checks import check_pairs
from rsbench.metrics.clipping import Scored, clipping, refusal
from rsbench.metrics.display import SMALLEST_VALID, require_rgb, rgb_pair
from rsbench.metrics.engine import exact
from rsbench.metrics.frechet import SetScore
from rsbench.metrics.images import ImageBatch, ImagePairs
from rsbench.metrics.inception import TAPS, Rounding
from rsbench.metrics.inception import features as inception_features
from rsbench.metrics.queries import needs_case
from rsbench.metrics.registry import available, implementation, imported, info
from rsbench.metrics.rgb import RgbMapping, stated_rgb
from rsbench.metrics.texture import features as texture_features

Side = Literal["prediction", "truth"]


@dataclass(frozen=True)
class InceptionInput:
    """How images enter an Inception network, and which of its layers is read.

    Args:
        tap: number of features of the layer.
        raw: whether bands are scaled by the data range instead of display@1.
        rounding: how values become bytes; see `rsbench.metrics.inception.to_bytes`.
        antialias: whether the resize to the network's input is antialiased.
    """

    tap: int
    raw: bool = False
    rounding: Rounding = "round"
    antialias: bool = False


INCEPTION_INPUTS: dict[str, InceptionInput] = {
    **{f"inception{tap}": InceptionInput(tap) for tap in TAPS},
    # Inputs of published scripts, through torchmetrics.
    "inception64-raw": InceptionInput(64, raw=True, rounding="truncate", antialias=True),
    "inception2048-wrap": InceptionInput(2048, raw=True, rounding="wrap", antialias=True),
}


def features_of(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the features that some set metrics compare, each once."""
    return tuple(dict.fromkeys(str(available(metric).features) for metric in metrics))


def extract(names: Sequence[str], images: ImageBatch, side: Side) -> dict[str, Tensor]:
    """Return {name: (n, d)} of one side, on the CPU; meaningful where `defined` is True."""
    found: dict[str, Tensor] = {}
    if "texture" in names:
        x = images.prediction if side == "prediction" else images.truth
        scaled = (x - images.low) / images.span
        found["texture"] = texture_features(scaled, images.all_bands).cpu()
    found |= {name: imported(name)(images, side).cpu() for name in names if ":" in name}
    inputs = {name: INCEPTION_INPUTS[name] for name in names if name in INCEPTION_INPUTS}
    for shared in dict.fromkeys(replace(one, tap=0) for one in inputs.values()):
        taps = {name: one.tap for name, one in inputs.items() if replace(one, tap=0) == shared}
        rgb = rgb_pair(images, raw=shared.raw)
        values = inception_features(
            rgb.prediction if side == "prediction" else rgb.truth, max(taps.values()),
            rounding=shared.rounding, antialias=shared.antialias,
        )  # fmt: skip
        found |= {name: values[tap] for name, tap in taps.items()}
    return found


def defined(images: ImageBatch) -> Tensor:
    """Return which images have enough valid pixels to be compared, (n,) bool, on the CPU."""
    if images.all_bands is None:
        return torch.ones(len(images.truth), dtype=torch.bool)
    return (images.all_bands.float().mean((1, 2, 3)) >= SMALLEST_VALID).cpu()


def compare(
    metric: str, predictions: Tensor, truths: Tensor, groups: Tensor | None = None
) -> SetScore:
    """Return the distance of two sets of features (n, d), prediction against truth.

    Raises:
        InputError: for sets of different size: the bias of these distances depends on n.
    """
    _check_sizes(metric, predictions, truths)
    if len(truths) < 2:
        raise InputError(
            f"set metric {metric!r}", f"{len(truths)} images", "It needs two, and means little "
            "below some hundreds",
        )  # fmt: skip
    function, options = implementation(metric)
    found: SetScore = function(predictions, truths, groups, **options)
    return found


def compute_sets(
    ids: Sequence[str],
    predictions: Tensor,
    truths: Tensor,
    valid: Tensor | None = None,
    *,
    data_range: float | tuple[float, float],
    unit: str | None = None,
    display: RgbMapping | None = None,
) -> dict[str, SetScore]:
    """Compare two sets of images (n, C, H, W) by their distributions: {id: SetScore}.

    Image i of both sets has the mask i of ``valid``; invalid pixels are replaced by the truth's
    mean, or left out. Images with less than 70 % valid pixels are left out on both sides.
    ``notes`` hold the share of values that a metric clips.

    Args:
        ids: ids of set metrics.
        predictions, truths: (n, C, H, W) in the data's unit.
        valid: (n, 1|C, H, W) bool, or None where every pixel is valid.
        data_range: the number L for values in [0, L], or a pair (low, high).
        unit: of the values: ``reflectance``, ``kelvin`` or ``display``.
        display: which bands are red, green and blue; not needed for three bands.

    Raises:
        InputError: for metrics of single images, too few bands, sets of different size, a unit that
            is not stated, or images mostly outside the range to which a metric clips.
    """
    wanted = (ids,) if isinstance(ids, str) else tuple(dict.fromkeys(ids))
    for metric in wanted:
        _check_metric(metric, predictions)
    if predictions.ndim == truths.ndim == 4:
        _check_sizes(wanted[0], predictions, truths)
    names = features_of(wanted)
    pairs = check_pairs(predictions, truths, valid, data_range, None)
    pairs = replace(pairs, rgb=stated_rgb(display, unit, truths.shape[1]))
    for metric in wanted:
        require_rgb(info(metric), pairs)
    stated = unit or (display.unit if display else None)
    given = Scored(predictions, truths, valid, data_range, stated)
    clipped = {metric: _clipped(metric, pairs, given) for metric in wanted}
    sides = _features(names, pairs)
    found: dict[str, SetScore] = {}
    for metric in wanted:
        (feature,) = features_of([metric])
        score = compare(metric, sides["prediction"][feature], sides["truth"][feature])
        found[metric] = replace(score, notes={**score.notes, **clipped[metric]})
    return found


def _clipped(metric: str, pairs: ImagePairs, given: Scored) -> dict[str, float]:
    """Return the mean share of values of predictions and truths that a metric clips.

    Raises:
        InputError: if images lie mostly outside the range.
    """
    known = info(metric)
    outside, clipped = [], []
    for images in pairs.chunks():
        cut = clipping(known, images)
        if cut is None:
            return {}
        kept = defined(images)
        outside.append(cut.outside & kept)
        clipped.append(cut.clipped[kept])
    if bool(torch.cat(outside).any()):
        raise refusal(known, torch.cat(outside), given)
    prediction, truth = torch.cat(clipped).mean((0, 2)).tolist()
    return {"clipped_prediction": prediction, "clipped_truth": truth}


def _features(names: Sequence[str], pairs: ImagePairs) -> dict[Side, dict[str, Tensor]]:
    """Return {side: {name: (n, d)}} of the images that have enough valid pixels."""
    parts: dict[Side, list[dict[str, Tensor]]] = {"prediction": [], "truth": []}
    with exact():
        for images in pairs.chunks():
            kept = defined(images)
            for side, found in parts.items():
                values = extract(names, images, side)
                found.append({name: features[kept] for name, features in values.items()})
    return {
        side: {name: torch.cat([part[name] for part in found]) for name in names}
        for side, found in parts.items()
    }


def _check_metric(metric: str, predictions: Tensor) -> None:
    known = info(metric)
    if known.kind != "set":
        raise InputError(
            f"set metric {metric!r}", "it compares images one by one",
            "Use rsbench.metrics.compute",
        )  # fmt: skip
    if needs_case(metric):
        raise InputError(
            f"set metric {metric!r}", "it needs the training images or the conditions of a store",
            "Use rsbench.evaluate with a protocol of the task generate",
        )  # fmt: skip
    if predictions.ndim == 4 and predictions.shape[1] < known.min_bands:
        raise InputError(
            f"metric {metric!r}",
            f"axis C (bands) is {predictions.shape[1]}, it needs {known.min_bands}",
            "Leave the metric out for these data, or give more bands",
        )


def _check_sizes(metric: str, predictions: Tensor, truths: Tensor) -> None:
    if len(predictions) != len(truths):
        raise InputError(
            f"set metric {metric!r}",
            f"{len(predictions)} predictions and {len(truths)} truths: its value depends on n",
            "Give as many images on both sides",
        )
