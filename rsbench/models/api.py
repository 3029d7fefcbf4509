"""The one door for models: ``predict(given, want)``. Importable without torch.

Axes: B batch, M members, T times, C bands, H rows, W columns. ``M|1`` means that the axis is
either the number of members or 1 where all members share the same values.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from rsbench.core.errors import unknown
from rsbench.core.grid import Grid, Window

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Frames:
    """Frames of one sensor.

    Args:
        values: ``(B, M|1, T, C, H, W)`` float32 in the sensor's unit; 0 where not valid.
        valid: ``(B, M|1, T, C|1, H, W)`` bool.
        times: ``(B, T)`` int64, days since 1970-01-01.
        bands: band names along C.
        unit: ``reflectance``, ``kelvin`` or ``display``.
        predicted: ``(T,)`` flags, True for frames a rollout appended.
        value_range: the dataset's value range in the unit, for models that normalise.
        footprint: pixels of this grid along one side of what the sensor measured: the ratio of
            pixel sizes for coarse frames brought to the fine grid, otherwise 1.
    """

    values: Tensor
    valid: Tensor
    times: Tensor
    bands: tuple[str, ...]
    unit: str
    predicted: tuple[bool, ...]
    value_range: tuple[float, float]
    footprint: int = 1

    def to(self, device: torch.device | str) -> Self:
        """Return the frames on a device."""
        return replace(
            self,
            values=self.values.to(device),
            valid=self.valid.to(device),
            times=self.times.to(device),
        )

    def clone(self) -> Self:
        """Return frames that share no memory with these."""
        return replace(
            self, values=self.values.clone(), valid=self.valid.clone(), times=self.times.clone()
        )

    def last(self, count: int | None) -> Self:
        """Return the last ``count`` frames, or all where there are fewer or ``count`` is None."""
        if count is None or count >= len(self.predicted):
            return self
        return replace(
            self,
            values=self.values[:, :, -count:],
            valid=self.valid[:, :, -count:],
            times=self.times[:, -count:],
            predicted=self.predicted[-count:],
        )


@dataclass(frozen=True)
class SampleRef:
    """Which sample a batch row is: ``key`` names it in the noise, ``window`` places it."""

    region: str
    key: str
    window: Window


@dataclass(frozen=True)
class Given:
    """All that a model may see: frames per sensor, their grids, and which samples they are.

    In fusion the wanted (fine) sensor has one frame per reference date, and the other (coarse)
    sensor one frame per reference date and one at the target date; dates ascend, and all frames
    lie on the fine grid.
    """

    frames: Mapping[str, Frames]
    grids: Mapping[str, tuple[Grid, ...]]
    samples: tuple[SampleRef, ...]

    def to(self, device: torch.device | str) -> Self:
        """Return the same on a device."""
        return replace(self, frames={name: f.to(device) for name, f in self.frames.items()})

    def clone(self) -> Self:
        """Return frames that share no memory with these."""
        return replace(self, frames={name: f.clone() for name, f in self.frames.items()})


class Noise(Protocol):
    """Normal noise that is a pure function of (seed, sample, member, name, pixel, channel).

    Inside a rollout by steps or blocks the harness adds the lead to the name, so that every
    call of ``predict`` or ``step`` draws fresh noise; ``start`` draws without a lead.
    """

    def normal(
        self,
        name: str,
        want: Want,
        *,
        channels: int,
        downscale: int = 1,
    ) -> Tensor:
        """Return ``(B, M, channels, H/downscale, W/downscale)`` float32 standard normal noise.

        The field lies on the device of ``want.times`` and has the same bits on every device.
        """
        ...


@dataclass(frozen=True)
class Want:
    """A template of the answer without pixels.

    Args:
        sensor: which sensor to predict.
        bands: bands to predict, along C.
        times: ``(B, T)`` int64, days since 1970-01-01.
        grids: one grid per batch row.
        samples: one reference per batch row.
        members: ensemble members M.
        noise: the only source of randomness a model may use.
    """

    sensor: str
    bands: tuple[str, ...]
    times: Tensor
    grids: tuple[Grid, ...]
    samples: tuple[SampleRef, ...]
    members: int
    noise: Noise

    def to(self, device: torch.device | str) -> Self:
        """Return the same on a device."""
        return replace(self, times=self.times.to(device))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the answer; the same for every batch row."""
        return self.grids[0].height, self.grids[0].width


