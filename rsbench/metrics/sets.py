"""Metrics of whole sets of images: features of each image, then one distance of two sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.display import SMALLEST_VALID, pictures
from rsbench.metrics.engine import exact
from rsbench.metrics.frechet import SetScore
from rsbench.metrics.images import ImageBatch, check_pairs
from rsbench.metrics.inception import TAPS, Bytes
from rsbench.metrics.inception import features as inception_features
from rsbench.metrics.registry import definition, implementation, imported, info
from rsbench.metrics.rgb import RgbMapping
from rsbench.metrics.texture import features as texture_features

Side = Literal["prediction", "truth"]


@dataclass(frozen=True)
class Sight:
    """How an Inception network sees an image; see `rsbench.metrics.inception`."""

    tap: int
    raw: bool = False
    way: Bytes = "round"
    antialias: bool = False


SIGHTS: dict[str, Sight] = {
    **{f"inception{tap}": Sight(tap) for tap in TAPS},
    # What published scripts made of their images, through torchmetrics.
    "inception64-raw": Sight(64, raw=True, way="truncate", antialias=True),
    "inception2048-wrap": Sight(2048, raw=True, way="wrap", antialias=True),
}


def features_of(metrics: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the features that some set metrics compare, each once."""
    return tuple(dict.fromkeys(str(definition(metric).features) for metric in metrics))


def extract(names: Sequence[str], images: ImageBatch, side: Side) -> dict[str, Tensor]:
    """Return {name: (n, d)} of one side, on the CPU; meaningful where `defined` says so."""
    found: dict[str, Tensor] = {}
    if "texture" in names:
        x = images.prediction if side == "prediction" else images.truth
        scaled = (x - images.low) / images.span
        found["texture"] = texture_features(scaled, images.all_bands).cpu()
    found |= {name: imported(name)(images, side).cpu() for name in names if ":" in name}
    looks = {name: SIGHTS[name] for name in names if name in SIGHTS}
    for look in dict.fromkeys(replace(sight, tap=0) for sight in looks.values()):
        taps = {name: s.tap for name, s in looks.items() if replace(s, tap=0) == look}
        shown = pictures(images, raw=look.raw)
        x = shown.prediction if side == "prediction" else shown.truth
        values = inception_features(x, max(taps.values()), way=look.way, antialias=look.antialias)
        found |= {name: values[tap] for name, tap in taps.items()}
    return found


def defined(images: ImageBatch) -> Tensor:
    """Which images have enough valid pixels to count, (n,) bool, on the CPU."""
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
    if len(predictions) != len(truths):
        raise InputError(
            f"set metric {metric!r}",
            f"{len(predictions)} predictions and {len(truths)} truths: its value depends on n",
            "Give as many images on both sides",
        )
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
    display: RgbMapping | None = None,
) -> dict[str, SetScore]:
    """Compare two sets of images (n, C, H, W) by their distributions: {id: SetScore}.

    Arguments as in `rsbench.metrics.compute`, and image i of both sets has the mask i of
    ``valid``: what lies under it is the truth's mean, or left out. Images with less than 70 %
    valid pixels are left out on both sides.
    """
    wanted = (ids,) if isinstance(ids, str) else tuple(dict.fromkeys(ids))
    for metric in wanted:
        known = info(metric)
        if known.kind != "set":
            raise InputError(
                f"set metric {metric!r}", "it compares images one by one",
                "Use rsbench.metrics.compute",
            )  # fmt: skip
        if predictions.ndim == 4 and predictions.shape[1] < known.min_bands:
            raise InputError(
                f"metric {metric!r}",
                f"axis C (bands) is {predictions.shape[1]}, it needs {known.min_bands}",
                "Leave the metric out for these data, or give more bands",
            )
    if predictions.ndim == truths.ndim == 4 and len(predictions) != len(truths):
        compare(wanted[0], predictions.flatten(1), truths.flatten(1))  # says why not
    names = features_of(wanted)
    with exact():
        sides: dict[Side, list[dict[str, Tensor]]] = {"prediction": [], "truth": []}
        pairs = replace(check_pairs(predictions, truths, valid, data_range, None), rgb=display)
        for images in pairs.chunks():
            kept = defined(images)
            for side, parts in sides.items():
                found = extract(names, images, side)
                parts.append({name: values[kept] for name, values in found.items()})
    both = [{n: torch.cat([p[n] for p in parts]) for n in names} for parts in sides.values()]
    return {
        metric: compare(metric, both[0][feature], both[1][feature])
        for metric in wanted
        for feature in features_of([metric])
    }
