"""Latent diffusion as a model: frames to latents, steps through noise levels, and back.

Each model states its own conditions: see :meth:`Diffusion.conditions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._card import REVISION
from rsbench_baselines._checks import check_bands, check_leads
from rsbench_baselines._latent import rgb_order
from rsbench_baselines.persistence.model import bands_of, fill
from rsbench_baselines.sat_jepa_diff import losses, pretrained
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.losses import Pair
from rsbench_baselines.sat_jepa_diff.network import Autoencoder, Generator
from rsbench_baselines.sat_jepa_diff.sampling import Sampler, sampler, walk
from rsbench_baselines.sat_jepa_diff.sizes import BANDS, LARGE, SMALL, Sizes

VAE = Stage("vae", learning_rate=1e-3, steps=600, batch_size=8, modules=("vae",))
PRIOR = Stage("prior", learning_rate=2e-3, steps=300, batch_size=8, modules=("transformer",))
GENERATOR = Stage(
    "generator", learning_rate=2e-3, steps=300, batch_size=8, modules=("adapter", "lora")
)


@dataclass(frozen=True)
class Variant:
    """How a network is trained and used.

    Args:
        bands: of an image.
        sampler: noise levels and first latents.
        gain: factor on shares of the value range before they enter the network.
        stages: of training.
        faithful: as published, latents are drawn from the posterior instead of its mean.
        revision: of the network; None if it always computed as it does now.
        bridged: the generator learns the path from the sampler's start instead of that from noise.
    """

    bands: int
    sampler: Sampler
    gain: float
    stages: tuple[Stage, ...]
    faithful: bool = False
    revision: str | None = None
    bridged: bool = False


class LatentModel(ABC):
    """A model that predicts one lead time per call in the latent space of a VAE."""

    name: str
    _network: Autoencoder

    def __init__(self, network: Autoencoder, variant: Variant) -> None:
        self._network = network
        self._variant = variant

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    @property
    def inputs(self) -> str | None:
        """The network's revision: rows of an earlier one are other rows."""
        return self._variant.revision

    def stages(self) -> Sequence[Stage]:
        """Return the stages of training, in order."""
        return self._variant.stages

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the terms of a stage's loss over valid pixels; ``total`` is minimised."""
        self._check(want)
        return self.terms(stage, self._pair(given.frames[want.sensor], truth, want), want)

    def terms(self, stage: Stage, pair: Pair, want: Want) -> Mapping[str, Tensor]:
        """Return the terms of a stage's loss: that of the VAE."""
        return losses.rebuild(self._network, pair)

    @abstractmethod
    def drawn(self, image: Tensor, copies: int, want: Want) -> Tensor:
        """Return latents of the next frame: one row per image ``(B, C, H, W)`` and copy."""

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw the next frame of every sample and member."""
        self._network.eval()
        frames = given.frames[want.sensor]
        self._check(want)
        order = rgb_order(want.bands, self._variant.bands)
        image = self._images(frames, want.bands)[:, :, -1][:, :, order]
        B, known = image.shape[:2]
        latents = self.drawn(image.flatten(0, 1), want.members // known, want)
        found = self._network.latents.decode(latents) / self._variant.gain
        low, high = frames.value_range
        shares = found.clamp(0, 1).reshape(B, want.members, *found.shape[1:])
        values = low + shares * (high - low)
        back = [order.index(i) for i in range(len(order))]
        return Prediction(values[:, :, back].unsqueeze(2).contiguous())

    def _pair(self, frames: Frames, truth: Frames, want: Want) -> Pair:
        order = rgb_order(want.bands, self._variant.bands)
        now = self._images(frames, want.bands)[:, 0, -1][:, order]
        values, valid = bands_of(truth, want.bands)
        low, high = truth.value_range
        then = (values[:, 0, 0] - low) / (high - low) * self._variant.gain
        seen = valid[:, 0, 0][:, order]
        # An invalid pixel takes last year's value and has no weight in the loss.
        then = torch.where(seen, then[:, order], now)
        return Pair(now, then, seen.all(dim=1, keepdim=True))

    def _images(self, frames: Frames, bands: tuple[str, ...]) -> Tensor:
        """Return filled frames ``(B, M|1, T, C, H, W)`` in shares of the range, times the gain."""
        values, valid = bands_of(frames, bands)
        low, high = frames.value_range
        filled = fill(values, valid, frames.value_range)
        return (filled - low) / (high - low) * self._variant.gain

    def _check(self, want: Want) -> None:
        check_bands(self.name, self._variant.bands, want)
        check_leads(self.name, 1, want)


class Diffusion(LatentModel):
    """A diffusion from noise, or from the last frame, under the conditions of each model."""

    _network: Generator

    @abstractmethod
    def conditions(self, image: Tensor, copies: int, want: Want) -> Conditions:
        """Return the transformer's conditions: one row per image ``(B, C, H, W)`` and copy."""

    def drawn(self, image: Tensor, copies: int, want: Want) -> Tensor:
        """See :meth:`LatentModel.drawn`."""
        return walk(
            partial(self._velocity, self.conditions(image, copies, want)),
            latent_noise(self._network, "latents", want),
            self._start(image, copies, want),
            self._variant.sampler,
        )

    def terms(self, stage: Stage, pair: Pair, want: Want) -> Mapping[str, Tensor]:
        """Return the terms of a stage's loss: of the VAE, or of flow matching."""
        if stage.name == "prior":
            return losses.prior(self._network, pair, want)
        if stage.name == "generator":
            return {"total": self._flow(pair, want)}
        return super().terms(stage, pair, want)

    def _flow(self, pair: Pair, want: Want) -> Tensor:
        conditions = self.conditions(pair.now, 1, replace(want, members=1))
        if self._variant.bridged:
            return losses.bridge(self._network, conditions, pair, want, self._variant.sampler)
        return losses.flow(self._network, conditions, pair, want, sample=self._variant.faithful)

    def _velocity(self, conditions: Conditions, x: Tensor, sigma: Tensor) -> Tensor:
        return self._network.velocity(x, sigma, conditions)

    def _start(self, image: Tensor, copies: int, want: Want) -> Tensor | None:
        """Return the last frame's latents for every member if the sampler starts from them."""
        if self._variant.sampler.start != "last":
            return None
        mean, spread = self._network.latents.posterior(image)
        mean = mean.repeat_interleave(copies, dim=0)
        if not self._variant.faithful:
            return mean
        drawn = latent_noise(self._network, "posterior", want)
        return mean + spread.repeat_interleave(copies, dim=0) * drawn


