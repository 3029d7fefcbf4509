"""The interface of a task: how a store becomes samples, batches, cases and a table.

A task is an object with the members of :class:`Task`, offered by an entry point in the group
``rsbench.tasks``. Everything outside its folder asks these members and never the task's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from rsbench.core.errors import InputError
from rsbench.core.progress import Advance, silent
from rsbench.models.api import Context, Frames, Given, SampleRef, Want
from rsbench.tasks.words import Scored, Words

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from torch import Tensor

    from rsbench.catalog import Protocol as Rules
    from rsbench.core.grid import Grid, Window
    from rsbench.models.contract_data import Example
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.labels import TrainingLabels

Whole = Callable[[str, date, date], "Tensor"]
"""``(region, start, target) -> (C, H, W)``: something known for a whole region."""


class Sample(Protocol):
    """One window of one region with the dates that are given and asked for."""

    @property
    def region(self) -> str:
        """Name of the region."""

    @property
    def window(self) -> Window:
        """Window in pixels of the sensor that is predicted."""

    def at(self, window: Window) -> Self:
        """Return the sample with another window."""


SampleKey = tuple[str, str, "Window"]
"""Region, key and window: which sample it is."""
S = TypeVar("S", bound=Sample)
Drawn = TypeVar("Drawn", bound=Sample, covariant=True)


@dataclass(frozen=True)
class Unit:
    """Dates and matched sets of the scores of a sample.

    Args:
        start: date of the last context frame, or of the first reference.
        targets: dates of the leads.
        curves: matched sets of the leads: ``starts``, ``targets``, ``both`` or ``none``.
        condition: the stress scenario; empty where there is none.
    """

    start: date
    targets: tuple[date, ...]
    curves: tuple[str, ...]
    condition: str = ""


@dataclass(frozen=True, eq=False)
class Batch(Generic[S]):
    """The frames of some samples of one shape; given frames and truth share no memory.

    Args:
        samples: one per batch row B.
        refs: references by which models and noise identify them.
        sensor: what is predicted.
        grids: sensor → grid of each row's window, of the predicted sensor and those given.
        given: sensor → frames that are passed to models.
        truth: frames that are never passed to models.
        taught: sensor → frames that only ``loss`` is given; see :class:`Reading`.
        texts: one description per batch row; empty in tasks that give none.
    """

    samples: tuple[S, ...]
    refs: tuple[SampleRef, ...]
    sensor: str
    grids: Mapping[str, tuple[Grid, ...]]
    given: Mapping[str, Frames]
    truth: Frames
    taught: Mapping[str, Frames] = field(default_factory=dict)
    texts: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on a device."""
        given, taught = (
            {name: frames.to(device) for name, frames in part.items()}
            for part in (self.given, self.taught)
        )
        return replace(self, given=given, truth=self.truth.to(device), taught=taught)


@dataclass(frozen=True)
class Reading:
    """Store, protocol, sensor and bands to read.

    Args:
        sensor: the sensor that is predicted.
        bands: which bands, in which order.
        labelled: whether labels are read, in a task whose truth is labels. Without, every region
            of a split has samples, and no pixel of the truth is valid.
        taught: whether the frames are read that only training has.
    """

    store: Store
    protocol: Rules
    sensor: str
    bands: tuple[str, ...]
    labelled: bool = True
    taught: bool = False


class Reader(Protocol[S]):
    """Reads the frames of samples."""

    def shape(self, sample: S) -> tuple[Any, ...]:
        """Return what samples of one batch must have in common."""

    def assemble(self, samples: Sequence[S]) -> Batch[S]:
        """Return the batch of some samples of one shape."""

    def usable(self, sample: S) -> bool:
        """Return whether truth, the frames given and every required one have a valid pixel."""

    def valid_share(self, sample: S) -> float:
        """Return the share of valid pixels in the truth."""


class Drawing(Protocol):
    """Parameters of the draw of training samples; a training plan has them all."""

    @property
    def model(self) -> str:
        """Name of the model, for errors."""

    @property
    def window(self) -> int:
        """Side of the crops in pixels."""

    @property
    def shortest(self) -> int:
        """Shortest context that is drawn."""

    @property
    def context(self) -> int:
        """Context asked for."""

    @property
    def leads(self) -> tuple[int, ...]:
        """Leads of one sample, by stage."""


class Pool(Protocol[Drawn]):
    """Whole-region samples of a split, from which training crops are cut."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions with enough dates, sorted."""

    @property
    def lattice(self) -> int:
        """Pixels of which the corners of crops are multiples."""

    def longest(self, leads: int) -> int:
        """Return the longest context that some region has before so many leads."""

    def fitting(self, context: int, leads: int) -> Sequence[str]:
        """Return the regions with samples of a context and a number of leads, sorted."""

    def draw(self, rng: Generator, region: str, context: int, leads: int) -> Drawn:
        """Return a sample of the whole region at random dates."""


