"""Any encoder of images as a segmentation model: frozen, with a discriminant of its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Want
from rsbench_baselines.cross_scale.heads import Lda, answer
from rsbench_baselines.standardise import Standardise, added, frames_of, sums_of

Pairs = Iterable[tuple[Given, Want, Frames]]


class EncoderProbe:
    """A frozen encoder with linear discriminant analysis, both fitted in closed form.

    The mean and deviation of each band, then the discriminant, come from the training split; of
    the encoder nothing is trained.

    Args:
        encoder: maps standardised images ``(B, C, H, W)``, 0 where invalid, to tokens
            ``(B, D, h, w)`` over the same ground.
        bands: C.
        width: D.
        classes: number of classes.
    """

    def __init__(self, encoder: nn.Module, *, bands: int, width: int, classes: int) -> None:
        self.scale = Standardise(bands)
        self.head = Lda(width, classes)
        parts = {"scale": self.scale, "encoder": encoder, "head": self.head}
        self.module = nn.ModuleDict(parts).eval().requires_grad_(False)

    def fit(self, pairs: Pairs) -> Mapping[str, float]:
        """Return statistics of the bands and the discriminant, from two passes over the pixels."""
        sums = added(sums_of(frames_of(given)) for given, _, _ in pairs)
        if not sums:
            raise ValueError("the training split has no image")
        self.scale.set(sums)
        with torch.no_grad():
            self.head.solve(
                added(
                    self.head.statistics(
                        [self._tokens(given)], truth.values[:, 0, 0], truth.valid[:, 0, 0]
                    )
                    for given, _, truth in pairs
                )
            )
        return {
            f"{name} {place}": float(value)
            for name, tensor in self._fitted().items()
            for place, value in enumerate(tensor.flatten())
        }

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Use numbers that :meth:`fit` returned."""
        for name, tensor in self._fitted().items():
            found = [parameters[f"{name} {place}"] for place in range(tensor.numel())]
            tensor.copy_(torch.tensor(found, dtype=torch.float64).view_as(tensor))

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return class probabilities."""
        self.module.to(want.times.device)
        logits = self.head([self._tokens(given)], want.size)
        return answer(logits, want)

    def _tokens(self, given: Given) -> Tensor:
        return cast(Tensor, self.module["encoder"](self.scale(frames_of(given)))).float()

    def _fitted(self) -> dict[str, Tensor]:
        return {
            **{f"scale.{name}": tensor for name, tensor in self.scale.named_buffers()},
            **{f"head.{name}": tensor for name, tensor in self.head.named_buffers()},
        }
