"""Coarse images on the fine grid, with a straight line per band fitted by least squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from rsbench import Frames, Given, InputError, Prediction, Want
from rsbench_baselines.persistence.model import fill
from rsbench_baselines.standardise import frames_of

Kernel = Literal["bicubic", "nearest"]
Pairs = Iterable[tuple[Given, Want, Frames]]
LEAST = 1e-12
"""Least variance of a band that has a gain, as a share of its mean square."""


def resampled(frames: Frames, size: tuple[int, int], kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Return the last image on a finer grid: ``(B, C, H, W)``, and its mask ``(B, 1, H, W)``.

    Bicubic is the cubic convolution of Keys with a = −1/2; beyond the edge of the image weights
    are left out and the others scaled to a sum of 1, as Pillow does. Invalid pixels hold the mean
    of the valid ones of their band. The mask is True where the coarse pixel is valid in all bands.

    Args:
        frames: of the coarse sensor.
        size: height and width in fine pixels.
        kernel: ``bicubic`` or ``nearest``.
    """
    last = frames.last(1)
    valid = last.valid.expand_as(last.values)
    whole = fill(torch.where(valid, last.values, 0), valid, last.value_range)[:, 0, 0]
    seen = valid[:, 0, 0].all(dim=1, keepdim=True)
    mask = functional.interpolate(seen.to(whole.dtype), size=size, mode="nearest") > 0
    if kernel == "nearest":
        return functional.interpolate(whole, size=size, mode="nearest"), mask
    # With antialias, a is −1/2 as in the paper; without, torch has −3/4.
    fine = functional.interpolate(
        whole, size=size, mode="bicubic", align_corners=False, antialias=True
    )
    return fine, mask


def line_sums(x: Tensor, y: Tensor, shown: Tensor) -> Tensor:
    """Return number, Σx, Σy, Σx², Σxy and Σy² per band over the pixels shown: ``(6, C)`` float64.

    Args:
        x, y: ``(B, C, H, W)``.
        shown: ``(B, 1|C, H, W)`` bool.
    """
    weight = shown.expand_as(x).double()
    x, y = (torch.where(shown, part, 0).double() for part in (x, y))
    return torch.stack([part.sum((0, 2, 3)) for part in (weight, x, y, x * x, x * y, y * y)])


def line(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return gain and offset ``(C,)`` float64 of the least squares line from sums.

    A band without variance has a gain of 0.

    Raises:
        ValueError: if a band has no pixel.
    """
    n, x, y, xx, xy, _ = sums
    if not bool((n > 0).all()):
        raise ValueError("a band has no pixel that is valid in both images")
    spread, together = xx - x * x / n, xy - x * y / n
    varies = spread > LEAST * xx
    gain = torch.where(varies, together / spread.clamp(min=torch.finfo(sums.dtype).tiny), 0)
    return gain, (y - gain * x) / n


class Resampled:
    """The coarse image on the fine grid.

    Args:
        kernel: ``bicubic`` or ``nearest``.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return the wanted bands, which are the first ones of the image given.

        Raises:
            InputError: if the sensors differ in their unit.
        """
        frames = frames_of(given)
        if frames.unit != want.unit:
            raise InputError(
                f"{self.kernel} resampling of {frames.unit} to {want.sensor}",
                f"its unit is {want.unit or 'not stated'}",
                f"Take {self.kernel}_fitted, which fits a gain and an offset per band",
            )
        return self._answer(resampled(frames, want.size, self.kernel)[0], want)

    def _answer(self, values: Tensor, want: Want) -> Prediction:
        shape = (len(want.samples), want.members, 1, len(want.bands), *want.size)
        wanted = values[:, None, None, : len(want.bands)]
        return Prediction(wanted.expand(shape).contiguous())


class Fitted(Resampled):
    """The same with a gain and an offset per band, by least squares on the training split."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.gain, self.offset = torch.ones(0), torch.zeros(0)

    def fit(self, pairs: Pairs) -> Mapping[str, float]:
        """Return gain and offset of every band, from one pass over the pixels valid in both."""
        total: Tensor | None = None
        for given, want, truth in pairs:
            x, seen = resampled(frames_of(given), want.size, self.kernel)
            y, valid = truth.values[:, 0, 0], truth.valid[:, 0, 0]
            sums = line_sums(x[:, : y.shape[1]], y, seen & valid)
            total = sums if total is None else total + sums
        if total is None:
            raise ValueError("there is no pair of images")
        gain, offset = line(total)
        parameters = {
            f"{name} {band}": float(value)
            for name, values in (("gain", gain), ("offset", offset))
            for band, value in enumerate(values)
        }
        self.restore(parameters)
        return parameters

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Use the numbers that :meth:`fit` returned."""
        count = len(parameters) // 2
        self.gain, self.offset = (
            torch.tensor([parameters[f"{name} {band}"] for band in range(count)]).view(-1, 1, 1)
            for name in ("gain", "offset")
        )

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return gain · image + offset."""
        values = resampled(frames_of(given), want.size, self.kernel)[0][:, : len(want.bands)]
        gain, offset = (part.to(values) for part in (self.gain, self.offset))
        return self._answer(gain * values + offset, want)


def bicubic(preset: str) -> Resampled:
    """Build the cubic convolution."""
    return Resampled("bicubic")


def bicubic_fitted(preset: str) -> Fitted:
    """Build the cubic convolution with a fitted line."""
    return Fitted("bicubic")


def nearest_fitted(preset: str) -> Fitted:
    """Build the repeated coarse pixel with a fitted line."""
    return Fitted("nearest")
