"""Training crops, drawn by seed, stage and step alone, and a fixed validation set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np
import torch

from rsbench.core.errors import InputError, TrainingError
from rsbench.core.grid import Window
from rsbench.core.progress import Advance, silent
from rsbench.models.rollout import roll
from rsbench.tasks.base import Reader, Reading, Sample, Task
from rsbench.tasks.batches import batches
from rsbench.tasks.batches import plan as batch_plan
from rsbench.tasks.registry import task
from rsbench.tasks.split import Question, split

if TYPE_CHECKING:
    from numpy.random import Generator

    from rsbench.catalog import Protocol as Rules
    from rsbench.models.api import Card, Frames, Given, Model, Noise, Stage, Trainable, Want
    from rsbench.store.read import Store
    from rsbench.tasks.base import Batch
    from rsbench.training.plan import Plan

T = TypeVar("T")
TRIES = 64
"""Draws of one crop until one has a valid pixel of the truth."""
VALIDATION_BATCH = 8
FULL_SHARE = 0.5
"""How often a step takes the whole context; else it draws a shorter one."""


def require_splits(store: Store) -> None:
    """Refuse a store that has no regions to train on or none to validate on.

    Raises:
        TrainingError: names the splits there are.
    """
    there = sorted({str(entry["split"]) for entry in store.listed.values()})
    for name, why in (("train", "there is nothing to train on"), ("val", "nothing would tell "
                       "when to stop")):  # fmt: skip
        if name not in there:
            raise TrainingError(
                f"training on {store.recipe} ({store.digest[:12]})",
                f"its regions are {', '.join(there)}: without the split {name} {why}",
                "Build or import a dataset with the splits train, val and test; import-dataset "
                "--region-size cuts one scene into blocks of all three",
            )


class TrainingBatch:
    """One batch of a model; no dataclass, because wrappers of modules copy those by field."""

    def __init__(self, given: Given, want: Want, truth: Frames) -> None:
        self.given = given
        self.want = want
        self.truth = truth

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on a device."""
        return TrainingBatch(self.given.to(device), self.want.to(device), self.truth.to(device))


class Source(Protocol):
    """Source of the batches of a step; they depend on seed, stage and step alone."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that are trained on."""

    def draw(self, stage: int, step: int, count: int) -> Sequence[Any]:
        """Return the samples of a step."""

    def training_batch(
        self, samples: Sequence[Any], noise: Noise, stage: int = -1
    ) -> TrainingBatch:
        """Return samples as given, want and truth, as a stage is given them."""

    def solved(self, stage: int, noise: Noise, most: int) -> Iterator[TrainingBatch]:
        """Yield the windows that a stage in closed form is given, at most so many at once."""


class Checked(Protocol):
    """A fixed set of samples on which weights are chosen."""

    def mse(self, model: Model, noise: Noise, device: torch.device) -> float:
        """Return the mean squared error over valid pixels, in the unit squared."""


