"""What diffusion models in pixel space share as forecasters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._checks import check_bands, check_leads
from rsbench_baselines._options import require_choices
from rsbench_baselines.ddpm.diffusion import Diffusion, Draw, drawer
from rsbench_baselines.ddpm.pixels import disturbed, image_of, slots_of, target_of
from rsbench_baselines.persistence.model import bands_of

MAX_SLOTS = 7
CHANGE = ("gain", "bound", "predicts")
"""Options of both models that are fields of :class:`Variant`."""
N = TypeVar("N", bound=nn.Module)
P = TypeVar("P")


@dataclass(frozen=True)
class Variant:
    """How a network is used and trained.

    Args:
        bands: number of bands.
        frames: frames per prediction.
        slots: context frames of the condition.
        masked: each context frame has a channel that is 1 where all bands are valid, and fewer
            frames are right-aligned; otherwise all slots are required, without that channel.
        gain: 0 if images are drawn, scaled to ±1; otherwise their change since the last context
            frame, in shares of the value range, times this: changes up to bound/gain can be drawn.
        bound: of the image or change, as it is scaled for the network.
        predicts: what the network answers, the noise or v (:meth:`Diffusion.velocity`). The error
            of v is that of the image at the noisiest times and that of the noise at the others.
        dropout: probability that a training sample has no condition.
        stage: the stage of training.
        revision: of network and preset; None if they always computed as they do now.
    """

    bands: int
    frames: int
    slots: int
    masked: bool
    gain: float
    dropout: float
    stage: Stage
    bound: float = 1.0
    predicts: Literal["noise", "v"] = "noise"
    revision: str | None = None

    def __post_init__(self) -> None:
        require_choices(self)
        if not self.bound > 0:
            raise InputError(f"bound={self.bound:g}", "it is not positive", "Choose 1 or more")
        if not self.gain and self.bound != 1:
            raise InputError(
                f"bound={self.bound:g} without a gain",
                "images are scaled to ±1",
                "Choose bound=1, or give the gain of changes",
            )


def change_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields `CHANGE` and the revision of :class:`Variant`, as far as they are given."""
    found = {"gain": 0.0} | {name: options[name] for name in CHANGE if name in options}
    return found | {"revision": REVISION if "revision" in options else None}


class PixelDiffusion(ABC, Generic[N, P]):
    """A conditional diffusion in pixel space with its sampler.

    A subclass implements :meth:`answer` and :meth:`drawn`.

    Attributes:
        name: of the card.
    """

    name: ClassVar[str]

    def __init__(self, network: N, diffusion: Diffusion, sampler: P, variant: Variant) -> None:
        self._network = network
        self._diffusion = diffusion
        self._sampler = sampler
        self._variant = variant

    @property
    def inputs(self) -> str | None:
        """The network's revision, in the column ``inputs``: rows of an earlier one are others."""
        return self._variant.revision

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the one stage: the squared error of the answer, all times weighted equally."""
        return (self._variant.stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw each member separately; each step is one call for all members and samples."""
        self._network.eval()
        self._check(want)
        frames = given.frames[want.sensor]
        condition, last = self._condition(frames, want.bands)
        B, M, T = len(want.samples), want.members, self._variant.frames
        condition = condition.expand(-1, M, -1, -1, -1).flatten(0, 1)
        last = last.expand(-1, M, -1, -1, -1).flatten(0, 1)
        drawn = self.drawn(condition, drawer(want, self.name, images=T))
        size = drawn.shape[-2:]
        shares = image_of(drawn.reshape(B * M, T, -1, *size), last[:, None], self._variant.gain)
        low, high = frames.value_range
        return Prediction((low + shares * (high - low)).reshape(B, M, T, -1, *size))

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return ‖ε − ε̂‖² or ‖v − v̂‖² over valid pixels at random times, over :meth:`divisor`."""
        self._check(want)
        variant = self._variant
        condition, last = self._condition(given.frames[want.sensor], want.bands)
        condition, last = condition.flatten(0, 1), last.flatten(0, 1)[:, None]
        low, high = truth.value_range
        values, valid = (part.flatten(0, 1) for part in bands_of(truth, want.bands))
        share = torch.where(valid, (values - low) / (high - low), last)
        clean = target_of(share, last, variant.gain, variant.bound).flatten(1, 2)
        valid = valid.flatten(1, 2)
        dropout = variant.dropout if self._network.training else 0.0
        shown = disturbed(self._diffusion, clean, condition, dropout=dropout)
        asked = shown.noise
        if variant.predicts == "v":
            asked = self._diffusion.velocity(clean, shown.noise, shown.times)
        error = self.answer(shown.noisy, shown.times, shown.condition) - asked
        total = torch.where(valid, error, 0).square().sum()
        return {"total": total / self.divisor(valid)}

    def divisor(self, valid: Tensor) -> Tensor | int:
        """Return the number that the summed squared error is divided by: of valid values."""
        return valid.sum().clamp(min=1)

    def noise(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """Return the estimated noise, as :meth:`answer` or computed from v."""
        found = self.answer(noisy, times, condition)
        if self._variant.predicts == "v":
            return self._diffusion.noise_of(found, noisy, times)
        return found

    @abstractmethod
    def answer(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """Return the network's noise or v ``(N, frames·C, H, W)`` in float32.

        Args:
            noisy: ``(N, frames·C, H, W)`` within about ±bound plus noise.
            times: ``(N,)`` in 0 … T − 1.
            condition: ``(N, slots·C or slots·(C + 1), H, W)``.
        """

    @abstractmethod
    def drawn(self, condition: Tensor, draw: Draw) -> Tensor:
        """Return samples ``(N, frames·C, H, W)`` within ±bound under a condition."""

    def _condition(self, frames: Frames, bands: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Return ``(B, M|1, slots·C or slots·(C + 1), H, W)`` and the last frame."""
        variant = self._variant
        have = len(frames.predicted)
        if not variant.masked and have < variant.slots:
            raise InputError(
                f"{have} context frames of {self.name}",
                f"this preset takes {variant.slots}",
                "Choose a protocol with that many, or a preset that takes fewer",
            )
        slots, last = slots_of(frames, bands, variant.slots)
        if not variant.masked:
            slots = slots[:, :, :, : variant.bands]
        return slots.flatten(2, 3), last

    def _check(self, want: Want) -> None:
        check_bands(self.name, self._variant.bands, want)
        check_leads(self.name, self._variant.frames, want)
