"""DiffusionSat as a forecaster: one to three dated frames, and the date of the wanted one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rsbench import Frames, Given, InputError, Model, Prediction, Stage, Want
from rsbench_baselines._checks import check_bands, check_leads
from rsbench_baselines._latent import Answer, Process, rgb_order
from rsbench_baselines._options import accepts
from rsbench_baselines._snapshot import Snapshot
from rsbench_baselines.ddpm.diffusion import Diffusion
from rsbench_baselines.ddpm.pixels import image_of, target_of
from rsbench_baselines.diffusionsat import card
from rsbench_baselines.diffusionsat.generator import Conditions, Generator, Inputs
from rsbench_baselines.diffusionsat.metadata import metadata
from rsbench_baselines.diffusionsat.sizes import SIZES
from rsbench_baselines.persistence.model import bands_of, fill

SLOTS = 3
PRIOR, CONTROL = "prior", "control"
STAGES: Mapping[str, tuple[Stage, ...]] = {
    "tiny": (
        Stage(PRIOR, learning_rate=4e-3, steps=200, batch_size=8, modules=("unet", "words")),
        Stage(CONTROL, learning_rate=4e-3, steps=300, batch_size=8, modules=("control",)),
    ),
    "paper": (
        Stage(PRIOR, learning_rate=2e-6, steps=100_000, batch_size=64, modules=("unet",)),
        Stage(CONTROL, learning_rate=2e-5, steps=40_000, batch_size=16, modules=("control",)),
    ),
    "released": (
        Stage(CONTROL, learning_rate=2e-5, steps=40_000, batch_size=16, modules=("control",)),
    ),
}
SD21 = Snapshot("loading Stable Diffusion 2.1 for diffusionsat", "stabilityai/stable-diffusion-2-1")
RELEASED = Snapshot("loading the released DiffusionSat", "diffusionsat", hub=False)


@dataclass(frozen=True)
class Variant:
    """How a generator is trained and used.

    Args:
        process: noise, sampler and loss.
        gain: 0 if images are drawn; otherwise their change since the last frame, in shares of
            the value range, times this.
        dropout: probability that a text, and each metadata number, is left out in training.
        stages: of training.
    """

    process: Process
    gain: float
    dropout: float
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Shown:
    """What is given, N = B·(M|1) rows.

    Args:
        inputs: of the generator.
        last: the image that changes are counted from ``(N, C, H, W)``, in shares of the range.
    """

    inputs: Inputs
    last: Tensor


class SatDiffusion(ABC):
    """A generator with metadata and condition frames; a subclass reads them from ``given``."""

    name: ClassVar[str]

    def __init__(self, network: Generator, variant: Variant, source: Snapshot) -> None:
        self._network = network
        self._variant = variant
        self._source = source

    @property
    def module(self) -> nn.Module:
        """The network; its state dict is the checkpoint."""
        return self._network

    def stages(self) -> Sequence[Stage]:
        """Return the stages of training, in order."""
        return self._variant.stages

    @abstractmethod
    def shown(self, given: Given, want: Want) -> Shown:
        """Return what the generator is told, and the image that changes are counted from."""

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw one image for each sample and member, ``at_once`` in a call of the network."""
        return self.drawn(given, want, controlled=True)

    def drawn(self, given: Given, want: Want, *, controlled: bool) -> Prediction:
        """Draw images with or without the control branch."""
        self._network.eval()
        self._check(want)
        shown = self.shown(given, want)
        conditions = self._network.conditions(shown.inputs)
        free = None
        if self._variant.process.guidance != 1.0:
            free = self._network.free(shown.inputs, conditions)
        B, M = len(want.samples), want.members
        row = torch.arange(B * M, device=want.times.device)
        known = len(shown.last) // B
        row = row if known == M else row // M
        parts = [
            self._drawn(part, row[part], (conditions, free), want, controlled=controlled)
            for part in self._variant.process.chunks(B * M)
        ]
        image = self._network.codec.decode(torch.cat(parts)).clamp(-1, 1)
        shares = image_of(image, shown.last[row], self._variant.gain)
        low, high = self._range(given, want)
        values = (low + shares * (high - low)).view(B, M, *shares.shape[1:])
        order = rgb_order(want.bands, len(want.bands))
        back = [order.index(i) for i in range(len(order))]
        return Prediction(values[:, :, back].unsqueeze(2).contiguous())

    def _drawn(
        self, part: slice, row: Tensor, told: tuple[Conditions, Conditions | None], want: Want, *,
        controlled: bool,
    ) -> Tensor:  # fmt: skip
        """Return the latents of some images, of their conditions and those of guidance."""
        (conditions, free), codec = told, self._network.codec

        def draw(name: str) -> Tensor:
            field = want.noise.normal(
                f"{self.name}/{name}", want, channels=codec.channels, downscale=codec.side
            )
            return field.flatten(0, 1)[part]

        def network(told: Conditions) -> Answer:
            return self._network.answer(told.rows(row), controlled=controlled)

        answer, other = network(conditions), None if free is None else network(free)
        return self._variant.process.sample(answer, other, draw)

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return the squared error of what the network predicts, over valid pixels."""
        self._check(want)
        network, variant = self._network, self._variant
        training = any(network.get_submodule(name).training for name in stage.modules)
        if stage.name == CONTROL and training:
            network.start_control()
        shown = self.shown(given, want)
        order = rgb_order(want.bands, len(want.bands))
        values, valid = (part[:, 0, 0][:, order] for part in bands_of(truth, want.bands))
        low, high = truth.value_range
        share = torch.where(valid, (values - low) / (high - low), shown.last)
        clean = target_of(share, shown.last, variant.gain)
        codec = network.codec
        inputs = dropped(shown.inputs, variant.dropout) if training else shown.inputs
        answer = network.answer(network.conditions(inputs), controlled=stage.name != PRIOR)
        total = variant.process.loss(
            answer, codec.encode(clean, sample=training), codec.weight(valid)
        )
        return {"total": total}

    def _range(self, given: Given, want: Want) -> tuple[float, float]:
        """Return the range of the wanted sensor; its frames need not be given."""
        if want.sensor in given.frames:
            return given.frames[want.sensor].value_range
        if want.value_range is None:
            raise InputError(
                f"an image of {want.sensor} by {self.name}",
                "its value range is not stated",
                "Set value_range of the request",
            )
        return want.value_range

    def _check(self, want: Want) -> None:
        check_bands(self.name, self._network.bands, want)
        check_leads(self.name, 1, want)


def dropped(inputs: Inputs, share: float) -> Inputs:
    """Return inputs with a share of the texts and of the metadata numbers left out, as 0."""
    if not share:
        return inputs

    def kept(values: Tensor) -> Tensor:
        return values * (torch.rand(values.shape) >= share).to(values)

    lost = torch.rand(len(inputs.texts)) < share
    texts = tuple("" if gone else t for t, gone in zip(inputs.texts, lost.tolist(), strict=True))
    return replace(inputs, dated=kept(inputs.dated), metadata=kept(inputs.metadata), texts=texts)


@dataclass(frozen=True)
class WithoutBranch:
    """The control of a generator: its U-Net alone, under the same text, place and date."""

    model: SatDiffusion

    def predict(self, given: Given, want: Want) -> Prediction:
        """Draw images with the same noise, without what the control branch adds."""
        return self.model.drawn(given, want, controlled=False)


class Steered(SatDiffusion):
    """A generator with a control branch."""

    def controls(self) -> Mapping[str, Model]:
        """Return the generator without its branch: the difference is what the branch adds."""
        return {" · without branch": WithoutBranch(self)}


class Branched(Steered):
    """A generator with a control branch that can be loaded as released."""

    def load_released(self, state: Mapping[str, Tensor]) -> None:
        """Load a control branch by the names of the released program.

        Raises:
            InputError: if a tensor is missing, left over or of another shape.
        """
        self._network.load_control(self._source, dict(state))


class DiffusionSat(Branched):
    """DiffusionSat with its 3-D control branch, as a model of the benchmark."""

    name = "diffusionsat"

    def shown(self, given: Given, want: Want) -> Shown:
        """See :meth:`SatDiffusion.shown`; fewer than three frames are preceded by the first."""
        frames = given.frames[want.sensor]
        order = rgb_order(want.bands, len(want.bands))
        values, valid = (part[:, :, :, order] for part in bands_of(frames, want.bands))
        low, high = frames.value_range
        shares = (fill(values, valid, frames.value_range) - low) / (high - low)
        seen = valid.all(dim=3, keepdim=True).to(shares)
        cloud = 1 - seen.mean(dim=(3, 4, 5))
        known = shares.shape[1]
        parts = [2 * shares - 1, *([seen] if self._network.sizes.masked else [])]
        index = [max(i, 0) for i in range(shares.shape[2] - SLOTS, shares.shape[2])]
        dates = frames.times.to(want.times.device).repeat_interleave(known, dim=0)
        grids = tuple(grid for grid in want.grids for _ in range(known))
        dated = metadata(grids, dates, cloud.flatten(0, 1))
        wanted = metadata(want.grids, want.times, torch.zeros(want.times.shape))[:, 0]
        texts: tuple[str, ...] = given.texts
        inputs = Inputs(
            torch.cat(parts, dim=3).flatten(0, 1)[:, index],
            dated[:, index],
            wanted.repeat_interleave(known, dim=0),
            tuple(text for text in texts for _ in range(known)),
        )
        return Shown(inputs, shares[:, :, -1].flatten(0, 1))


OPTIONS = ("sampling_steps", "eta", "guidance", "at_once", "weights", "steps")


@dataclass(frozen=True)
class Asked:
    """Options without a value of their own: a folder of weights, steps of the stages in order."""

    weights: str | None = None
    steps: tuple[int, ...] | None = None


FROM = (Process, Asked)


@accepts("bands", *OPTIONS, "gain", "dropout", of=FROM, gain=0.0)
def build(preset: str, *, bands: int = 3, **asked: Any) -> DiffusionSat:
    """Build the model; an option that is not given is the preset's.

    Args:
        preset: a preset of the card.
        bands: number of bands; 3 with a VAE.
        asked: ``sampling_steps``, ``eta``, ``guidance`` and ``at_once`` of :class:`Process`;
            ``gain`` and ``dropout`` of :class:`Variant`; ``weights``: folder of the snapshot;
            ``steps``: optimiser steps of the stages, in order.
    """
    options: dict[str, Any] = {**card.presets[preset].options, **asked}
    sizes = SIZES[preset]
    network = Generator(sizes, rgb_only(bands, fold=sizes.fold))
    source = RELEASED if preset == "released" else SD21
    network.load(source, options.get("weights"))
    network.add_control(bands + sizes.masked)
    variant = Variant(
        process_of(options), options.get("gain", 0.0), options["dropout"],
        budgeted(STAGES[preset], options.get("steps")),
    )  # fmt: skip
    return DiffusionSat(network, variant, source)


def process_of(options: Mapping[str, Any]) -> Process:
    """Return noise, sampler and loss of a preset's options."""
    known = ("kind", "bound", "sampling_steps", "eta", "guidance", "snr_limit", "at_once")
    diffusion = Diffusion(1000, options.get("schedule", "scaled"))
    return Process(diffusion, **{name: options[name] for name in known if name in options})


def rgb_only(bands: int, *, fold: int) -> int:
    """Return the number of bands.

    Raises:
        InputError: if a VAE is asked for another number of bands than three.
    """
    if not fold and bands != 3:
        raise InputError(
            f"{bands} bands",
            "the frozen VAE takes 3: red, green and blue",
            "Take a store of three bands, in forecasts also --protocol year7-rgb, or preset tiny",
        )
    return bands


def budgeted(stages: tuple[Stage, ...], steps: Sequence[int] | int | None) -> tuple[Stage, ...]:
    """Return the stages with other numbers of steps, one for each that is trained by gradient."""
    if steps is None:
        return stages
    counts = [steps] if isinstance(steps, int) else list(steps)
    trained = sum(not stage.closed_form for stage in stages)
    if len(counts) != trained:
        raise InputError(
            f"steps of {len(counts)} stages", f"there are {trained}", "Give one for each"
        )
    return tuple(s if s.closed_form else replace(s, steps=counts.pop(0)) for s in stages)
