"""Any encoder of images as a segmentation model: frozen, with a discriminant of its tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Want
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
        layer: name of a module of the encoder, as in ``encoder.named_modules()``, whose output is
            taken in place of the encoder's: ``(B, D, h, w)``, or ``(B, N, D)`` of a square grid of
            N tokens in rows. The empty name is the encoder itself.

    Raises:
        InputError: if the encoder has no such layer; in ``fit`` or ``predict``, if the tokens have
            another shape.
    """

    def __init__(
        self, encoder: nn.Module, *, bands: int, width: int, classes: int, layer: str = ""
    ) -> None:
        self._layer, self._width = layer, width
        self._read = _module(encoder, layer)
        self.scale = Standardise(bands)
        self.head = Lda(width, classes)
        parts = {"scale": self.scale, "encoder": encoder, "head": self.head}
        self.module = nn.ModuleDict(parts).eval().requires_grad_(False)
        if layer:  # what is kept of a fit is found by the state, and differs between layers
            self.module.register_buffer("layer", torch.tensor(list(layer.encode())))

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
        found: list[object] = []
        hook = self._read.register_forward_hook(lambda _module, _given, out: found.append(out))
        try:
            self.module["encoder"](self.scale(frames_of(given)))
        finally:
            hook.remove()
        return _grid_of_tokens(found[-1] if found else None, self._layer, self._width).float()

    def _fitted(self) -> dict[str, Tensor]:
        return {
            **{f"scale.{name}": tensor for name, tensor in self.scale.named_buffers()},
            **{f"head.{name}": tensor for name, tensor in self.head.named_buffers()},
        }


def _module(encoder: nn.Module, layer: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(encoder.named_modules())
    if layer not in known:
        names = [name for name in known if name]
        near = get_close_matches(layer, names) or names
        more = f", … ({len(near)} in all)" if len(near) > 12 else ""
        raise InputError(
            f"layer {layer!r} of the encoder",
            "the encoder has no layer of this name",
            f"Name one of {', '.join(near[:12])}{more}; the empty name is the encoder itself",
        )
    return known[layer]


def _grid_of_tokens(out: object, layer: str, width: int) -> Tensor:
    """Return tokens ``(B, D, h, w)`` of an output ``(B, D, h, w)`` or ``(B, N, D)``."""
    if isinstance(out, Tensor) and out.ndim == 3 and out.shape[2] == width:
        side = math.isqrt(out.shape[1])
        if side * side == out.shape[1]:
            return out.mT.reshape(out.shape[0], width, side, side)
    if isinstance(out, Tensor) and out.ndim == 4 and out.shape[1] == width:
        return out
    found = (
        f"has shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"is {type(out).__name__}"
    )
    raise InputError(
        f"the output of {f'layer {layer}' if layer else 'the encoder'}",
        f"it {found}, not (B, {width}, h, w) or (B, N, {width}) with a square number N of tokens",
        "Name a layer whose output are the tokens, and the width D of these tokens",
    )
