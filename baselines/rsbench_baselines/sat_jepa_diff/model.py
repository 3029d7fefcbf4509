"""Sat-JEPA-Diff behind the door: filling, scaling, conditioning, sampling, stages of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.persistence.model import bands_of, fill
from rsbench_baselines.sat_jepa_diff import card, losses, pretrained, targets
from rsbench_baselines.sat_jepa_diff.adapter import Conditions
from rsbench_baselines.sat_jepa_diff.losses import Pair
from rsbench_baselines.sat_jepa_diff.network import Network
from rsbench_baselines.sat_jepa_diff.objective import ABLATIONS, Weights
from rsbench_baselines.sat_jepa_diff.sampling import Sampler, walk
from rsbench_baselines.sat_jepa_diff.sampling import sampler as find_sampler
from rsbench_baselines.sat_jepa_diff.sizes import (
    BANDS,
    LARGE,
    LATENT,
    LATENT_SIDE,
    SMALL,
)

PRIOR = Stage("prior", learning_rate=4e-3, steps=600, batch_size=8, modules=("vae", "transformer"))
JEPA = Stage(
    "jepa", learning_rate=5e-3, steps=1500, batch_size=8, modules=("encoder", "predictor", "head")
)
GENERATOR = Stage(
    "generator", learning_rate=4e-3, steps=600, batch_size=8, modules=("adapter", "lora")
)
JOINT = Stage(
    "joint", learning_rate=1e-4, steps=290_000, batch_size=8, weight_decay=0.04,
    modules=("encoder", "predictor", "head", "adapter", "lora"),
)  # fmt: skip
STAGES = {
    "tiny": (PRIOR, JEPA, GENERATOR),
    "fixed": (
        replace(JEPA, learning_rate=1e-4, steps=20_000, weight_decay=0.04),
        replace(GENERATOR, learning_rate=1e-4, steps=20_000, weight_decay=0.01),
    ),
    "paper": (JOINT,),
}
RGB = (("B04", "B03", "B02"), ("red", "green", "blue"))


@dataclass(frozen=True)
class Variant:
    """How the network is trained and used.

    Args:
        bands: of an image.
        sampler: how frames are drawn.
        faithful: as published: posterior drawn instead of its mean, block masks that miss the
            last row and column, adapter trained on masked tokens.
        gain: shares of the range are multiplied by this before they enter the network.
        weights: of the hybrid loss.
        stages: of training.
    """

    bands: int
    sampler: Sampler
    faithful: bool
    gain: float
    weights: Weights
    stages: tuple[Stage, ...]


class SatJepaDiff:
    """Sat-JEPA-Diff as a model of the benchmark: one step of a rollout per call."""

    def __init__(
        self, network: Network, variant: Variant, embeddings: targets.AlphaEarth | None = None
    ) -> None:
        self._network = network
        self._variant = variant
        self._embeddings = embeddings

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    @property
    def inputs(self) -> str:
        """What the predictor was trained towards."""
        return targets.ALPHA_EARTH if self._embeddings else targets.SUBSTITUTE

    @property
    def reads_places(self) -> bool:
        """Whether the loss reads rasters at the samples' places, so that these must not move."""
        return self._embeddings is not None

    def stages(self) -> Sequence[Stage]:
        """As published one; else the own prior where there is one, the predictor, the rest."""
        return self._variant.stages

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw the next frame of every sample and member."""
        network = self._network.eval()
        frames = given.frames[want.sensor]
        self._check(want)
        order = _order(want.bands, self._variant.bands)
        image = self._images(frames, want.bands)[:, :, -1][:, :, order]
        B, known = image.shape[:2]
        copies = want.members // known
        flat = image.flatten(0, 1)
        conditions = network.condition(network.foresee(flat), network.grid(flat), flat)
        latents = walk(
            partial(self._velocity, _repeated(conditions, copies)),
            _noise("latents", want),
            self._start(flat, copies, want),
            self._variant.sampler,
        )
        found = network.latents.decode(latents) / self._variant.gain
        low, high = frames.value_range
        shares = found.clamp(0, 1).reshape(B, want.members, *found.shape[1:])
        values = low + shares * (high - low)
        back = [order.index(i) for i in range(len(order))]
        return Prediction(values[:, :, back].unsqueeze(2).contiguous())

    def _velocity(self, conditions: Conditions, x: Tensor, sigma: Tensor) -> Tensor:
        return self._network.velocity(x, sigma, conditions)

    def _start(self, flat: Tensor, copies: int, want: Want) -> Tensor | None:
        """Return the last frame's latents for every member, where the sampler starts there."""
        if self._variant.sampler.start != "last":
            return None
        mean, spread = self._network.latents.posterior(flat)
        mean = mean.repeat_interleave(copies, dim=0)
        if not self._variant.faithful:
            return mean
        return mean + spread.repeat_interleave(copies, dim=0) * _noise("posterior", want)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the terms of a stage's loss over valid pixels; ``total`` is minimised."""
        self._check(want)
        pair = self._pair(given.frames[want.sensor], truth, want)
        network, variant = self._network, self._variant
        if stage.name == "prior":
            return losses.prior(network, pair, want)
        if stage.name == "jepa":
            terms, _ = losses.jepa(
                network, pair, want, weights=variant.weights, whole=True, embed=self._embed
            )
            return {**terms, "total": terms["jepa"]}
        if stage.name == "generator":
            return losses.generate(network, pair, want)
        return losses.joint(network, pair, want, weights=variant.weights, embed=self._embed)

    def _embed(self, want: Want, image: Tensor) -> Tensor:
        patch = self._network.encoder.patch
        if self._embeddings is not None:
            return self._embeddings.read(want, patch)
        return targets.substitute(image / self._variant.gain, patch)

    def _pair(self, frames: Frames, truth: Frames, want: Want) -> Pair:
        order = _order(want.bands, self._variant.bands)
        now = self._images(frames, want.bands)[:, 0, -1][:, order]
        values, valid = bands_of(truth, want.bands)
        low, high = truth.value_range
        then = (values[:, 0, 0] - low) / (high - low) * self._variant.gain
        seen = valid[:, 0, 0][:, order]
        # An invalid pixel takes last year's value; the weights of the loss leave it out.
        then = torch.where(seen, then[:, order], now)
        return Pair(now, then, seen.all(dim=1, keepdim=True))

    def _images(self, frames: Frames, bands: tuple[str, ...]) -> Tensor:
        """Return filled frames ``(B, M|1, T, C, H, W)`` in shares of the range, times the gain."""
        values, valid = bands_of(frames, bands)
        low, high = frames.value_range
        filled = fill(values, valid, frames.value_range)
        return (filled - low) / (high - low) * self._variant.gain

    def _check(self, want: Want) -> None:
        if len(want.bands) != self._variant.bands:
            raise ValueError(
                f"sat_jepa_diff was built for {self._variant.bands} bands (C) and is asked for "
                f"{len(want.bands)}: build it with bands={len(want.bands)}"
            )
        if want.times.shape[1] != 1:
            raise ValueError(
                f"sat_jepa_diff answers one lead in one call and is asked for "
                f"{want.times.shape[1]}: the rollout of its card asks step by step"
            )


