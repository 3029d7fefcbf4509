"""The diffusion forecaster behind the door: condition, target, training, seeded sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.ddpm import card
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.ddpm.network import UNet
from rsbench_baselines.ddpm.pixels import image_of, lesson, slots_of, target_of
from rsbench_baselines.persistence.model import bands_of

MAX_SLOTS = 7
STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=400, batch_size=8),
    "small": Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16),
    "fixed": Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16),
}


@dataclass(frozen=True)
class Sampler:
    """How an image is drawn.

    Args:
        sampling_steps: calls of the network per image.
        eta: 0 is DDIM without noise on the way; 1 adds what DDPM adds.
        guidance: weight w of ε_∅ + w·(ε_c − ε_∅); 1 needs no call without condition.
    """

    sampling_steps: int = 50
    eta: float = 0.0
    guidance: float = 1.0


@dataclass(frozen=True)
class Variant:
    """How the network is used.

    Args:
        bands: number of bands.
        slots: context frames of the condition; fewer are right-aligned.
        gain: 0 where the image itself is drawn, scaled to ±1; else its change since the last
            frame, times this, in shares of the range: changes up to 1/gain can be drawn.
        condition_dropout: how often a training sample goes without its condition.
        stage: how it is trained.
    """

    bands: int
    slots: int
    gain: float
    condition_dropout: float
    stage: Stage


class DiffusionModel:
    """A conditional diffusion in pixel space as a model of the benchmark."""

    def __init__(
        self, network: UNet, diffusion: Diffusion, sampler: Sampler, variant: Variant
    ) -> None:
        self._network = network
        self._diffusion = diffusion
        self._sampler = sampler
        self._variant = variant

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: the squared error of the noise, all times weighted alike."""
        return (self._variant.stage,)

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw each member on its own, all members and samples in one call per step."""
        self._network.eval()
        self._check(want)
        frames = given.frames[want.sensor]
        slots, last = slots_of(frames, want.bands, self._variant.slots)
        condition = slots.flatten(2, 3)
        M = want.members
        condition = condition.expand(-1, M, -1, -1, -1).flatten(0, 1)
        last = last.expand(-1, M, -1, -1, -1).flatten(0, 1)

        def draw(name: str) -> Tensor:
            return want.noise.normal(f"ddpm/{name}", want, channels=len(want.bands)).flatten(0, 1)

        drawn = self._diffusion.sample(
            lambda x, time: self._guided(x, time, condition),
            draw,
            steps=self._sampler.sampling_steps,
            eta=self._sampler.eta,
        )
        low, high = frames.value_range
        values = low + image_of(drawn, last, self._variant.gain) * (high - low)
        B = len(want.samples)
        return Prediction(values.reshape(B, M, 1, *values.shape[1:]))

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the mean of ‖ε − ε̂‖² over valid pixels, at times drawn evenly."""
        self._check(want)
        slots, last = slots_of(given.frames[want.sensor], want.bands, self._variant.slots)
        condition, last = slots.flatten(2, 3).flatten(0, 1), last.flatten(0, 1)
        low, high = truth.value_range
        values, valid = bands_of(truth, want.bands)
        valid = valid[:, :, 0].flatten(0, 1)
        share = torch.where(valid, (values[:, :, 0].flatten(0, 1) - low) / (high - low), last)
        clean = target_of(share, last, self._variant.gain)
        dropout = self._variant.condition_dropout if self._network.training else 0.0
        shown = lesson(self._diffusion, clean, condition, dropout=dropout)
        error = self._noise(shown.noisy, shown.times, shown.condition) - shown.noise
        total = torch.where(valid, error, 0).square().sum() / valid.sum().clamp(min=1)
        return {"total": total}

    def _noise(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        found: Tensor = self._network(torch.cat([noisy, condition], dim=1), times)
        return found.float()

    def _guided(self, noisy: Tensor, time: int, condition: Tensor) -> Tensor:
        times = torch.full((noisy.shape[0],), time, device=noisy.device)
        told = self._noise(noisy, times, condition)
        weight = self._sampler.guidance
        if weight == 1.0:
            return told
        untold = self._noise(noisy, times, torch.zeros_like(condition))
        return untold + weight * (told - untold)

    def _check(self, want: Want) -> None:
        if len(want.bands) != self._variant.bands:
            raise ValueError(
                f"ddpm was built for {self._variant.bands} bands (C) and is asked for "
                f"{len(want.bands)}: build it with bands={len(want.bands)}"
            )
        if want.times.shape[1] != 1:
            raise ValueError(
                f"ddpm answers one lead (T) in one call and is asked for {want.times.shape[1]}: "
                "the rollout of its card asks lead by lead"
            )


def build(
    preset: str,
    *,
    bands: int | None = None,
    context: int | None = None,
    base: int | None = None,
    mult: Sequence[int] | None = None,
    num_res_blocks: int | None = None,
    attention: Sequence[int] | None = None,
    diffusion_steps: int | None = None,
    schedule: str | None = None,
    sampling_steps: int | None = None,
    eta: float | None = None,
    guidance: float | None = None,
    condition_dropout: float | None = None,
    gain: float | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> DiffusionModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 where None.
        context: number of context frames; up to so many are looked at (at most 7).
        base, mult, num_res_blocks, attention: sizes of :class:`UNet`.
        diffusion_steps, schedule: of :class:`Diffusion`.
        sampling_steps, eta, guidance: of :class:`Sampler`.
        condition_dropout, gain: of :class:`Variant`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {n: v for n, v in locals().items() if n not in ("preset", "bands", "context")}
    options: dict[str, Any] = dict(card.presets[preset].options)
    options |= {name: value for name, value in asked.items() if value is not None}
    bands = bands or 3
    slots = min(context or (1 if preset == "tiny" else MAX_SLOTS), MAX_SLOTS)
    network = UNet(
        bands + slots * (bands + 1),
        bands,
        options["base"],
        tuple(options["mult"]),
        options["num_res_blocks"],
        tuple(options["attention"]),
    )
    stage = replace(
        STAGES[preset],
        **{n: options[n] for n in ("learning_rate", "steps", "batch_size") if n in options},
    )
    diffusion = Diffusion(options.get("diffusion_steps", 1000), options.get("schedule", "linear"))
    names = {field.name for field in fields(Sampler)}
    sampler = Sampler(**{n: v for n, v in options.items() if n in names})
    diffusion.times(sampler.sampling_steps)  # refuses a number of steps that cannot be
    variant = Variant(
        bands, slots, options.get("gain", 0.0), options.get("condition_dropout", 0.0), stage
    )
    return DiffusionModel(network, diffusion, sampler, variant)
