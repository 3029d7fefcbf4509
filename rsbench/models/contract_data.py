"""Small made-up samples for the contract: smooth fields that grow by a law one can learn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from rsbench.core.grid import Grid, Window
from rsbench.core.plugins import PlugIns
from rsbench.models.api import Card, Frames, Given, SampleRef, Want
from rsbench.models.noise import Noise

SENSOR = "contract"
YEAR = 365
WAVES = 6
GROWTH = 0.35
CEILING = 0.8


@dataclass(frozen=True)
class Shape:
    """Sizes of the samples.

    Args:
        made: the task whose samples they are; None for plain series.
        taught: whether the samples have frames that only training has.
        classes: number of classes, where models are built for a number of them.
    """

    samples: int
    context: int
    leads: int
    bands: int
    side: int
    made: Example | None = None
    taught: bool = False
    classes: int | None = None

    @staticmethod
    def of(card: Card, *, samples: int = 3, leads: int = 3, bands: int = 4) -> Shape:
        """Return small sizes that a card and its task allow."""
        example = TASKS.get(card.task).example()
        return replace(example.shape(card, samples, leads, bands), made=example)


@dataclass(frozen=True)
class Samples:
    """Context, template and truth; context and truth are views of one series."""

    given: Given
    want: Want
    truth: Frames


class Example(Protocol):
    """Makes up samples of a task; ``example()`` of a task returns one."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows."""
        ...

    def make(self, shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
        """Return samples; ``masked`` marks a share of the given pixels as invalid."""
        ...


class WithExample(Protocol):
    """What the contract needs of a task."""

    def example(self) -> Example:
        """Return what makes up samples of the task."""
        ...


TASKS: PlugIns[WithExample] = PlugIns(
    "rsbench.tasks", "task", "a method example", lambda value: hasattr(value, "example")
)


class Series:
    """Series of one sensor, of which the last frames are asked for."""

    def shape(self, card: Card, samples: int, leads: int, bands: int) -> Shape:
        """Return small sizes that a card allows."""
        context = max(card.min_context, min(3, card.max_context or 3))
        unit = card.multiple_of
        side = card.fixed_size or -(-max(32, 4 * card.halo) // unit) * unit
        return Shape(samples, context, leads, bands, side)

    def make(self, shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
        """Return samples; ``masked`` marks a share of the context's pixels as invalid."""
        return _series_samples(shape, seed=seed, masked=masked, members=members)


SERIES = Series()


def make_samples(shape: Shape, *, seed: int = 0, masked: bool = True, members: int = 1) -> Samples:
    """Make samples; ``masked`` marks a share of the given pixels as invalid."""
    example = shape.made or SERIES
    return example.make(shape, seed=seed, masked=masked, members=members)


def _series_samples(shape: Shape, *, seed: int, masked: bool, members: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    B, K, L, C, side = shape.samples, shape.context, shape.leads, shape.bands, shape.side
    series = _series(shape, generator)
    valid = torch.ones(B, 1, K + L, 1, side, side, dtype=torch.bool)
    if masked:
        valid[:, :, :K] = torch.rand(B, 1, K, 1, side, side, generator=generator) > 0.1
        series[:, :, :K] = torch.where(valid[:, :, :K], series[:, :, :K], 0)
    times = (torch.arange(K + L) * YEAR + 18_000).expand(B, -1).clone()
    bands = tuple(f"band{c + 1}" for c in range(C))
    whole = Frames(series, valid, times, bands, "reflectance", (False,) * (K + L), (0.0, 1.0))
    context = replace(
        whole,
        values=series[:, :, :K],
        valid=valid[:, :, :K],
        times=times[:, :K],
        predicted=(False,) * K,
    )
    windows = [Window(side * b, 2 * side * b, side, side) for b in range(B)]
    refs = tuple(
        SampleRef(f"region-{b + 1}", f"region-{b + 1}:2020-01-01:{seed}", w)
        for b, w in enumerate(windows)
    )
    whole_grid = Grid("EPSG:32633", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0), 9999, 9999)
    grids = tuple(whole_grid.window(w) for w in windows)
    given = Given({SENSOR: context}, {SENSOR: grids}, refs)
    want = Want(SENSOR, bands, times[:, K:], grids, refs, members, Noise(seed))
    return Samples(given, want, whole.last(L))


def rows(samples: Samples, index: list[int]) -> Samples:
    """Return some batch rows, in the order asked."""
    pick = torch.tensor(index)
    refs = tuple(samples.want.samples[i] for i in index)
    grids = tuple(samples.want.grids[i] for i in index)
    frames = {name: _pick(item, pick) for name, item in samples.given.frames.items()}
    own = {n: tuple(samples.given.grids[n][i] for i in index) for n in frames}
    texts = tuple(samples.given.texts[i] for i in index if samples.given.texts)
    given = Given(frames, own, refs, texts=texts)
    want = replace(samples.want, times=samples.want.times[pick].clone(), grids=grids, samples=refs)
    return Samples(given, want, _pick(samples.truth, pick))


def first_leads(samples: Samples, leads: int) -> tuple[Given, Want, Frames]:
    """Return the samples with only their first leads wanted."""
    truth = samples.truth
    cut = replace(
        truth,
        values=truth.values[:, :, :leads],
        valid=truth.valid[:, :, :leads],
        times=truth.times[:, :leads],
        predicted=truth.predicted[:leads],
    )
    return samples.given, replace(samples.want, times=samples.want.times[:, :leads]), cut


def _pick(frames: Frames, index: Tensor) -> Frames:
    return replace(
        frames,
        values=frames.values[index].clone(),
        valid=frames.valid[index].clone(),
        times=frames.times[index].clone(),
    )


def _series(shape: Shape, generator: torch.Generator) -> Tensor:
    """Return ``(B, 1, K + L, C, side, side)``: logistic growth from a smooth random field."""
    B, C, side = shape.samples, shape.bands, shape.side
    along = torch.arange(side) / side * 2 * math.pi
    frequency = torch.randint(1, 4, (B, C, WAVES, 2), generator=generator).float()
    phase = torch.rand(B, C, WAVES, 2, generator=generator) * 2 * math.pi
    waves = torch.cos(frequency[..., None] * along + phase[..., None])
    field = (waves[..., 0, :, None] * waves[..., 1, None, :]).mean(dim=2)
    value = 0.3 + 0.2 * field / field.abs().amax(dim=(-2, -1), keepdim=True)
    frames = []
    for _ in range(shape.context + shape.leads):
        frames.append(value)
        value = value + GROWTH * value * (1 - value / CEILING)
    return torch.stack(frames, dim=1).unsqueeze(1)
