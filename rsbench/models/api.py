"""The model interface: ``predict(given, want)``. Importable without torch.

Axes: B batch, M members, T times, C bands, H rows, W columns. ``M|1``: the length of the axis is
the number of members, or 1 if all members share the values.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

from rsbench.core.errors import unknown
from rsbench.core.grid import Grid, Window

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


Context = Literal["latest", "each", "once"]
"""Which given frames a model is shown: of those that it takes, the latest; each date in a call of
its own, the answers being averaged; or all at once, for one answer that need not be of a sensor
that is given."""


@dataclass(frozen=True)
class Frames:
    """Frames of one sensor.

    Args:
        values: ``(B, M|1, T, C, H, W)`` float32 in the sensor's unit; 0 where invalid.
        valid: ``(B, M|1, T, C|1, H, W)`` bool.
        times: ``(B, T)`` int64, days since 1970-01-01.
        bands: band names along C.
        unit: ``reflectance``, ``kelvin`` or ``display``.
        predicted: ``(T,)`` flags, True for frames that the rollout appended.
        value_range: value range of the dataset in ``unit``, for normalisation.
        footprint: number of pixels of this grid along one side of a native pixel: the ratio of
            pixel sizes for coarse frames resampled to the fine grid, otherwise 1.
    """

    values: Tensor
    valid: Tensor
    times: Tensor
    bands: tuple[str, ...]
    unit: str
    predicted: tuple[bool, ...]
    value_range: tuple[float, float]
    footprint: int = 1

    def __repr__(self) -> str:
        shape = tuple(self.values.shape)
        return f"Frames({shape} in {self.unit}, bands {' '.join(self.bands)})"

    def to(self, device: torch.device | str) -> Self:
        """Return the frames with tensors on a device."""
        return replace(
            self,
            values=self.values.to(device),
            valid=self.valid.to(device),
            times=self.times.to(device),
        )

    def clone(self) -> Self:
        """Return a copy of the frames that shares no memory."""
        return replace(
            self, values=self.values.clone(), valid=self.valid.clone(), times=self.times.clone()
        )

    def last(self, count: int | None) -> Self:
        """Return the last ``count`` frames; all if ``count`` is None or there are fewer."""
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
    """The sample of a batch row: ``key`` identifies it for noise, ``window`` is its position."""

    region: str
    key: str
    window: Window


@dataclass(frozen=True)
class Given:
    """The input of a model: frames and grids by sensor, and one sample reference per batch row.

    In fusion the wanted (fine) sensor has one frame per reference date. The other (coarse) sensor
    has one frame per reference date and one at the target date. Dates ascend, and all frames are
    on the fine grid.

    Args:
        taught: sensor → frames that only training has: of the ground of each row, on the grid of
            that sensor. Empty unless the card says ``taught``, and always in ``predict``.
        texts: one description per batch row, in tasks that give texts; otherwise empty.
    """

    frames: Mapping[str, Frames]
    grids: Mapping[str, tuple[Grid, ...]]
    samples: tuple[SampleRef, ...]
    taught: Mapping[str, Frames] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {frames!r}" for name, frames in self.frames.items())
        return f"Given({shown}, {len(self.samples)} samples)"

    def to(self, device: torch.device | str) -> Self:
        """Return the input with tensors on a device."""
        return self.each(lambda frames: frames.to(device))

    def clone(self) -> Self:
        """Return a copy of the frames that shares no memory."""
        return self.each(lambda frames: frames.clone())

    def each(self, change: Callable[[Frames], Frames]) -> Self:
        """Return the input with all frames changed, those of training included."""
        changed = ({n: change(f) for n, f in part.items()} for part in (self.frames, self.taught))
        frames, taught = changed
        return replace(self, frames=frames, taught=taught)


class Noise(Protocol):
    """Normal noise, a pure function of (seed, sample, member, name, pixel, channel).

    In a rollout by steps or blocks the harness adds the lead to the name, so that every call of
    ``predict`` or ``step`` gets different noise. In ``start`` no lead is added.
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

        The tensor is on the device of ``want.times``; its bits do not depend on the device.
        """
        ...


@dataclass(frozen=True)
class Want:
    """A description of the wanted prediction, without pixels.

    Args:
        sensor: sensor to predict.
        bands: bands to predict, along C.
        times: ``(B, T)`` int64, days since 1970-01-01.
        grids: one grid per batch row.
        samples: one reference per batch row.
        members: ensemble members M.
        noise: the only source of randomness a model may use.
        context: which given frames a model that takes fewer is shown; with ``each`` there is one
            target date.
        unit: of the prediction; empty where it is not stated.
        value_range: of the sensor to predict, in ``unit``; None where it is not stated.
    """

    sensor: str
    bands: tuple[str, ...]
    times: Tensor
    grids: tuple[Grid, ...]
    samples: tuple[SampleRef, ...]
    members: int
    noise: Noise
    context: Context = "latest"
    unit: str = ""
    value_range: tuple[float, float] | None = None

    def __repr__(self) -> str:
        size, times = "×".join(map(str, self.size)), tuple(self.times.shape)
        what = f"{self.sensor}: {' '.join(self.bands)}"
        return f"Want({what}, {size} px, times {times}, M={self.members})"

    def to(self, device: torch.device | str) -> Self:
        """Return the description with tensors on a device."""
        return replace(self, times=self.times.to(device))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the prediction in pixels, equal for all batch rows."""
        return self.grids[0].height, self.grids[0].width


