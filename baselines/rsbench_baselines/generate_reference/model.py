"""The mean of every band over the training pixels of each class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from rsbench import Frames, Given, Prediction, Want
from rsbench_baselines._checks import check_map
from rsbench_baselines.standardise import frames_of, image_of

Pairs = Iterable[tuple[Given, Want, Frames]]


class ClassMean:
    """Paints the mean of its class on every pixel; without a class, the mean of all pixels.

    Args:
        classes: number of classes K.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.means = torch.zeros(classes + 1, 0, dtype=torch.float64)

    def fit(self, pairs: Pairs) -> Mapping[str, float]:
        """Return the means, per class and band, and those of all pixels."""
        counts: Tensor | float = 0.0
        sums: Tensor | float = 0.0
        for given, _, truth in pairs:
            image, seen = (part[:, 0, 0].double() for part in (truth.values, truth.valid))
            shares = _shares(given) * seen.all(dim=1, keepdim=True)
            shares = torch.cat([shares, seen.amin(dim=1, keepdim=True)], dim=1)
            counts = counts + shares.sum((0, 2, 3))
            sums = sums + torch.einsum("bkhw,bchw->kc", shares, image * seen)
        if not isinstance(counts, Tensor) or not isinstance(sums, Tensor) or counts[-1] == 0:
            raise ValueError("no pixel of the training split is valid")
        means = sums / counts.clamp(min=1)[:, None]
        means = torch.where((counts > 0)[:, None], means, means[-1])
        parameters = {
            _name(k, c): float(means[k, c])
            for k in range(means.shape[0])
            for c in range(means.shape[1])
        }
        self.restore(parameters)
        return parameters

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Use means that :meth:`fit` returned."""
        bands = len(parameters) // (self.classes + 1)
        rows = [[parameters[_name(k, c)] for c in range(bands)] for k in range(self.classes + 1)]
        self.means = torch.tensor(rows, dtype=torch.float64)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return the means on the map; all members are equal."""
        check_map("class_mean", given, want)
        shares = _shares(given)
        whole = torch.cat([shares, 1 - shares.sum(dim=1, keepdim=True)], dim=1)
        means = self.means.to(whole.device)
        values = torch.einsum("bkhw,kc->bchw", whole, means).float()[:, None, None]
        return Prediction(values.expand(-1, want.members, -1, -1, -1, -1).contiguous())


def _shares(given: Given) -> Tensor:
    """Return ``(B, K, H, W)`` float64, 1 for the class of a pixel; 0 where it has none."""
    values, valid = image_of(frames_of(given))
    return torch.where(valid, values, 0).double()


def _name(row: int, band: int) -> str:
    return f"class {row} band {band}"


def class_mean(preset: str, classes: int = 2) -> ClassMean:
    """Build the mean image of every class."""
    return ClassMean(classes)