def _repeated(conditions: Conditions, copies: int) -> Conditions:
    if copies == 1:
        return conditions
    return Conditions(
        conditions.hidden.repeat_interleave(copies, dim=0),
        conditions.pooled.repeat_interleave(copies, dim=0),
    )


def _noise(name: str, want: Want) -> Tensor:
    """Return normal noise of all members ``(B·M, 16, H/8, W/8)``."""
    return want.noise.normal(name, want, channels=LATENT, downscale=LATENT_SIDE).flatten(0, 1)


def _order(bands: tuple[str, ...], count: int) -> list[int]:
    """Return where red, green and blue stand, if these are the bands; else all as they come."""
    for names in RGB:
        if sorted(bands) == sorted(names):
            return [bands.index(name) for name in names]
    return list(range(count))


def build(
    preset: str,
    *,
    bands: int | None = None,
    sampler: str | None = None,
    sampler_steps: int | None = None,
    weights: str | None = None,
    embeddings: str | None = None,
    steps: Sequence[int] | None = None,
) -> SatJepaDiff:
    """Build the model.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 where None. A loaded prior knows red, green and blue alone.
        sampler: ``sjd-1step-0.35``, ``sjd-euler30-0.35`` or ``sjd-fm``; the preset's where None.
        sampler_steps: calls of the transformer, where another number than the sampler's.
        weights: folder of the frozen prior; looked for and fetched where None.
        embeddings: folder of annual AlphaEarth rasters; the substitute where None.
        steps: optimiser steps of the stages, in order.
    """
    options = dict(card.presets[preset].options)
    sizes = SMALL if options["size"] == "small" else LARGE
    count = bands or BANDS
    if not sizes.own_prior and count != BANDS:
        raise ValueError(
            f"the frozen VAE knows {BANDS} bands, red, green and blue, not {count}: choose a "
            "protocol of three bands, or the preset tiny"
        )
    stages = STAGES[str(options["stages"])]
    if steps is not None:
        if len(steps) != len(stages):
            raise ValueError(f"steps are {len(steps)} numbers for {len(stages)} stages")
        stages = tuple(replace(s, steps=n) for s, n in zip(stages, steps, strict=True))
    taught = next(s.steps for s in stages if s.name in ("jepa", "joint"))
    network = Network(
        sizes,
        count,
        kind=str(options["adapter"]),
        history=bool(options.get("history", False)),
        momentum=float(options.get("momentum", 0.999)),
        steps=taught,
    )
    if network.frozen_base and not _on_meta(network):
        pretrained.load(network, Path(weights) if weights else None, sizes)
    variant = Variant(
        bands=count,
        sampler=find_sampler(
            sampler or str(options["sampler"]), sampler_steps or options.get("sampler_steps")
        ),
        faithful=bool(options.get("faithful", False)),
        gain=float(options.get("gain", 1.0)),
        weights=ABLATIONS[str(options.get("ablation", "e"))],
        stages=stages,
    )
    reader = targets.AlphaEarth(Path(embeddings)) if embeddings else None
    return SatJepaDiff(network, variant, reader)


def _on_meta(network: Network) -> bool:
    return network.head.weight.device.type == "meta"