@dataclass(frozen=True)
class Bound:
    """An entry that bounds the reachable score, known for whole regions.

    Args:
        role: ``oracle`` or ``floor``.
        answer: the values in the sensor's unit.
        truth, valid: what ``answer`` is scored against, in place of the store's truth and mask.
    """

    name: str
    role: str
    answer: Whole
    truth: Whole | None = None
    valid: Whole | None = None


@dataclass(frozen=True)
class Known:
    """An entry whose answers are known without a model, such as a training image.

    Args:
        role: ``trivial``, ``oracle`` or ``floor``.
        answer: takes a case and the index of a lead, from 0; returns ``(B, C, H, W)`` values.
    """

    name: str
    role: str
    answer: Callable[[Case, int], Tensor]


@dataclass(frozen=True)
class Case:
    """One batch of the evaluator; the truth is never passed to models.

    Args:
        truth: ``(B, L, C, H, W)`` in the sensor's unit.
        valid: ``(B, L, 1, H, W)`` bool.
        starts: first date of the unit, one per batch row.
        targets: dates of the leads, ``L`` per batch row.
        curves: membership in the matched sets, ``L`` per batch row.
        conditions: the stress scenario of each batch row; empty where there is none.
        zones: name → ``(B, H, W)`` bool, parts of the images chosen from the inputs.
        permuted: what is given with the frames and texts of other samples, in a task that permutes.
        ratio: wanted pixels along one side of a pixel given; None where grids are equal.
    """

    given: Given
    want: Want
    truth: Tensor
    valid: Tensor
    starts: tuple[date, ...]
    targets: tuple[tuple[date, ...], ...]
    curves: tuple[tuple[str, ...], ...]
    conditions: tuple[str, ...] = ()
    zones: Mapping[str, Tensor] = field(default_factory=dict)
    permuted: Given | None = None
    ratio: int | None = None

    @property
    def samples(self) -> tuple[SampleRef, ...]:
        """Which samples the batch rows are."""
        return self.want.samples

    @cached_property
    def input_valid(self) -> tuple[float, ...]:
        """Share of valid pixels in the frames given of the wanted sensor, per batch row.

        Where none are given of that sensor, the mean of the shares of the others.
        """
        given = self.given.frames
        shown = [given[self.want.sensor]] if self.want.sensor in given else list(given.values())
        shares = [frames.valid.flatten(1).double().mean(1) for frames in shown]
        return tuple((sum(shares[1:], shares[0]) / len(shares)).tolist())


@dataclass(frozen=True)
class Asked(Generic[S]):
    """One prediction that is asked of a model run elsewhere.

    Args:
        sample: a sample of the whole region.
        key: identifier for models and noise.
        name: of the file of the answer, unique in the region.
        label: name in messages, as ``start 2019-07-01``.
        grid: grid of the answer, and of the frames given that ``grids`` does not name.
        given: sensor → dates of the frames given.
        folders: sensor → folder of these frames.
        targets: dates asked for.
        grids: sensor → grid of its frames, where it is not that of the answer.
    """

    sample: S
    key: str
    name: str
    label: str
    grid: Grid
    given: Mapping[str, tuple[date, ...]]
    folders: Mapping[str, str]
    targets: tuple[date, ...]
    grids: Mapping[str, Grid] = field(default_factory=dict)

    @property
    def region(self) -> str:
        """Name of the region."""
        return self.sample.region

    def __str__(self) -> str:
        return f"{self.region}, {self.label}"


