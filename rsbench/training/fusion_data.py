"""What training of fusion sees: crops of triplets, and a fixed validation set of whole windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rsbench.core.errors import InputError, TrainingError
from rsbench.core.grid import Window, nesting
from rsbench.store.cache import open_cache
from rsbench.tasks.fusion import FusionTask
from rsbench.tasks.fusion_batches import assemble, fusion_batches
from rsbench.tasks.fusion_samples import Triplet, footprint, sensor_pair, triplets
from rsbench.training.forecast_data import (
    FULL_SHARE,
    VALIDATION_BATCH,
    TrainingBatch,
    mean_squared,
    spread_evenly,
)

if TYPE_CHECKING:
    from datetime import date

    from rsbench.catalog import Protocol
    from rsbench.core.progress import Advance
    from rsbench.models.api import Card, Model, Noise
    from rsbench.store.cache import Cache
    from rsbench.store.read import Store
    from rsbench.tasks.fusion_samples import SensorPair
    from rsbench.training.plan import Plan

TRIES = 64
VALIDATION = 16
"""Fewer windows than forecasts take: most fusion networks are samplers of many steps."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """A store of triplets, open for training.

    Args:
        fine, coarse: caches of the two sensors.
        ratio: fine pixels along one side of a stored coarse pixel.
        span: fine pixels along one side of a coarse measurement.
    """

    store: Store
    plan: Plan
    protocol: Protocol
    pair: SensorPair
    fine: Cache
    coarse: Cache
    ratio: int
    span: int

    @classmethod
    def open(cls, store: Store, plan: Plan, protocol: Protocol, advance: Advance) -> Pixels:
        """Open both sensors.

        Raises:
            InputError: if the sensor asked for is not the fine one, the window does not fall on
                coarse pixels, or regions differ in the ratio of pixel sizes.
        """
        pair = sensor_pair(store)
        if plan.sensor != pair.fine:
            raise InputError(
                f"training {plan.model} on {plan.sensor}",
                f"of {pair.fine} and {pair.coarse} it is the coarse one",
                f"Ask for {pair.fine}",
            )
        entries = {name: store.region(name).grids for name in store.regions}
        ratios = {
            nesting(grids[pair.fine], grids[pair.coarse], f"region {name}")
            for name, grids in entries.items()
        }
        spans = {footprint(store, pair, name) for name in store.regions}
        if len(ratios) > 1 or len(spans) > 1:
            raise InputError(
                f"training {plan.model} on {store.path}",
                f"a coarse pixel spans {', '.join(map(str, sorted(spans)))} fine pixels",
                "Put regions of one ratio into one store",
            )
        ratio = ratios.pop()
        if plan.window % ratio:
            raise InputError(
                f"training {plan.model} on crops of {plan.window} px",
                f"a coarse pixel spans {ratio} fine pixels",
                f"Take a protocol whose window is a multiple of {ratio}",
            )
        fine, coarse = (open_cache(store, s, progress=advance) for s in (pair.fine, pair.coarse))
        return cls(store, plan, protocol, pair, fine, coarse, ratio, spans.pop())

    def teaches(self, sample: Triplet) -> bool:
        """Say whether truth and every coarse image have a valid pixel in the window."""
        w = sample.window
        y, x, height, width = (n // self.ratio for n in (w.y, w.x, w.height, w.width))
        low = Window(y, x, height, width)
        truth = self._valid(self.fine, sample.region, w, (sample.target,))
        return bool(truth.any()) and bool(
            self._valid(self.coarse, sample.region, low, sample.dates).any(axis=(1, 2)).all()
        )

    def _valid(
        self, cache: Cache, region: str, window: Window, dates: Sequence[date]
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        times = self.store.region(region).times[cache.sensor]
        return cache.patch(region, window, [times.index(day) for day in dates])[1]

    def task(self, noise: Noise) -> FusionTask:
        """Return the task of this store under the protocol."""
        return FusionTask(self.protocol, self.fine.meta, self.coarse.meta, noise)


class TripletCrops:
    """Random crops of the training regions' triplets, on the lattice of coarse pixels.

    A model of one reference that is trained under a protocol of two sees either of them. Which
    crops a step sees depends on seed, stage and step alone.
    """

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        plan = pixels.plan
        found = triplets(pixels.store, pixels.protocol, "train", references=plan.context)
        self._triplets: dict[str, list[Triplet]] = {}
        for sample in found:
            self._triplets.setdefault(sample.region, []).append(sample)
        for region, samples in self._triplets.items():
            whole = samples[0].window
            if min(whole.height, whole.width) < plan.window:
                raise InputError(
                    f"training {plan.model} on crops of {plan.window} px",
                    f"region {region} has {whole.height}×{whole.width} px",
                    "Take a protocol with a smaller window, or a dataset with larger regions",
                )

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions with enough dates of both sensors."""
        return tuple(sorted(self._triplets))

    def draw(self, stage: int, step: int, count: int) -> tuple[Triplet, ...]:
        """Return the samples of a step; all have one number of references.

        Raises:
            TrainingError: if crops with a valid pixel of every image are hard to find.
        """
        plan = self._pixels.plan
        rng = np.random.default_rng([plan.seed, stage, step])
        references = plan.longest
        if plan.shortest < references and rng.random() >= FULL_SHARE:
            references = int(rng.integers(plan.shortest, references + 1))
        order: list[str] = []
        while len(order) < count:  # every region once before any comes again
            order += [self.regions[int(i)] for i in rng.permutation(len(self.regions))]
        return tuple(self._crop(rng, region, references) for region in order[:count])

    def _crop(self, rng: np.random.Generator, region: str, references: int) -> Triplet:
        pixels, side = self._pixels, self._pixels.plan.window
        for _ in range(TRIES):
            whole = self._triplets[region][int(rng.integers(len(self._triplets[region])))]
            kept = sorted(rng.permutation(len(whole.references))[:references])
            rows, columns = whole.window.height - side, whole.window.width - side
            y, x = (
                pixels.ratio * int(rng.integers(0, n // pixels.ratio + 1)) for n in (rows, columns)
            )
            sample = replace(
                whole,
                window=Window(y, x, side, side),
                references=tuple(whole.references[int(i)] for i in kept),
            )
            if pixels.teaches(sample):
                return sample
            # Under cloud one learns nothing: another place, and not again the same region.
            region = self.regions[int(rng.integers(len(self.regions)))]
        raise TrainingError(
            f"training {pixels.plan.model} on crops of {side} px",
            f"none of {TRIES} crops had a valid pixel of the truth and of every coarse image",
            "Leave out dates under cloud, or take a larger window",
        )

    def training_batch(self, samples: Sequence[Triplet], noise: Noise) -> TrainingBatch:
        """Return samples as given, want and truth."""
        pixels = self._pixels
        batch = assemble(
            pixels.store, (pixels.fine, pixels.coarse), tuple(samples), pixels.plan.bands,
            pixels.span, pixels.protocol.resampling,
        )  # fmt: skip
        return TrainingBatch(*pixels.task(noise).split(batch))


class TripletValidation:
    """A fixed, evenly spread part of the validation windows in which every image is seen."""

    def __init__(self, pixels: Pixels, card: Card) -> None:
        self._pixels = pixels
        self._card = card
        found = triplets(
            pixels.store, pixels.protocol, "val", references=pixels.plan.context, windows=True
        )
        self.samples = spread_evenly([s for s in found if pixels.teaches(s)], VALIDATION)

    def mse(self, model: Model, noise: Noise, device: torch.device) -> float:
        """Return the mean squared error over valid pixels, in the unit squared.

        Raises:
            TrainingError: if the validation windows hold no valid pixel.
        """
        return mean_squared(model, self._card, self._training_batches(noise), device)

    def _training_batches(self, noise: Noise) -> Iterator[TrainingBatch]:
        pixels = self._pixels
        task = pixels.task(noise)
        for batch in fusion_batches(
            pixels.store, self.samples, VALIDATION_BATCH, pair=pixels.pair,
            bands=pixels.plan.bands, resampling=pixels.protocol.resampling,
        ):  # fmt: skip
            yield TrainingBatch(*task.split(batch))