@dataclass(frozen=True)
class Prediction:
    """A prediction; ``values``: ``(B, M, T, C, H, W)`` float32 on the wanted grid, in its unit."""

    values: Tensor

    def __repr__(self) -> str:
        return f"Prediction({tuple(self.values.shape)})"


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Args:
        name: e.g. ``fit`` or ``pretrain``.
        modules: names of the submodules that this stage trains; all if empty.
        learning_rate: peak learning rate.
        steps: default number of optimiser steps.
        batch_size: samples per step.
        weight_decay: of matrices and kernels; biases and norms have none.
        clip: gradient-norm clip.
        leads: leads of ``want`` and ``truth`` that ``loss`` is given.
        watched: terms of the loss that the learning curve also takes on validation samples.
        labelled: whether ``loss`` is given the truth, in a task whose truth is labels. Without
            labels, crops are drawn from all training regions, and no pixel of the truth is valid.
        closed_form: the stage has no optimiser steps; ``solve`` of :class:`ClosedForm` is called
            once. Its ``steps`` count as steps only where a budget is divided among stages.
        optimizer: ``adamw``, ``adam``, ``sgd`` (momentum 0.9), or ``package.module:Class``.
        schedule: of the learning rate: ``one-cycle``, ``cosine``, ``linear``, ``constant``, or
            ``package.module:function`` from the share of the stage that is done (0 to 1) to the
            share of the peak rate.
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
    labelled: bool = True
    closed_form: bool = False
    optimizer: str = "adamw"
    schedule: str = "one-cycle"

    def stated(self) -> dict[str, Any]:
        """Return the fields; those from ``labelled`` on only where they are not the default.

        So the stages of checkpoints from before these fields still compare as equal.
        """
        whole = asdict(self)
        for name in ("labelled", "closed_form", "optimizer", "schedule"):
            if whole[name] == type(self).__dataclass_fields__[name].default:
                del whole[name]
        return whole


@runtime_checkable
class Model(Protocol):
    """A model: it predicts ``want`` from ``given``. Truth is never passed to it."""

    def predict(self, given: Given, want: Want) -> Prediction:
        """Return the prediction of ``want``, with ``T = want.times.shape[1]``."""
        ...


@runtime_checkable
class Stateful(Model, Protocol):
    """A model with an internal state during a rollout."""

    def start(self, given: Given, want: Want) -> Any:
        """Return the state after the context."""
        ...

    def step(self, state: Any, want: Want) -> tuple[Prediction, Any]:
        """Predict one lead and return the state after it."""
        ...


@runtime_checkable
class Fitted(Model, Protocol):
    """A model with parameters in closed form, fitted on the training split."""

    def fit(self, pairs: Any) -> Mapping[str, float]:
        """Fit on an iterable of ``(given, want, truth)``; return the parameters by name.

        ``want`` has all leads of the horizon. Each pass over the iterable reads the split anew.
        """
        ...

    def restore(self, parameters: Mapping[str, float]) -> None:
        """Set the parameters that an earlier ``fit`` returned."""
        ...


@runtime_checkable
class Trainable(Model, Protocol):
    """A model trained by gradient descent; ``loss`` gets truth on the training split only."""

    @property
    def module(self) -> nn.Module:
        """The module whose state dict a checkpoint stores."""
        ...

    def stages(self) -> Sequence[Stage]:
        """Return the stages of training, in order."""
        ...

    def loss(self, stage: Stage, given: Given, want: Want, truth: Frames) -> Mapping[str, Tensor]:
        """Return loss terms by name; training minimises ``total``."""
        ...