def repeated(conditions: Conditions, copies: int) -> Conditions:
    """Return every row ``copies`` times, in a row along the batch."""
    if copies == 1:
        return conditions
    return Conditions(
        conditions.hidden.repeat_interleave(copies, dim=0),
        conditions.pooled.repeat_interleave(copies, dim=0),
    )


def latent_noise(network: Autoencoder, name: str, want: Want) -> Tensor:
    """Return normal noise of all members ``(B·M, channels, H/side, W/side)``."""
    shape = network.latents
    drawn = want.noise.normal(name, want, channels=shape.channels, downscale=shape.side)
    return drawn.flatten(0, 1)


def sizes_of(options: Mapping[str, Any], bands: int | None) -> tuple[Sizes, int]:
    """Return the sizes of a preset and the number of bands.

    Raises:
        InputError: if a loaded prior is requested for another number of bands than three.
    """
    sizes = SMALL if options["size"] == "small" else LARGE
    count = bands or BANDS
    if not sizes.own_prior and count != BANDS:
        raise InputError(
            f"{count} bands",
            f"the frozen VAE takes {BANDS}: red, green and blue",
            "Choose a protocol of three bands, as --protocol year7-rgb, or the preset tiny",
        )
    return sizes, count


def variant_of(
    options: Mapping[str, Any],
    stages: tuple[Stage, ...],
    bands: int,
    *,
    named: str | None = None,
    steps: int | None = None,
    budgets: Sequence[int] | None = None,
) -> Variant:
    """Return how a preset is trained and used.

    Args:
        named, steps: sampler and its number of calls of the transformer; the preset's if None.
        budgets: optimiser steps of the stages; their own if None.
    """
    if budgets is not None:
        if len(budgets) != len(stages):
            raise InputError(
                f"steps of {len(budgets)} stages", f"there are {len(stages)}", "Give one for each"
            )
        stages = tuple(replace(s, steps=n) for s, n in zip(stages, budgets, strict=True))
    return Variant(
        bands=bands,
        sampler=sampler(named or str(options["sampler"]), steps or options.get("sampler_steps")),
        gain=float(options.get("gain", 1.0)),
        stages=stages,
        faithful=bool(options.get("faithful", False)),
        revision=REVISION if "revision" in options else None,
        bridged=bool(options.get("bridged", False)),
    )


def load_prior(network: Autoencoder, sizes: Sizes, weights: str | None) -> None:
    """Load the weights of a frozen prior; nothing on the meta device, which has shapes only."""
    if network.frozen and network.base.device.type != "meta":
        pretrained.load(network, Path(weights) if weights else None, sizes)
