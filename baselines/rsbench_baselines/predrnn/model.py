"""PredRNN as a model: masks, residual, a state that lasts through a rollout, and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Prediction, Stage, Want
from rsbench_baselines._checks import check_bands
from rsbench_baselines._options import TRAINING, accepts, trained
from rsbench_baselines.persistence.model import bands_of
from rsbench_baselines.predrnn import card
from rsbench_baselines.predrnn.frames import Sampling, fill_causally
from rsbench_baselines.predrnn.network import Increments, PredRNN, State
from rsbench_baselines.predrnn.released import layout
from rsbench_baselines.released import Layout, LoadsReleased

REPAIRED = ("tiny", "tiny_v2", "fixed", "fixed_v1")
RESTARTS = ("paper", "paper_v2")
PUBLISHED_BANDS = {"mmnist": 1, "mmnist_v2": 1, "kth": 1, "kth_v2": 1}
_TINY = Stage("fit", learning_rate=4e-3, steps=400, batch_size=8, leads=2)
_FIXED = Stage("fit", learning_rate=5e-4, steps=20_000, batch_size=16, leads=3)
_PAPER = Stage("fit", learning_rate=5e-4, steps=20_000, batch_size=16)
_MMNIST = Stage("fit", learning_rate=5e-4, steps=125_000, batch_size=16, leads=10)
_KTH = Stage("fit", learning_rate=1e-3, steps=80_000, batch_size=16, leads=20)
_KITTI = Stage("fit", learning_rate=1e-2, steps=80_000, batch_size=16)
STAGES = {
    "tiny": _TINY,
    "tiny_v2": _TINY,
    "fixed": _FIXED,
    "fixed_v1": _FIXED,
    "paper": _PAPER,
    "paper_v2": _PAPER,
    "mmnist": _MMNIST,
    "mmnist_v2": _MMNIST,
    "kth": _KTH,
    "kth_v2": _KTH,
    "kitti": _KITTI,
    "kitti_v2": replace(_KITTI, learning_rate=1e-3),
}
PUBLISHED_STEPS = 80_000
"""Iterations that the published sampling schedules are stated for."""


@dataclass(frozen=True)
class Variant:
    """How the network is used and trained.

    Args:
        bands: number of bands.
        repaired: residual over the latest frame, with a channel that is 1 where all bands are
            valid; otherwise frames only, as published.
        restarts: reset the state at every step, as with one context frame and one lead time.
        beta: weight of the decoupling loss; 0 is V1.
        sampling: schedule by which training feeds true frames.
        stage: the stage of training.
    """

    bands: int
    repaired: bool
    restarts: bool
    beta: float
    sampling: Sampling
    stage: Stage


@dataclass(frozen=True)
class Memory:
    """State kept between two lead times; its size does not depend on their number.

    Args:
        frame: the latest frame ``(B·M, C, H, W)``, in shares of the value range.
        seen: ``(B·M, 1, H, W)``, 1 where it is valid.
        state: of the network, before ``frame``.
        shape: ``(B, M|1)``.
        value_range: of the unit.
    """

    frame: Tensor
    seen: Tensor
    state: State
    shape: tuple[int, int]
    value_range: tuple[float, float]


class PredRNNModel(LoadsReleased):
    """PredRNN as a model of the benchmark."""

    def __init__(self, network: PredRNN, variant: Variant) -> None:
        self._network = network
        self._variant = variant
        # A count of samples is the same for a batch in parts; saved with the weights, it lets
        # training resume in its schedule.
        network.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the one stage: mean squared error of all one-step predictions."""
        return (self._variant.stage,)

    def released(self) -> tuple[nn.Module, Layout]:
        """Return the network, and the layout of OpenSTL's checkpoints."""
        return self._network, layout(len(self._network.cell_list))

    def start(self, given: Given, want: Want) -> Memory:
        """Read all context frames but the last, which is the input of the first step."""
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
        """Predict one lead time."""
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
        """Predict any number of lead times, one step each."""
        memory = self.start(given, want)
        answers = []
        for _ in range(want.times.shape[1]):
            answer, memory = self.step(memory, want)
            answers.append(answer.values)
        return Prediction(torch.cat(answers, dim=2))

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the mean squared error over valid pixels, in shares of the value range.

        All one-step predictions count, including those of context frames. V2 adds β times the
        cosine similarity of the increments of both memories. In evaluation mode frames are fed as
        in a rollout.
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
        """Return filled shares of the range, where all bands are valid (1 or 0), and validity."""
        values, valid = bands_of(frames, bands)
        low, high = frames.value_range
        shares = torch.where(valid, (values - low) / (high - low), 0).flatten(0, 1)
        valid = valid.flatten(0, 1)
        filled = fill_causally(shares, valid, 0.5)
        return filled, valid.all(dim=2, keepdim=True).to(filled.dtype), valid

    def _check(self, want: Want) -> None:
        check_bands("predrnn", self._variant.bands, want)


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


@accepts("bands", "num_hidden", "filter_size", "patch_size", "stride", "decouple_beta", *TRAINING,
         of=(STAGES, PredRNN), decouple_beta=0.0)  # fmt: skip
def build(preset: str, *, bands: int | None = None, **asked: Any) -> PredRNNModel:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; the published number where None.
        asked: ``num_hidden``, the width of each layer, e.g. ``128,128,128,128``; ``filter_size``,
            the side of the convolutions; ``patch_size``, the side of the pixel blocks folded into
            channels, which divides the sides of the images; ``stride`` of the convolutions, 1 as
            published and in every network whose state keeps its size; ``decouple_beta``, the
            weight of V2's decoupling loss, 0 to turn it off; ``learning_rate`` (the peak of the
            one-cycle schedule), ``steps`` and ``batch_size`` of the training.

    Raises:
        InputError: if ``decouple_beta`` is given for a preset of V1.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    second = "decouple_beta" in card.presets[preset].options
    if "decouple_beta" in asked and not second:
        raise InputError(
            f"decouple_beta={asked['decouple_beta']}",
            f"preset {preset} is V1, which has no adapter for the decoupling loss",
            "Choose a preset of V2",
        )
    beta = float(options.pop("decouple_beta", 0.0))
    stage, repaired = trained(STAGES[preset], options), preset in REPAIRED
    bands = bands or PUBLISHED_BANDS.get(preset, 3)
    widths = options.pop("num_hidden")
    network = PredRNN(
        (1, bands + repaired, 128, 128),
        tuple(int(w) for w in (widths.split(",") if isinstance(widths, str) else widths)),
        decoupled=second,
        out_channels=bands,
        **{name: value for name, value in options.items() if name not in TRAINING},
    )
    if repaired:
        nn.init.zeros_(network.conv_last.weight)  # training starts from persistence
    sampling = _sampling(second, stage, published=not repaired)
    restarts = preset in RESTARTS
    return PredRNNModel(network, Variant(bands, repaired, restarts, beta, sampling, stage))


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