@runtime_checkable
class ClosedForm(Trainable, Protocol):
    """A trainable model of which a stage is solved in closed form."""

    def solve(self, stage: Stage, batches: Iterable[tuple[Given, Want, Frames]]) -> None:
        """Set the tensors of the stage's modules from the windows of the training split.

        Args:
            stage: says ``closed_form``.
            batches: ``(given, want, truth)`` of every window, on the device of the module, once.
        """
        ...


OF_ITSELF = " · "
"""Between the name of a model and that of its control that differs from it in one thing."""


@runtime_checkable
class Controlled(Model, Protocol):
    """A model with controls made of its own weights; every table lists them beside it."""

    def controls(self) -> Mapping[str, Model]:
        """Return the controls by the names of their cards.

        A name that begins with ``OF_ITSELF`` is put behind the name of the model, whose card the
        control then has.
        """
        ...


@dataclass(frozen=True)
class PresetInfo:
    """One preset of a model.

    Args:
        parameters: number of parameters that ``predict`` uses, without buffers; None: counted
            when the model is built.
        trainable, frozen: numbers of trainable and frozen ones; their sum is ``parameters``.
        note: input shape, sizes, and differences from the publication.
        options: constructor options.
        card: fields of the card that differ for this preset, e.g. ``{"rollout": "block:10"}``.
        idle: name prefixes of parameters that have no effect on predictions, each with the
            reason; the contract checks that these, and only these, have none.
    """

    parameters: int | None = None
    trainable: int | None = None
    frozen: int = 0
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    idle: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """The description of a model, readable without building it.

    Args:
        rollout: ``native`` (any leads in one call), ``block:T`` or ``step``.
        tile: largest side of the input of one call in pixels, None for any size.
        halo: width in pixels of the margin around each tile.
        multiple_of: the sides of the input must be multiples of this number of pixels.
        fixed_size: side in pixels, if the model accepts one size only.
        min_context, max_context: number of context frames, in fusion of reference dates; None
            for no upper bound. If there are two references and a fusion model takes one, it
            predicts from each, and the predictions are averaged.
        sampler_tolerance: largest allowed change of a float32 prediction with the other samples
            or the size of the batch, as a share of the value range.
        overfit_share: the contract trains each stage on eight samples until its loss is below this
            share of its start. More than the default is for a loss that reaches it in the last
            steps of the preset or not at all; the card then states what it reaches.
        taught: whether training has frames that predictions do not have (``Given.taught``).
        shared: options that no stage before the first labelled one depends on. Models that differ
            in them alone take these stages from one training.
        published: published scores of this model, each ``(preset, table, row)`` of
            ``results/published`` or a mapping with the values.
        parity: what of the model was compared with which reference, how and how closely, and what
            was not.
        build: ``package.module:function``, called as ``function(preset, **options)``. If the
            function accepts ``bands: int``, ``context: int`` or ``classes: int``, the harness
            passes the dataset's number of bands, context frames or classes. Empty for a model
            that only a script builds.
    """

    name: str
    task: str
    title: str
    presets: Mapping[str, PresetInfo] = field(default_factory=lambda: {"default": PresetInfo()})
    build: str = ""
    citation: str = ""
    licence: str = ""
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
    overfit_share: float = 0.05
    taught: bool = False
    shared: tuple[str, ...] = ()
    published: tuple[tuple[str, str, str] | Mapping[str, Any], ...] = ()
    parity: str = ""
    default_preset: str = "default"

    def __repr__(self) -> str:
        return f"Card({self.name!r}, {self.task}, presets {', '.join(self.presets)})"

    def of(self, preset: str | None = None) -> Card:
        """Return the card with the fields of one preset.

        Raises:
            UnknownName: if there is no such preset.
        """
        name = preset or self.default_preset
        if name not in self.presets:
            raise unknown(f"preset of {self.name}", name, self.presets)
        return replace(self, **dict(self.presets[name].card))

    def builder(self) -> Callable[..., Model]:
        """Import and return the function that builds the model."""
        module, _, name = self.build.partition(":")
        function: Callable[..., Model] = getattr(importlib.import_module(module), name)
        return function
