"""Class shares, and linear discriminant analysis, fitted in closed form from sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from rsbench import Frames, Given, Prediction, Want
from rsbench_baselines.discriminant import discriminant
from rsbench_baselines.standardise import frames_of, image_of

WINDOW = 5

Pairs = Iterable[tuple[Given, Want, Frames]]


def window_features(values: Tensor, valid: Tensor) -> Tensor:
    """Return bands, and their mean and standard deviation over the valid pixels of 5×5.

    Args:
        values: ``(B, C, H, W)``.
        valid: ``(B, 1, H, W)`` bool.

    Returns:
        ``(B, 3C, H, W)`` float64; 0 where no pixel of the window is valid.
    """
    x, weight = torch.where(valid, values, 0).double(), valid.double()

    def mean(plane: Tensor) -> Tensor:
        return functional.avg_pool2d(plane, WINDOW, stride=1, padding=WINDOW // 2)

    count = mean(weight)
    safe = count.clamp(min=0.5 / WINDOW**2)
    middle = mean(x) / safe
    spread = (mean(x.square()) / safe - middle.square()).clamp(min=0).sqrt()
    return torch.cat([x, middle, spread], dim=1)


class Classifier:
    """Class shares, or a linear discriminant of features of every pixel.

    Args:
        classes: number of classes K.
        features: returns ``(B, D, H, W)``; None for no features.
    """

    def __init__(self, classes: int, features: str | None) -> None:
        self.classes = classes
        self.features = features
        self.weight: Tensor | None = None

    def fit(self, pairs: Pairs) -> Mapping[str, float]:
        """Return shares of the classes and the coefficients, from one pass over the pixels."""
        sums: tuple[Tensor, ...] | None = None
        for given, _, truth in pairs:
            found = self._sums(given, truth)
            sums = found if sums is None else tuple(a + b for a, b in zip(sums, found, strict=True))
        if sums is None or float(sums[0].sum()) == 0:
            raise ValueError("no pixel of the training split has a class")
        weight = discriminant(*sums)
        parameters = {
            _name(k, d): float(weight[k, d])
            for k in range(weight.shape[0])
            for d in range(weight.shape[1])
        }
        self.restore(parameters)
        return parameters

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Use coefficients that :meth:`fit` returned."""
        columns = len(parameters) // self.classes
        self.weight = torch.tensor(
            [[parameters[_name(k, d)] for d in range(columns)] for k in range(self.classes)],
            dtype=torch.float64,
        )

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return class probabilities; the shares of the classes where the image is masked."""
        assert self.weight is not None
        weight = self.weight.to(want.times.device)
        features, valid = self._features(given)
        logits = torch.einsum("kd,bdhw->bkhw", weight[:, 1:-1], features)
        logits = logits + weight[:, :1, None]
        logits = torch.where(valid, logits, weight[:, -1:, None])
        values = logits.softmax(dim=1).float()[:, None, None]
        B, _, _, K, H, W = values.shape
        return Prediction(values.expand(B, want.members, 1, K, H, W).contiguous())

    def _features(self, given: Given) -> tuple[Tensor, Tensor]:
        values, valid = image_of(frames_of(given))
        if self.features == "window":
            return window_features(values, valid), valid
        if self.features == "pixel":
            return torch.where(valid, values, 0).double(), valid
        return values[:, :0].double(), valid

    def _sums(self, given: Given, truth: Frames) -> tuple[Tensor, Tensor, Tensor]:
        """Return number, sum and sum of products of the features, per class and pooled."""
        features, _ = self._features(given)
        shown = truth.valid[:, 0, 0, 0]
        x = features.permute(0, 2, 3, 1)[shown]
        y = truth.values[:, 0, 0].permute(0, 2, 3, 1)[shown].double()
        return y.sum(0), y.T @ x, x.T @ x


def _name(row: int, column: int) -> str:
    return f"class {row} feature {column}"


def majority(preset: str, classes: int = 2) -> Classifier:
    """Build the shares of the classes."""
    return Classifier(classes, None)


def pixel_lda(preset: str, classes: int = 2) -> Classifier:
    """Build the discriminant of a pixel's bands."""
    return Classifier(classes, "pixel")


def window_lda(preset: str, classes: int = 2) -> Classifier:
    """Build the discriminant of bands and their statistics in a window."""
    return Classifier(classes, "window")
