"""PredRNN behind the door: masks, residual, a state that lasts through a rollout, and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, Prediction, Stage, Want
from rsbench_baselines.persistence.model import bands_of
from rsbench_baselines.predrnn import card
from rsbench_baselines.predrnn.frames import Sampling, fill_causally
from rsbench_baselines.predrnn.network import Increments, PredRNN, State

REPAIRED = ("tiny", "tiny_v2", "fixed", "fixed_v1")
RESTARTS = ("paper", "paper_v2")
PUBLISHED_BANDS = {"mmnist": 1, "kth": 1}
STAGES = {
    "tiny": Stage("fit", learning_rate=4e-3, steps=400, batch_size=8, leads=2),
    "fixed": Stage("fit", learning_rate=5e-4, steps=20_000, batch_size=16, leads=3),
    "paper": Stage("fit", learning_rate=5e-4, steps=20_000, batch_size=16),
    "mmnist": Stage("fit", learning_rate=5e-4, steps=125_000, batch_size=16, leads=10),
    "kth": Stage("fit", learning_rate=1e-3, steps=80_000, batch_size=16, leads=20),
    "kitti": Stage("fit", learning_rate=1e-2, steps=80_000, batch_size=16),
}
PUBLISHED_STEPS = 80_000
"""Iterations for which the schedules of sampling were published."""


@dataclass(frozen=True)
class Variant:
    """How the network is used.

    Args:
        bands: number of bands.
        repaired: residual over the latest frame, with a channel that is 1 where the pixel was
            seen; else frames only, as published.
        restarts: forget the state at every step, as with one context frame and one lead.
        beta: weight of the decoupling loss; 0 is V1.
        sampling: when training feeds true frames.
        stage: how it is trained.
    """

    bands: int
    repaired: bool
    restarts: bool
    beta: float
    sampling: Sampling
    stage: Stage


@dataclass(frozen=True)
class Memory:
    """What lasts between two leads; its size does not depend on how many there are.

    Args:
        frame: the latest frame ``(B·M, C, H, W)``, in shares of the value range.
        seen: ``(B·M, 1, H, W)``, 1 where it is known.
        state: of the network, before ``frame``.
        shape: ``(B, M|1)``.
        value_range: of the unit.
    """

    frame: Tensor
    seen: Tensor
    state: State
    shape: tuple[int, int]
    value_range: tuple[float, float]


class PredRNNModel:
    """PredRNN as a model of the benchmark."""

    def __init__(self, network: PredRNN, variant: Variant) -> None:
        self._network = network
        self._variant = variant
        # Counted in samples, so that a batch in parts counts once; saved with the weights, so
        # that training goes on in its schedule.
        network.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """One stage: mean squared error of every one-step prediction, context included."""
        return (self._variant.stage,)

    def start(self, given: Given, want: Want) -> Memory:
        """Read the context, all but its last frame, which is the first to be stepped from."""
        self._network.eval()
        self._check(want)
        frames = given.frames[want.sensor]
        values, seen, _ = self._scaled(frames, want.bands)
        state = self._network.zero()
        if not self._variant.restarts:
            for t in range(values.shape[1] - 1):
                _, state, _ = self._next(values[:, t], seen[:, t], state)
        shape = (frames.values.shape[0], frames.values.shape[1])
        return Memory(values[:, -1], seen[:, -1], state, shape, frames.value_range)

    def step(self, state: Memory, want: Want) -> tuple[Prediction, Memory]:
        """Predict one lead."""
        self._network.eval()
        before = self._network.zero() if self._variant.restarts else state.state
        answer, after, _ = self._next(state.frame, state.seen, before)
        low, high = state.value_range
        values = (low + answer * (high - low)).reshape(*state.shape, 1, *answer.shape[1:])
        if values.shape[1] != want.members:
            values = values.expand(-1, want.members, -1, -1, -1, -1)
        kept = replace(state, frame=answer, seen=torch.ones_like(state.seen), state=after)
        return Prediction(values.contiguous()), kept

    def predict(self, given: Given, want: Want) -> Prediction:
        """Answer any number of leads, one step each."""
        memory = self.start(given, want)
        answers = []
        for _ in range(want.times.shape[1]):
            answer, memory = self.step(memory, want)
            answers.append(answer.values)
        return Prediction(torch.cat(answers, dim=2))

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the mean squared error over valid pixels, in shares of the value range.

        All one-step predictions count, those of context frames too; V2 adds β times the likeness
        of what the two memories take in. In evaluation the frames are fed as in a rollout.
        """
        self._check(want)
        frames = given.frames[want.sensor]
        context = len(frames.predicted)
        values, seen, valid = self._scaled(_joined(frames, truth, want.bands), want.bands)
        error, likenesses = values.new_zeros(()), []
        for t, (answer, added) in enumerate(self._unrolled(values, seen, context), start=1):
            gap = torch.where(valid[:, t], answer - values[:, t], 0)
            error = error + gap.square().sum()
            if self._variant.beta:
                likenesses.append(self._network.likeness(added))
        error = error / valid[:, 1:].sum().clamp(min=1)
        if not likenesses:
            return {"total": error}
        likeness = torch.stack(likenesses).mean()
        return {"total": error + self._variant.beta * likeness, "mse": error, "likeness": likeness}

    def _unrolled(
        self, values: Tensor, seen: Tensor, context: int
    ) -> Iterator[tuple[Tensor, list[Increments]]]:
        """Yield the prediction of frames 1, 2, … and the increments of each step."""
        steps = values.shape[1] - 1
        true = self._coins(values.shape[0], context, steps).to(values.device)
        state, answer = self._network.zero(), values[:, 0]
        for t in range(steps):
            pick = true[:, t].view(-1, 1, 1, 1)
            frame = torch.where(pick, values[:, t], answer)
            known = torch.where(pick, seen[:, t], 1.0)
            if self._variant.restarts:
                state = self._network.zero()
            answer, state, added = self._next(frame, known, state)
            yield answer, added

    def _coins(self, samples: int, context: int, steps: int) -> Tensor:
        variant = self._variant
        if not self._network.training:
            return Sampling("none").coins(samples, context, steps, 0.0)
        count = self._network.get_buffer("samples_seen")
        iteration = int(count) / variant.stage.batch_size
        count += samples * _processes()
        return variant.sampling.coins(samples, context, steps, iteration)

    def _next(
        self, frame: Tensor, seen: Tensor, state: State
    ) -> tuple[Tensor, State, list[Increments]]:
        shown = torch.cat([frame, seen], dim=1) if self._variant.repaired else frame
        answer, state, added = self._network(shown, state)
        answer = answer.float()
        return (frame + answer if self._variant.repaired else answer), state, added

    def _scaled(self, frames: Frames, bands: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Return filled shares of the range, where all bands were seen (1 or 0), and validity."""
        values, valid = bands_of(frames, bands)
        low, high = frames.value_range
        shares = torch.where(valid, (values - low) / (high - low), 0).flatten(0, 1)
        valid = valid.flatten(0, 1)
        filled = fill_causally(shares, valid, 0.5)
        return filled, valid.all(dim=2, keepdim=True).to(filled.dtype), valid

    def _check(self, want: Want) -> None:
        if len(want.bands) != self._variant.bands:
            raise ValueError(
                f"predrnn was built for {self._variant.bands} bands (C) and is asked for "
                f"{len(want.bands)}: build it with bands={len(want.bands)}"
            )


def _joined(context: Frames, truth: Frames, bands: tuple[str, ...]) -> Frames:
    """Return context and truth as one series of the wanted bands."""
    parts = [bands_of(frames, bands) for frames in (context, truth)]
    return replace(
        context,
        values=torch.cat([values for values, _ in parts], dim=2),
        valid=torch.cat([valid for _, valid in parts], dim=2),
        times=torch.cat([context.times, truth.times], dim=1),
        bands=bands,
        predicted=(*context.predicted, *truth.predicted),
    )


def _processes() -> int:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


def build(
    preset: str,
    *,
    bands: int | None = None,
    num_hidden: str | Sequence[int] | None = None,
    filter_size: int | None = None,
    patch_size: int | None = None,
    stride: int | None = None,
    decouple_beta: float | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> PredRNNModel:
    """Build the model; what is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; the published number where None.
        num_hidden: width of each layer, e.g. ``128,128,128,128``.
        filter_size: side of the convolutions.
        patch_size: side of the pixel blocks folded into channels; sides are multiples of it.
        stride: of the convolutions; published as 1, and nothing else keeps the state's size.
        decouple_beta: weight of the decoupling loss of V2; 0 turns it off.
        learning_rate: peak of the one-cycle schedule.
        steps: optimiser steps.
        batch_size: samples per step.
    """
    sizes = {
        "num_hidden": num_hidden, "filter_size": filter_size, "patch_size": patch_size,
        "stride": stride, "decouple_beta": decouple_beta, "learning_rate": learning_rate,
        "steps": steps, "batch_size": batch_size,
    }  # fmt: skip
    options: dict[str, Any] = dict(card.presets[preset].options)
    second = "decouple_beta" in options
    if decouple_beta is not None and not second:
        raise ValueError(f"preset {preset} is V1, without the adapter that decouple_beta needs")
    options |= {name: value for name, value in sizes.items() if value is not None}
    beta = float(options.pop("decouple_beta", 0.0))
    name = preset.partition("_")[0]
    bands = bands or PUBLISHED_BANDS.get(name, 3)
    stage, options = _stage(STAGES[name], options)
    repaired = preset in REPAIRED
    widths = options.pop("num_hidden")
    network = PredRNN(
        (1, bands + repaired, 128, 128),
        tuple(int(w) for w in (widths.split(",") if isinstance(widths, str) else widths)),
        decoupled=second,
        out_channels=bands,
        **options,
    )
    if repaired:
        # Training starts from persistence.
        nn.init.zeros_(network.conv_last.weight)
    sampling = _sampling(second, stage, published=not repaired)
    restarts = preset in RESTARTS
    return PredRNNModel(network, Variant(bands, repaired, restarts, beta, sampling, stage))


def _stage(base: Stage, options: dict[str, Any]) -> tuple[Stage, dict[str, Any]]:
    known = {"learning_rate", "steps", "batch_size"}
    given = {name: value for name, value in options.items() if name in known}
    return replace(base, **given), {n: v for n, v in options.items() if n not in known}


def _sampling(second: bool, stage: Stage, *, published: bool) -> Sampling:
    """Return the published schedule, or one scaled to the length of the training."""
    whole = Sampling("reverse" if second else "scheduled")
    if published:
        return whole
    share = stage.steps / PUBLISHED_STEPS
    return replace(
        whole,
        start=round(whole.start * share),
        stop=max(1, round(whole.stop * share)),
        alpha=whole.alpha * share,
    )
