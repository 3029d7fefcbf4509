"""Checks of image pairs before scoring: types, shapes, devices, masks and the data range."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rsbench.core.errors import InputError
from rsbench.metrics.images import ImagePairs

AXES = ("N (images)", "C (bands)", "H (rows)", "W (columns)")


def check_pairs(
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor | None,
    data_range: float | tuple[float, float],
    bands: Sequence[str] | None,
) -> ImagePairs:
    """Return checked pairs.

    Raises:
        InputError: with the axis, the dtype or the argument that cannot be scored.
    """
    low, high = _range(data_range)
    for name, x in (("prediction", prediction), ("truth", truth)):
        check_tensor(name, x)
    _check_shapes(prediction, truth)
    if prediction.device != truth.device:
        raise InputError(
            "scoring", f"prediction is on {prediction.device}, truth on {truth.device}",
            "Move both to one device",
        )  # fmt: skip
    if valid is not None:
        _check_valid(valid, truth)
    if bands is not None and len(bands) != truth.shape[1]:
        raise InputError(
            "scoring", f"{len(bands)} band names for C = {truth.shape[1]} bands",
            "Give one name per band",
        )  # fmt: skip
    if truth.device.type == "mps":  # no float64 there
        prediction, truth = prediction.cpu(), truth.cpu()
        valid = None if valid is None else valid.cpu()
    same = prediction.dtype == truth.dtype
    if not same:
        prediction, truth = prediction.float(), truth.float()
    return ImagePairs(prediction, truth, valid, low, high, tuple(bands) if bands else None)


def _range(data_range: float | tuple[float, float] | None) -> tuple[float, float]:
    remedy = "Pass the dataset's range: a number L for values in [0, L], or a pair (low, high)"
    if data_range is None:
        raise InputError("data_range", "none was given, and it is never guessed", remedy)
    try:
        if isinstance(data_range, tuple | list):
            low, high = (float(v) for v in data_range)
        else:
            low, high = 0.0, float(data_range)
    except (TypeError, ValueError):
        raise InputError("data_range", f"{data_range!r} is not a range", remedy) from None
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise InputError("data_range", f"({low}, {high}) is empty", remedy)
    return low, high


def check_tensor(name: str, x: Tensor) -> None:
    """Raise InputError if values are no float32 or float64 tensor, or under autocast."""
    if not isinstance(x, Tensor):
        raise InputError(
            f"scoring: {name}", f"got {type(x).__name__}",
            "Pass a torch tensor (N, C, H, W); torch.from_numpy converts an array",
        )  # fmt: skip
    if x.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"scoring: {name}", f"dtype {x.dtype}",
            "Convert to float32 in the data's unit first: integers wrap and half precision loses "
            "the digits that metrics measure",
        )  # fmt: skip
    if torch.is_autocast_enabled(x.device.type):
        raise InputError(
            "scoring under autocast", f"autocast is on for {x.device.type}",
            "Leave the autocast block before scoring: it changes SSIM in the second decimal",
        )  # fmt: skip


def _check_shapes(prediction: Tensor, truth: Tensor) -> None:
    for name, x in (("prediction", prediction), ("truth", truth)):
        if x.ndim != 4:
            raise InputError(
                f"scoring: {name}", f"shape {tuple(x.shape)} has {x.ndim} axes",
                "Give (N, C, H, W): images, bands, rows, columns",
            )  # fmt: skip
        for axis, length in zip(AXES, x.shape, strict=True):
            if length == 0:
                raise InputError(f"scoring: {name}", f"axis {axis} is empty", "Give images")
    for axis, a, b in zip(AXES, prediction.shape, truth.shape, strict=True):
        if a != b:
            raise InputError(
                "scoring", f"axis {axis} is {a} in the prediction and {b} in the truth",
                "Both need the same (N, C, H, W)",
            )  # fmt: skip


def _check_valid(valid: Tensor, truth: Tensor) -> None:
    n, c, h, w = truth.shape
    if not isinstance(valid, Tensor) or valid.dtype != torch.bool:
        found = str(valid.dtype) if isinstance(valid, Tensor) else type(valid).__name__
        raise InputError("scoring: valid", f"got {found}", "Pass a bool tensor, True where valid")
    if tuple(valid.shape) not in {(n, 1, h, w), (n, c, h, w)}:
        raise InputError(
            "scoring: valid", f"shape {tuple(valid.shape)}",
            f"Give (N, 1, H, W) = {(n, 1, h, w)} or (N, C, H, W) = {(n, c, h, w)}",
        )  # fmt: skip
    if valid.device != truth.device:
        raise InputError(
            "scoring: valid", f"on {valid.device}, truth on {truth.device}",
            "Move all to one device",
        )  # fmt: skip