class Task(Protocol[S]):
    """How a store becomes (given, want, truth), its reference models, and its words in reports.

    Members with a body may be inherited.

    Args:
        name: as protocols and cards name it.
        kinds: kinds of stores it is for.
        reference_models: models that every table contains; the first one is the reference of skill
            where validation has too few samples to choose one.
        validation_samples: most samples on which weights are chosen.
        context: which given frames a model that takes fewer is shown.
        predicts_labels: whether the labels of the store are the truth.
        reads_labels: whether labels are read, as the truth or as a condition, so that a protocol
            may state a share of them.
        permutes: whether every table has a control beside the model: its answers to the conditions
            of other samples.
        known_names: names of the entries of :meth:`known`.
        case_features: features of sets of images that need the store or the conditions, and that
            its cases have.
        shows_start: whether a frame of what is predicted is given, as metrics of change need.
    """

    name: str
    kinds: tuple[str, ...]
    words: Words = Words()
    reference_models: tuple[str, ...] = ()
    validation_samples: int = 32
    context: Context = "latest"
    predicts_labels: bool = False
    reads_labels: bool = False
    permutes: bool = False
    known_names: tuple[str, ...] = ()
    case_features: tuple[str, ...] = ()
    shows_start: bool = True

    def require_protocol(self, protocol: Rules) -> None:
        """Refuse a protocol whose options are not of this task.

        Raises:
            InputError: names the option.
        """

    def sensor(self, store: Store) -> str:
        """Return the sensor that is predicted."""
        return next(iter(store.meta.sensors))

    def target(self, store: Store) -> SensorMeta:
        """Return bands, unit and range of what is predicted."""
        return store.sensor(self.sensor(store))

    def model_options(self, config: EvaluationConfig) -> Mapping[str, Any]:
        """Return the constructor options that follow from the data."""
        return {"bands": len(config.bands), "context": config.context}

    def bands_given(self, store: Store, sensor: str, bands: tuple[str, ...]) -> tuple[str, ...]:
        """Return the bands of the images given, where ``bands`` of ``sensor`` are predicted."""
        return bands

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Check that the data allow what is asked; return the configuration as it is scored.

        Raises:
            HorizonError: if there are too few dates.
        """
        return config

    def most_context(self, config: EvaluationConfig) -> int:
        """Return the most frames that can be given, as the store's dates allow."""
        return config.context

    def splits(self, config: EvaluationConfig) -> frozenset[str]:
        """Return the splits that have samples."""
        return frozenset(str(entry["split"]) for entry in config.store.listed.values())

    def groups(self, config: EvaluationConfig, split: str) -> Sequence[Sequence[S]]:
        """Return the samples of a split in the groups in which they are scored."""

    def left_out(self, config: EvaluationConfig, split: str) -> Iterable[str]:
        """Return how many samples of a split are not scored, and why; one line per reason."""
        return ()

    def unit(self, config: EvaluationConfig, sample: S) -> Unit:
        """Return the dates and matched sets of the scores of a sample."""

    def reader(self, reading: Reading, advance: Advance = silent) -> Reader[S]:
        """Return what reads the frames of samples."""

    def resampled(self, protocol: Rules) -> str | None:
        """Return how frames of other grids are brought to the predicted one; None without any."""
        return None

    def pixel_ratio(self, config: EvaluationConfig) -> int | None:
        """Return the wanted pixels along one side of a pixel given; None without coarser ones."""
        return None

    def unsuited(self, config: EvaluationConfig, name: str) -> str | None:
        """Return why a reference model has no place in the table; None where it has."""
        return None

    def zones(self, given: Given, want: Want) -> Mapping[str, Tensor]:
        """Return name → ``(B, H, W)`` bool, parts of the images chosen from the inputs."""
        return {}

    def bounds(self, config: EvaluationConfig) -> Sequence[Bound]:
        """Return the entries that bound the reachable score, where the store has them."""
        return ()

    def known(self, config: EvaluationConfig) -> Sequence[Known]:
        """Return the entries whose answers are known without a model."""
        return ()

    def partners(self, config: EvaluationConfig) -> Mapping[SampleKey, S]:
        """Return by key and window of a sample that whose conditions its control is given."""
        return {}

    def permuted(self, given: Given, reader: Reader[S], others: Sequence[S]) -> Given:
        """Return what is given with the frames and texts of other samples, one per batch row."""
        found = reader.assemble(others)
        return replace(given, frames=found.given, texts=found.texts)

    def shown(self, config: EvaluationConfig) -> str:
        """Return the inputs of every model, as written in the table."""
        return f"{config.sensor} k={config.context}"

    def label_codes(self, config: EvaluationConfig) -> Mapping[int, int]:
        """Return code → index of its class, where a prediction may be a map of codes."""
        return {}

    def class_pixels(self, config: EvaluationConfig) -> Mapping[str, Mapping[str, int]]:
        """Return split → class → number of pixels with it; of training those with known labels."""
        return {}

    def training_labels(self, config: EvaluationConfig) -> TrainingLabels | None:
        """Return which labels models are fitted and trained with; None where labels are no truth.

        Raises:
            InputError: if they are too few.
        """
        return None

    def notes(self, config: EvaluationConfig) -> Iterable[str]:
        """Return notes to print before a run, such as a leak in a published list of samples."""
        return ()

    def pool(self, reading: Reading, drawing: Drawing, split: str) -> Pool[S]:
        """Return the samples of a split from which training crops are cut.

        Raises:
            HorizonError: if no region has enough dates.
            InputError: if crops of that window cannot be cut, or the task has no training.
        """
        raise self._lacking("training")

    def validation(self, reading: Reading, reader: Reader[S], drawing: Drawing) -> Sequence[S]:
        """Return the windows of the validation split on which weights may be chosen."""
        raise self._lacking("training")

    def solved(self, reading: Reading, reader: Reader[S], drawing: Drawing) -> Sequence[S]:
        """Return the windows of the training split that a stage in closed form is given."""
        raise self._lacking("stages in closed form")

    def example(self) -> Example:
        """Return what makes up samples for the contract of its models."""
        raise self._lacking("example for the model contract")

    def asked(self, config: EvaluationConfig) -> Sequence[Asked[S]]:
        """Return what a model run elsewhere is asked for: every prediction once."""
        raise self._lacking("export of predictions that are made elsewhere")

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        return f"k = {run.context} frames were given and {run.horizon} predicted"

    def _lacking(self, what: str) -> InputError:
        return InputError(
            f"task {self.name}",
            f"it has no {what}",
            "Implement it in the task",
        )