@dataclass(frozen=True)
class Opened:
    """What is read, and what reads it."""

    reading: Reading
    reader: Reader[Any]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A store that is open for training by a plan.

    Args:
        reader: reads what predictions are given.
        stages: what ``loss`` is given, by stage of the plan.
    """

    task: Task[Any]
    reading: Reading
    reader: Reader[Any]
    plan: Plan
    stages: tuple[Opened, ...]

    @classmethod
    def open(
        cls, store: Store, plan: Plan, protocol: Rules, advance: Advance = silent, *,
        taught: bool = False,
    ) -> Self:  # fmt: skip
        """Open the caches of the sensors that the protocol's task reads.

        Args:
            taught: whether the model's training has frames that its predictions do not have.
        """
        own = task(protocol.task)
        reading = Reading(store, protocol, plan.sensor, plan.bands)
        reader = own.reader(reading, advance)
        opened = {(True, False): Opened(reading, reader)}
        flags = [(stage.labelled or not own.predicts_labels, taught) for stage in plan.stages]
        for labelled, more in flags:
            if (labelled, more) not in opened:
                one = replace(reading, labelled=labelled, taught=more)
                opened[labelled, more] = Opened(one, own.reader(one, advance))
        return cls(own, reading, reader, plan, tuple(opened[one] for one in flags))

    def training_batch(
        self, samples: Sequence[Any], noise: Noise, stage: int = -1
    ) -> TrainingBatch:
        """Return samples as given, want and truth, as a stage is given them."""
        opened = self.stages[stage]
        batch = opened.reader.assemble(samples)
        if opened.reading.taught and not batch.taught:
            raise TrainingError(
                f"training {self.plan.model}, whose card says taught",
                f"task {self.task.name} has no frames for training alone",
                "Fill Batch.taught in the reader of the task, or leave taught out of the card",
            )
        given, want, truth = split(batch, Question(noise, context=self.task.context))
        return TrainingBatch(replace(given, taught=batch.taught), want, truth)

    def solved(self, stage: int, noise: Noise, most: int) -> Iterator[TrainingBatch]:
        """Yield the windows that a stage in closed form is given, at most so many at once."""
        opened = self.stages[stage]
        found = self.task.solved(opened.reading, opened.reader, self.plan)
        if not found:
            raise TrainingError(
                f"training {self.plan.model}, stage {self.plan.stages[stage].name}",
                f"no window of {self.plan.window} px of the training split can be used",
                "Take a protocol with a smaller window, or a store with valid pixels and labels",
            )
        for part in batch_plan(found, most, opened.reader.shape):
            yield self.training_batch(part, noise, stage)


class Crops:
    """Random crops of the regions of a split, aligned in time and on the task's lattice only.

    The crops of a step depend on seed, stage and step alone: not on the steps before it,
    nor on threads or processes.

    Raises:
        HorizonError: if no region has enough dates.
        InputError: if a region is smaller than the crops.
    """

    def __init__(self, data: TrainingData, split: str = "train") -> None:
        self._data = data
        self._pools = [data.task.pool(one.reading, data.plan, split) for one in data.stages]
        for region in self.regions:
            self._require_room(region)

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that hold enough dates for every stage with the shortest context, sorted."""
        return tuple(sorted({region for pool in self._pools for region in pool.regions}))

    @property
    def seed(self) -> int:
        """Seed of the draws."""
        return self._data.plan.seed

    def _require_room(self, region: str) -> None:
        grid = self._data.reading.store.region(region).grids[self._data.plan.sensor]
        if min(grid.height, grid.width) < self._data.plan.window:
            raise InputError(
                f"training {self._data.plan.model} on crops of {self._data.plan.window} px",
                f"region {region} has {grid.height}×{grid.width} px",
                "Take a protocol with a smaller window, or a dataset with larger regions",
            )

    def draw(self, stage: int, step: int, count: int) -> tuple[Sample, ...]:
        """Return the samples of a step; all have one number of frames.

        Raises:
            InputError: if crops with a valid pixel are hard to find.
        """
        plan, pool = self._data.plan, self._pools[stage]
        rng = np.random.default_rng([plan.seed, stage, step])
        leads = plan.leads[stage]
        longest = min(plan.longest, pool.longest(leads))
        context = longest
        if plan.shortest < longest and rng.random() >= FULL_SHARE:
            context = int(rng.integers(plan.shortest, longest + 1))
        fitting = pool.fitting(context, leads)
        order: list[str] = []
        while len(order) < count:  # every region once before any is repeated
            order += [fitting[int(i)] for i in rng.permutation(len(fitting))]
        return tuple(self._crop(rng, stage, region, context) for region in order[:count])

    def _crop(self, rng: Generator, stage: int, region: str, context: int) -> Sample:
        pool, leads = self._pools[stage], self._data.plan.leads[stage]
        reader = self._data.stages[stage].reader
        side, lattice = self._data.plan.window, pool.lattice
        fitting, first = pool.fitting(context, leads), region
        for _ in range(TRIES):
            whole: Sample = pool.draw(rng, region, context, leads)
            room = (whole.window.height - side, whole.window.width - side)
            y, x = (lattice * int(rng.integers(0, n // lattice + 1)) for n in room)
            sample = whole.at(Window(y, x, side, side))
            if reader.usable(sample):
                return sample
            # Another place, and perhaps another region: this one may be invalid altogether.
            region = fitting[int(rng.integers(len(fitting)))]
        share = reader.valid_share(pool.draw(rng, first, context, leads))
        raise InputError(
            f"training {self._data.plan.model} on crops of {side} px of region {first}",
            f"none of {TRIES} crops had a valid pixel of the truth and of every frame that must "
            f"be seen; {share:.1%} of the region's truth is valid",
            "Leave out dates without valid pixels, or take a larger window",
        )

    def training_batch(
        self, samples: Sequence[Any], noise: Noise, stage: int = -1
    ) -> TrainingBatch:
        """Return samples as given, want and truth, as a stage is given them."""
        return self._data.training_batch(samples, noise, stage)

    def solved(self, stage: int, noise: Noise, most: int) -> Iterator[TrainingBatch]:
        """Yield the windows that a stage in closed form is given, at most so many at once."""
        return self._data.solved(stage, noise, most)


class Validation:
    """A fixed, evenly spread part of the validation windows."""

    def __init__(self, data: TrainingData, card: Card, advance: Advance = silent) -> None:
        self._data = data
        self._card = card
        self._advance = advance
        found = data.task.validation(data.reading, data.reader, data.plan)
        self.samples = spread_evenly(found, data.task.validation_samples)

    def mse(self, model: Model, noise: Noise, device: torch.device) -> float:
        """Return the mean squared error over valid pixels of all leads, in the unit squared.

        Raises:
            TrainingError: if the validation windows hold no valid pixel.
        """
        question = Question(noise, context=self._data.task.context)
        found = batches(self._data.reader, self.samples, VALIDATION_BATCH)
        return mean_squared(
            model, self._card, (TrainingBatch(*split(b, question)) for b in self._told(found)),
            device,
        )  # fmt: skip

    def _told(self, found: Iterable[Batch[Any]]) -> Iterator[Batch[Any]]:
        label, done = f"validating {self._card.name}", 0
        for batch in found:
            yield batch
            done += len(batch.samples)
            self._advance(label, done, len(self.samples))


def mean_squared(
    model: Model, card: Card, training_batches: Iterable[TrainingBatch], device: torch.device
) -> float:
    """Return the mean squared error of the members' mean over valid pixels of all leads.

    Raises:
        TrainingError: if there is no valid pixel.
    """
    total, count = 0.0, 0
    for training_batch in training_batches:
        truth = training_batch.truth
        given, want = training_batch.given.to(device), training_batch.want.to(device)
        for lead, answer in roll(model, card, given, want):
            mean = answer.values[:, :, 0].float().mean(dim=1).cpu()
            valid = truth.valid[:, 0, lead - 1].expand_as(mean)
            error = (mean - truth.values[:, 0, lead - 1])[valid].double()
            total += float(error.square().sum())
            count += error.numel()
    if count == 0:
        raise TrainingError(
            f"validating {card.name}",
            "the validation windows hold no valid pixel",
            "Use a dataset whose validation regions have valid pixels",
        )
    return total / count


@torch.no_grad()
def mean_terms(
    model: Trainable, stage: Stage, training_batches: Iterable[TrainingBatch], device: torch.device
) -> dict[str, float]:
    """Return the watched terms of a stage's loss, a mean over samples, without training.

    Raises:
        TrainingError: if the loss has no such term.
    """
    sums, count = dict.fromkeys(stage.watched, 0.0), 0
    for training_batch in training_batches:
        shown, size = training_batch.to(device), len(training_batch.want.samples)
        terms = model.loss(stage, shown.given, shown.want, shown.truth)
        if missing := [name for name in stage.watched if name not in terms]:
            raise TrainingError(
                f"watching {missing[0]} in stage {stage.name}",
                f"its loss returned {', '.join(terms)}",
                "Name terms of the loss",
            )
        sums = {name: total + float(terms[name]) * size for name, total in sums.items()}
        count += size
    return {name: total / count for name, total in sums.items()}


def spread_evenly(samples: Sequence[T], most: int) -> tuple[T, ...]:
    """Return at most so many of the samples, evenly spread over them."""
    places = np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)
    return tuple(samples[int(i)] for i in places)
