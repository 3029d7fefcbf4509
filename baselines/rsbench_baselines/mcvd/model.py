"""MCVD behind the door: frames as condition, masking of the past, two samplers, training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.ddpm.diffusion import Denoiser, Diffusion, Draw
from rsbench_baselines.ddpm.pixels import image_of, lesson, slots_of, target_of
from rsbench_baselines.mcvd import card
from rsbench_baselines.mcvd.network import UNet
from rsbench_baselines.persistence.model import bands_of

REPAIRED = ("tiny", "fixed", "fixed_big", "fixed_spade")
MAX_SLOTS = 7
PUBLISHED_BANDS = {"kth": 1}
STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=400, batch_size=8),
    "fixed": Stage("fit", learning_rate=2e-4, steps=20_000, batch_size=16),
    "paper": Stage("fit", learning_rate=1e-4, steps=20_000, batch_size=32),
    "cityscapes": Stage("fit", learning_rate=1e-4, steps=300_000, batch_size=32),
    "kth": Stage("fit", learning_rate=2e-4, steps=300_000, batch_size=64),
}


@dataclass(frozen=True)
class Sampler:
    """How frames are drawn.

    Args:
        sampler: ``ddpm`` draws each step from the posterior; ``ddim`` follows ``eta``.
        subsample: calls of the network, at equal strides of the process.
        eta: of DDIM; 0 is deterministic after the first noise.
        denoise: take the noise of the last step off once more, as the published sampler does,
            with the number of calls where the network expects a time.
    """

    sampler: Literal["ddpm", "ddim"] = "ddpm"
    subsample: int = 100
    eta: float = 0.0
    denoise: bool = False

    def __post_init__(self) -> None:
        if self.sampler not in ("ddpm", "ddim"):
            raise ValueError(f"sampler is {self.sampler!r}: it is ddpm or ddim")


@dataclass(frozen=True)
class Variant:
    """How the network is used.

    Args:
        bands: number of bands.
        num_frames: frames of one answer.
        slots: context frames of the condition.
        repaired: fewer frames are right-aligned, with a channel that is 1 where they were seen,
            and the loss is a mean over valid pixels; else all slots are needed, without such a
            channel, and the loss is half the sum over pixels, as published.
        gain: 0 where frames are drawn, scaled to ±1; else their change since the last given one,
            times this.
        prob_mask_cond: how often a training sample goes without the given frames.
        stage: how it is trained.
    """

    bands: int
    num_frames: int
    slots: int
    repaired: bool
    gain: float
    prob_mask_cond: float
    stage: Stage


def strided(steps: int, count: int) -> list[int]:
    """Return ``count`` times of a process of ``steps``, at equal strides from the noisiest."""
    if not 1 <= count <= steps:
        raise ValueError(f"subsample is {count}: it is 1 to {steps}, the steps of the process")
    return [steps - 1 - i * steps // count for i in range(count)]


class MCVDModel:
    """MCVD as a model of the benchmark."""

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
        condition, last = self._condition(frames, want.bands)
        B, M, T = len(want.samples), want.members, want.times.shape[1]
        condition = condition.expand(-1, M, -1, -1, -1).flatten(0, 1)
        last = last.expand(-1, M, -1, -1, -1).flatten(0, 1)

        def draw(name: str) -> Tensor:
            channels = T * len(want.bands)
            return want.noise.normal(f"mcvd/{name}", want, channels=channels).flatten(0, 1)

        def tell(x: Tensor, time: int) -> Tensor:
            return self._noise(x, torch.full((len(x),), time, device=x.device), condition)

        drawn = self._sample(tell, draw)
        size = drawn.shape[-2:]
        shares = image_of(drawn.reshape(B * M, T, -1, *size), last[:, None], self._variant.gain)
        low, high = frames.value_range
        return Prediction((low + shares * (high - low)).reshape(B, M, T, -1, *size))

    def _sample(self, tell: Denoiser, draw: Draw) -> Tensor:
        how, diffusion = self._sampler, self._diffusion
        times = strided(diffusion.steps, how.subsample)
        x = diffusion.sample(
            tell, draw, steps=how.subsample, eta=how.eta, times=times,
            ancestral=how.sampler == "ddpm",
        )  # fmt: skip
        if not how.denoise:
            return x
        # Counted from the noisiest time, as published, the last of L calls is told L − 1.
        label = diffusion.steps - how.subsample
        return x - math.sqrt(1 - diffusion.alpha_bar(times[-1])) * tell(x, label)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return ‖ε − ε̂‖² over valid pixels at times drawn evenly.

        Repaired presets take the mean; published ones half the sum, averaged over samples.
        """
        self._check(want)
        variant = self._variant
        condition, last = self._condition(given.frames[want.sensor], want.bands)
        condition, last = condition.flatten(0, 1), last.flatten(0, 1)[:, None]
        low, high = truth.value_range
        values, valid = (part.flatten(0, 1) for part in bands_of(truth, want.bands))
        share = torch.where(valid, (values - low) / (high - low), last)
        clean, valid = target_of(share, last, variant.gain).flatten(1, 2), valid.flatten(1, 2)
        dropout = variant.prob_mask_cond if self._network.training else 0.0
        shown = lesson(self._diffusion, clean, condition, dropout=dropout)
        error = self._noise(shown.noisy, shown.times, shown.condition) - shown.noise
        total = torch.where(valid, error, 0).square().sum()
        share_of = valid.sum().clamp(min=1) if variant.repaired else 2 * len(clean)
        return {"total": total / share_of}

    def _noise(self, noisy: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        found: Tensor = self._network(noisy, condition, times)
        return found.float()

    def _condition(self, frames: Frames, bands: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Return ``(B, M|1, slots·C or slots·(C + 1), H, W)`` and the last frame."""
        variant = self._variant
        have = len(frames.predicted)
        if not variant.repaired and have < variant.slots:
            raise ValueError(f"this preset takes {variant.slots} context frames, not {have}")
        slots, last = slots_of(frames, bands, variant.slots)
        if not variant.repaired:
            slots = slots[:, :, :, : variant.bands]
        return slots.flatten(2, 3), last

    def _check(self, want: Want) -> None:
        variant = self._variant
        if len(want.bands) != variant.bands:
            raise ValueError(
                f"mcvd was built for {variant.bands} bands (C) and is asked for "
                f"{len(want.bands)}: build it with bands={len(want.bands)}"
            )
        if want.times.shape[1] != variant.num_frames:
            raise ValueError(
                f"mcvd answers {variant.num_frames} leads (T) in one call and is asked for "
                f"{want.times.shape[1]}: the rollout of its card asks block by block"
            )


def build(
    preset: str,
    *,
    bands: int | None = None,
    context: int | None = None,
    ngf: int | None = None,
    ch_mult: Sequence[int] | None = None,
    num_res_blocks: int | None = None,
    attn_resolutions: Sequence[int] | None = None,
    image_size: int | None = None,
    n_head_channels: int | None = None,
    dropout: float | None = None,
    spade_dim: int | None = None,
    sampler: str | None = None,
    subsample: int | None = None,
    eta: float | None = None,
    denoise: bool | None = None,
    gain: float | None = None,
    prob_mask_cond: float | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> MCVDModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; the preset's published number where None.
        context: number of context frames; the repaired presets look at up to so many (at most 7).
        ngf, ch_mult, num_res_blocks, attn_resolutions, image_size, n_head_channels, dropout,
            spade_dim: sizes of :class:`UNet`.
        sampler, subsample, eta, denoise: of :class:`Sampler`.
        gain, prob_mask_cond: of :class:`Variant`.
        learning_rate, steps, batch_size: of the training.
    """
    asked = {n: v for n, v in locals().items() if n not in ("preset", "bands", "context")}
    options: dict[str, Any] = dict(card.presets[preset].options)
    options |= {name: value for name, value in asked.items() if value is not None}
    kind = preset.partition("_")[0]
    repaired = preset in REPAIRED
    bands = bands or PUBLISHED_BANDS.get(kind, 3)
    slots = int(options.get("num_frames_cond", 1))
    if repaired:
        slots = min(context or (1 if kind == "tiny" else MAX_SLOTS), MAX_SLOTS)
    frames = int(options.get("num_frames", 1))
    sizes = {
        n: options[n] for n in ("ngf", "ch_mult", "num_res_blocks", "attn_resolutions",
                                "image_size", "n_head_channels", "dropout", "spade_dim")
        if n in options
    }  # fmt: skip
    network = UNet(bands, frames, slots * (bands + repaired), **sizes)
    named = {field.name for field in fields(Sampler)}
    how = Sampler(**{n: v for n, v in options.items() if n in named})
    diffusion = Diffusion()
    strided(diffusion.steps, how.subsample)  # refuses a number of calls that cannot be
    trained = {n: options[n] for n in ("learning_rate", "steps", "batch_size") if n in options}
    stage = replace(STAGES[kind], leads=frames, **trained)
    variant = Variant(
        bands, frames, slots, repaired, float(options.get("gain", 0.0)),
        float(options.get("prob_mask_cond", 0.0)), stage,
    )  # fmt: skip
    return MCVDModel(network, diffusion, how, variant)