@dataclass(frozen=True)
class Prediction:
    """``values``: ``(B, M, T, C, H, W)`` float32 on the wanted grid, in the sensor's unit."""

    values: Tensor


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Args:
        name: e.g. ``fit`` or ``pretrain``.
        modules: names of the submodules trained in this stage; empty means all.
        learning_rate: peak learning rate of AdamW under a one-cycle schedule.
        steps: default number of optimiser steps.
        batch_size: samples per step.
        weight_decay: AdamW weight decay.
        clip: gradient-norm clip.
        leads: leads of ``want`` and ``truth`` that ``loss`` is given.
        watched: terms of the loss that the learning curve also takes on validation samples, of
            forecasts.
    """

    name: str
    learning_rate: float
    steps: int
    batch_size: int
    weight_decay: float = 0.0
    clip: float = 1.0
    modules: tuple[str, ...] = ()
    leads: int = 1
    watched: tuple[str, ...] = ()


@runtime_checkable
class Model(Protocol):
    """Anything that answers a template from what is given. It never receives truth."""

    def predict(self, given: Given, want: Want) -> Prediction:
        """Predict ``want``; ``T`` of the answer is ``want.times.shape[1]``."""
        ...


@runtime_checkable
class Stateful(Model, Protocol):
    """A model that keeps a state through a rollout."""

    def start(self, given: Given, want: Want) -> Any:
        """Return the state after the context."""
        ...

    def step(self, state: Any, want: Want) -> tuple[Prediction, Any]:
        """Predict one lead and return the state after it."""
        ...


@runtime_checkable
class Fitted(Model, Protocol):
    """A model with a few closed-form parameters, fitted on the training split."""

    def fit(self, pairs: Any) -> Mapping[str, float]:
        """Fit on an iterable of ``(given, want, truth)`` and return the parameters.

        ``want`` holds all leads of the horizon; the iterable is read once.
        """
        ...

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Take up parameters that an earlier ``fit`` returned."""
        ...


@runtime_checkable
class Trainable(Model, Protocol):
    """A model trained by gradient; truth reaches ``loss`` on the training split only."""

    @property
    def module(self) -> nn.Module:
        """The module whose state dict is the checkpoint."""
        ...

    def stages(self) -> Sequence[Stage]:
        """The stages of training, in order."""
        ...

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return named loss terms; ``total`` is what the trainer minimises."""
        ...


@runtime_checkable
class Controlled(Model, Protocol):
    """A model beside which controls made of its own weights must stand in every table."""

    def controls(self) -> Mapping[str, Model]:
        """Return the controls by the names of their cards."""
        ...


@dataclass(frozen=True)
class PresetInfo:
    """One preset of a model.

    Args:
        parameters: all that ``predict`` uses, buffers excluded, for the stated variant.
        trainable, frozen: the two parts of ``parameters``.
        note: the variant: input shape, sizes, what differs from the publication.
        options: constructor options.
        card: fields of the card that differ for this preset, e.g. ``{"rollout": "block:10"}``.
        idle: beginnings of the names of parameters that cannot change a prediction in this
            variant, each with the reason; the contract test checks both directions.
    """

    parameters: int
    trainable: int
    frozen: int = 0
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """What is known of a model without building it.

    Args:
        rollout: ``native`` (any leads in one call), ``block:T`` or ``step``.
        tile: largest side in pixels seen in one call, or None for any size.
        halo: pixels of context a tile needs on each side.
        multiple_of: sides must be a multiple of this.
        fixed_size: exact side, if the model takes one size only.
        min_context, max_context: number of context frames, in fusion of reference dates; None
            for no upper bound. A fusion model of one reference that is given two is asked once
            for each, and the two answers are averaged.
        sampler_tolerance: largest change, as a share of the value range, that other batch
            neighbours or sizes may cause in float32.
        published: numbers that papers print of this model: ``(preset, table, row)`` of
            ``results/published``, which are listed cell by cell with their metric ids, or what a
            mapping says itself.
        parity: what of the model was compared with which reference, how and how closely, and what
            was not.
        build: ``package.module:function`` called as ``function(preset, **options)``. A function
            that takes ``bands: int`` (number of bands) or ``context: int`` (number of context
            frames) is told the dataset's by the harness.
    """

    name: str
    task: str
    title: str
    presets: Mapping[str, PresetInfo]
    build: str
    citation: str
    licence: str
    rollout: str = "native"
    tile: int | None = None
    halo: int = 0
    multiple_of: int = 1
    fixed_size: int | None = None
    min_context: int = 1
    max_context: int | None = None
    trainable: bool = False
    fitted: bool = False
    sampler_tolerance: float = 1e-5
    published: tuple[tuple[str, str, str] | Mapping[str, Any], ...] = ()
    parity: str = ""
    default_preset: str = "default"

    def of(self, preset: str | None = None) -> Card:
        """Return the card as it reads for one preset, with did-you-mean on the name."""
        name = preset or self.default_preset
        if name not in self.presets:
            raise unknown(f"preset of {self.name}", name, self.presets)
        return replace(self, **dict(self.presets[name].card))

    def builder(self) -> Callable[..., Model]:
        """Import and return the function that builds the model."""
        module, _, name = self.build.partition(":")
        function: Callable[..., Model] = getattr(importlib.import_module(module), name)
        return function
