"""What training sees: crops drawn by seed, stage and step alone, and a fixed validation set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from rsbench.core.errors import HorizonError, InputError, TrainingError
from rsbench.core.grid import Window
from rsbench.models.rollout import roll
from rsbench.tasks.forecast import ForecastTask
from rsbench.tasks.forecast_batches import assemble, batches
from rsbench.tasks.forecast_samples import Sample, backward, index

if TYPE_CHECKING:
    from rsbench.catalog import Protocol as Rules
    from rsbench.models.api import Card, Frames, Given, Model, Noise, Stage, Trainable, Want
    from rsbench.store.cache import Cache
    from rsbench.store.read import Store
    from rsbench.training.plan import Plan

T = TypeVar("T")
TRIES = 8
VALIDATION = 32
VALIDATION_BATCH = 8
FULL_SHARE = 0.5
"""How often a step takes the whole context; else it draws a shorter one."""


def require_splits(store: Store) -> None:
    """Refuse a store that has no regions to train on or none to validate on.

    Raises:
        TrainingError: names the splits there are.
    """
    there = sorted({str(entry["split"]) for entry in store.listed.values()})
    for split, why in (("train", "there is nothing to train on"), ("val", "nothing would tell "
                       "when to stop")):  # fmt: skip
        if split not in there:
            raise TrainingError(
                f"training on {store.recipe} ({store.digest[:12]})",
                f"its regions are {', '.join(there)}: without the split {split} {why}",
                "Build or import a dataset with the splits train, val and test",
            )


class TrainingBatch:
    """One batch as the model gets it; opaque, since wrappers of modules take dataclasses apart."""

    def __init__(self, given: Given, want: Want, truth: Frames) -> None:
        self.given = given
        self.want = want
        self.truth = truth

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the parcel on a device."""
        return TrainingBatch(self.given.to(device), self.want.to(device), self.truth.to(device))


class Source(Protocol):
    """Where the batches of a step come from; which they are depends on seed, stage and step."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that are trained on."""
        ...

    def draw(self, stage: int, step: int, count: int) -> Sequence[Any]:
        """Return the samples of a step."""
        ...

    def training_batch(self, samples: Sequence[Any], noise: Noise) -> TrainingBatch:
        """Return samples as given, want and truth."""
        ...


class Checked(Protocol):
    """A fixed set of samples that tells how good weights are."""

    def mse(self, model: Model, noise: Noise, device: torch.device) -> float:
        """Return the mean squared error over valid pixels, in the unit squared."""
        ...


class Crops:
    """Random crops of the regions of a split, aligned in time only.

    Which crops a step sees depends on seed, stage and step alone: not on the steps before it,
    nor on threads or processes.
    """

    def __init__(self, cache: Cache, plan: Plan, protocol: Rules, split: str = "train") -> None:
        self._cache = cache
        self._plan = plan
        self._protocol = protocol
        self._split = split
        store = cache.store
        self._frames = {r: len(store.region(r).times[plan.sensor]) for r in store.split(split)}
        self._require_room()

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that hold enough dates for every stage with the shortest context."""
        least = self._plan.shortest + max(self._plan.leads)
        return tuple(sorted(r for r, n in self._frames.items() if n >= least))

    def _require_room(self) -> None:
        plan, store = self._plan, self._cache.store
        if not self.regions:
            raise HorizonError(
                f"training {plan.model} on {max(plan.leads)} leads after {plan.shortest} frames",
                f"the regions of the split {self._split} have "
                f"{max(self._frames.values(), default=0)} dates",
                "Choose a preset that needs fewer, or a dataset with more dates",
            )
        for region in self.regions:
            grid = store.region(region).grids[plan.sensor]
            if min(grid.height, grid.width) < plan.window:
                raise InputError(
                    f"training {plan.model} on crops of {plan.window} px",
                    f"region {region} has {grid.height}×{grid.width} px",
                    "Take a protocol with a smaller window, or a dataset with larger regions",
                )

    def draw(self, stage: int, step: int, count: int) -> tuple[Sample, ...]:
        """Return the samples of a step; all have one number of frames."""
        plan = self._plan
        rng = np.random.default_rng([plan.seed, stage, step])
        leads = plan.leads[stage]
        room = max(self._frames[r] for r in self.regions) - leads
        longest = min(plan.longest, room)
        context = longest
        if plan.shortest < longest and rng.random() >= FULL_SHARE:
            context = int(rng.integers(plan.shortest, longest + 1))
        fitting = [r for r in self.regions if self._frames[r] >= context + leads]
        order: list[str] = []
        while len(order) < count:  # every region once before any comes again
            order += [fitting[int(i)] for i in rng.permutation(len(fitting))]
        return tuple(self._crop(rng, region, context, leads) for region in order[:count])

    def _crop(self, rng: np.random.Generator, region: str, context: int, leads: int) -> Sample:
        side = self._plan.window
        grid = self._cache.store.region(region).grids[self._plan.sensor]
        for _ in range(TRIES):
            start = int(rng.integers(context - 1, self._frames[region] - leads))
            y = int(rng.integers(0, grid.height - side + 1))
            x = int(rng.integers(0, grid.width - side + 1))
            sample = Sample(
                region,
                Window(y, x, side, side),
                tuple(range(start - context + 1, start + 1)),
                tuple(range(start + 1, start + leads + 1)),
            )
            if self._protocol.direction == "past":
                (sample,) = backward([sample], self._frames)
            # A crop whose truth is all invalid teaches nothing: draw again, a few times.
            _, valid = self._cache.patch(region, sample.window, sample.targets)
            if valid.any():
                break
        return sample

    def training_batch(self, samples: Sequence[Sample], noise: Noise) -> TrainingBatch:
        """Return samples as given, want and truth."""
        batch = assemble(self._cache, samples, self._plan.bands)
        task = ForecastTask(self._protocol, self._cache.meta, noise, self._plan.bands)
        return TrainingBatch(*task.split(batch))


class Validation:
    """A fixed, evenly spread part of the validation windows."""

    def __init__(self, cache: Cache, plan: Plan, protocol: Rules, card: Card) -> None:
        self._cache = cache
        self._plan = plan
        self._card = card
        self._protocol = protocol
        leads = plan.leads[-1]
        found = index(
            cache.store, protocol, "val", horizon=leads, context=plan.context, sensor=plan.sensor
        )
        whole = [s for s in found if len(s.targets) == leads]
        self.samples = spread_evenly(whole, VALIDATION)

    def mse(self, model: Model, noise: Noise, device: torch.device) -> float:
        """Return the mean squared error over valid pixels of all leads, in the unit squared.

        Raises:
            TrainingError: if the validation windows hold no valid pixel.
        """
        task = ForecastTask(self._protocol, self._cache.meta, noise, self._plan.bands)
        found = batches(self._cache, self.samples, VALIDATION_BATCH, bands=self._plan.bands)
        return mean_squared(
            model, self._card, (TrainingBatch(*task.split(b)) for b in found), device
        )


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
    """Return the watched terms of a stage's loss, a mean over samples, nothing being trained.

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
