"""The fusion task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from rsbench.core.date_triplets import Triplet
from rsbench.core.errors import InputError
from rsbench.core.grid import nesting
from rsbench.core.progress import Advance, silent
from rsbench.tasks.base import Asked, Drawing, Pool, Reader, Reading, Task, Unit
from rsbench.tasks.coverage import lack
from rsbench.tasks.fusion.samples import (
    footprint,
    sensor_pair,
    splits_of,
    triplets,
    with_references,
)
from rsbench.tasks.fusion.settings import leak_notes, ratio_metrics, require_ratio
from rsbench.tasks.fusion.words import WORDS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from numpy.random import Generator
    from torch import Tensor

    from rsbench.catalog import Protocol
    from rsbench.core.grid import Grid, Window
    from rsbench.models.api import Given, Want
    from rsbench.models.contract_data import Example
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.frames import Requests
    from rsbench.tasks.fusion.samples import SensorPair
    from rsbench.tasks.words import Scored

REFERENCES = "n_refs="
"""Stands before the number of references in the inputs of a fusion entry."""


class FusionTask(Task[Triplet]):
    """Predict the fine image of a target date.

    Given are the fine images of the reference dates, and the coarse images of these dates and of
    the target date, on the fine grid. Whole regions are scored. Validation takes fewer windows than
    usual, because most fusion networks are samplers of many steps.
    """

    name = "fusion"
    kinds = ("triplets",)
    words = WORDS
    reference_models = (
        "copy_f0",
        "copy_f2",
        "mean_refs",
        "interpolate_refs",
        "add_change",
        "copy_c1",
    )
    validation_samples = 16
    context = "each"

    def require_protocol(self, protocol: Protocol) -> None:
        """Refuse other numbers of references or leads, and the direction past."""
        if protocol.horizon != 1 or protocol.context > 2 or protocol.direction != "future":
            raise InputError(
                f"protocol {protocol.name}",
                f"context {protocol.context}, horizon {protocol.horizon}, "
                f"direction {protocol.direction}",
                "Fusion has 1 or 2 reference dates, a horizon of 1 and the direction future",
            )

    def sensor(self, store: Store) -> str:
        """Return the fine sensor."""
        return sensor_pair(store).fine

    def settle(self, config: EvaluationConfig) -> EvaluationConfig:
        """Check sensors, grids and dates; of the ERGAS ratios keep the one of the data."""
        if config.horizon != 1:
            raise InputError(
                f"a horizon of {config.horizon}",
                "fusion answers one target date",
                "Leave --horizon out",
            )
        ratio = require_ratio(config.store)
        kept, found = _scored(config, config.split)
        if not kept:
            raise InputError(
                f"fusion on {config.store.path}, split {config.split}",
                f"all {found} triplets have a fine reference {lack(config.protocol.least_valid)}",
                "Import the files again, which leaves such dates out, or lower least_valid of the "
                "protocol",
            )
        return replace(config, metrics=ratio_metrics(config.metrics, ratio))

    def most_context(self, config: EvaluationConfig) -> int:
        """Return how many references some region has beside a target: at most 2."""
        pair = sensor_pair(config.store)
        entries = (config.store.region(name).times for name in config.store.regions)
        return min(2, max(len({*t[pair.fine]} & {*t[pair.coarse]}) for t in entries) - 1)

    def splits(self, config: EvaluationConfig) -> frozenset[str]:
        """Return the splits that have triplets."""
        return frozenset(splits_of(config.store, config.protocol, config.context))

    def groups(self, config: EvaluationConfig, split: str) -> list[list[Triplet]]:
        """Return the triplets of a split, one group per condition and target date."""
        groups: dict[tuple[str, str], list[Triplet]] = {}
        for sample in _scored(config, split)[0]:
            groups.setdefault((sample.condition, sample.target.isoformat()), []).append(sample)
        return [groups[key] for key in sorted(groups)]

    def left_out(self, config: EvaluationConfig, split: str) -> Iterable[str]:
        """Return how many triplets have an empty fine reference."""
        kept, found = _scored(config, split)
        if len(kept) < found:
            why = lack(config.protocol.least_valid)
            yield f"{found - len(kept)} of {found} triplets left out: fine reference {why}"

    def unit(self, config: EvaluationConfig, sample: Triplet) -> Unit:
        """Return first reference and target."""
        return Unit(sample.references[0], (sample.target,), ("starts",), sample.condition)

    def reader(self, reading: Reading, advance: Advance = silent) -> Reader[Triplet]:
        """Return what reads fine references, coarse images and the fine target."""
        from rsbench.store.cache import open_cache
        from rsbench.tasks.frames import FrameReader

        pair = sensor_pair(reading.store)
        sensors = (pair.fine, pair.coarse)
        caches = {name: open_cache(reading.store, name, progress=advance) for name in sensors}
        return FrameReader(reading, caches, lambda sample: _requests(reading.store, pair, sample))

    def pixel_ratio(self, config: EvaluationConfig) -> int:
        """Return how many fine pixels a coarse measurement spans along one side."""
        return require_ratio(config.store)

    def resampled(self, protocol: Protocol) -> str:
        """Return how coarse images are brought to the fine grid."""
        return protocol.resampling

    def zones(self, given: Given, want: Want) -> Mapping[str, Tensor]:
        """Return where the coarse images changed, and where they did not."""
        from rsbench.tasks.fusion.zones import zones_of

        return zones_of(given, want)

    def shown(self, config: EvaluationConfig) -> str:
        """Return both sensors and the number of references."""
        coarse = sensor_pair(config.store).coarse
        return f"{config.sensor}+{coarse} {REFERENCES}{config.context}"

    def notes(self, config: EvaluationConfig) -> Iterable[str]:
        """Return which test images a published list of triplets also has in training."""
        return leak_notes(config)

    def pool(self, reading: Reading, drawing: Drawing, split: str) -> Pool[Triplet]:
        """Return the triplets of a split's regions."""
        return Triplets.of(reading, drawing, split)

    def validation(
        self, reading: Reading, reader: Reader[Triplet], drawing: Drawing
    ) -> Sequence[Triplet]:
        """Return the windows in which every image has a valid pixel."""
        found = triplets(
            reading.store, reading.protocol, "val", references=drawing.context, windows=True
        )
        return [sample for sample in found if reader.usable(sample)]

    def asked(self, config: EvaluationConfig) -> Sequence[Asked[Triplet]]:
        """Return every triplet of whole regions once; frames are those on the fine grid."""
        pair = sensor_pair(config.store)
        return [
            _asked(config.store, pair, sample)
            for group in self.groups(config, config.split)
            for sample in group
        ]

    def example(self) -> Example:
        """Return what makes up triplets for the contract."""
        from rsbench.tasks.fusion.example import TRIPLETS

        return TRIPLETS

    def methods(self, run: Scored) -> str:
        """Return half a sentence: the inputs of models and what they predicted."""
        dates = "date" if run.context == 1 else "dates"
        return (
            f"the fine and coarse images of {run.context} reference {dates} and the coarse image "
            "of the target date were given and the fine image of the target date predicted"
        )


TASK = FusionTask()


def _scored(config: EvaluationConfig, split: str) -> tuple[tuple[Triplet, ...], int]:
    """Return the triplets of a split that are scored, and how many there are in all."""
    found = triplets(config.store, config.protocol, split, references=config.context)
    return with_references(config.store, config.protocol, found), len(found)


def _asked(store: Store, pair: SensorPair, sample: Triplet) -> Asked[Triplet]:
    name = sample.key.removeprefix(f"{sample.region}:").replace(":", "_")
    scenario = f", condition {sample.condition}" if sample.condition else ""
    references = " and ".join(str(day) for day in sample.references)
    return Asked(
        sample=sample,
        key=sample.key,
        name=name,
        label=f"target {sample.target} from {references}{scenario}",
        grid=store.region(sample.region).grids[pair.fine],
        given={pair.fine: sample.references, pair.coarse: sample.dates},
        folders={s: f"{sample.region}/{name}/{s}" for s in (pair.fine, pair.coarse)},
        targets=(sample.target,),
    )


def _requests(store: Store, pair: SensorPair, sample: Triplet) -> Requests:
    """Return the frames of a triplet; every coarse image must have a valid pixel."""
    from rsbench.tasks.frames import Request, Requests

    span = footprint(store, pair, sample.region)

    def at(sensor: str, dates: Sequence[date]) -> tuple[int, ...]:
        times = store.region(sample.region).times[sensor]
        absent = [str(day) for day in dates if day not in times]
        if absent:
            raise InputError(
                f"{sensor} images of region {sample.region}",
                f"there is none of {', '.join(absent)}",
                "Choose dates of both sensors",
            )
        return tuple(times.index(day) for day in dates)

    grids = store.region(sample.region).grids
    ratio = nesting(grids[pair.fine], grids[pair.coarse], f"region {sample.region}")
    cell = max(1, span // ratio)

    def cloud(window: Window) -> npt.NDArray[np.bool_]:
        return _cloud(sample, grids[pair.coarse], cell, window)

    hidden = {sample.dates.index(sample.target): cloud} if sample.cloud else {}
    coarse = at(pair.coarse, sample.dates)
    return Requests(
        key=sample.key,
        given=(
            Request(pair.fine, at(pair.fine, sample.references)),
            Request(pair.coarse, coarse, footprint=span, required=True, hidden=hidden),
        ),
        truth=Request(pair.fine, at(pair.fine, (sample.target,))),
    )


def _cloud(sample: Triplet, grid: Grid, cell: int, window: Window) -> npt.NDArray[np.bool_]:
    """Return what a sample's cloud hides of a window of the coarse grid: ``(h, w)`` bool.

    A measurement spans ``cell`` pixels of that grid along one side; all of it is hidden, or none.
    """
    from rsbench.tasks.fusion.clouds import hidden

    rows, columns = -(-grid.height // cell), -(-grid.width // cell)
    whole = hidden(sample.region, sample.cloud, (rows, columns))
    whole = whole.repeat(cell, axis=0).repeat(cell, axis=1)
    part: npt.NDArray[np.bool_] = whole[window.slices].copy()
    return part


@dataclass(frozen=True)
class Triplets:
    """The triplets of a split's regions; crops lie on the lattice of coarse pixels.

    A model of one reference that is trained under a protocol of two is given either of them.
    """

    samples: Mapping[str, Sequence[Triplet]]
    references: int
    lattice: int

    @classmethod
    def of(cls, reading: Reading, drawing: Drawing, split: str) -> Triplets:
        """Return the triplets of a split.

        Raises:
            InputError: if the sensor asked for is not the fine one, the window does not fall on
                coarse pixels, or regions differ in the ratio of pixel sizes.
        """
        lattice = _lattice(reading, drawing)
        found = with_references(
            reading.store,
            reading.protocol,
            triplets(reading.store, reading.protocol, split, references=drawing.context),
        )
        samples: dict[str, list[Triplet]] = {}
        for sample in found:
            samples.setdefault(sample.region, []).append(sample)
        return cls(samples, drawing.context, lattice)

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions with enough dates of both sensors, sorted."""
        return tuple(sorted(self.samples))

    def longest(self, leads: int) -> int:
        """Return the number of references of every triplet."""
        return self.references

    def fitting(self, context: int, leads: int) -> tuple[str, ...]:
        """Return all regions: every triplet has all references."""
        return self.regions

    def draw(self, rng: Generator, region: str, context: int, leads: int) -> Triplet:
        """Return a triplet of the whole region with some of its references."""
        whole = self.samples[region][int(rng.integers(len(self.samples[region])))]
        kept = sorted(rng.permutation(len(whole.references))[:context])
        return replace(whole, references=tuple(whole.references[int(i)] for i in kept))


def _lattice(reading: Reading, drawing: Drawing) -> int:
    """Return how many fine pixels a stored coarse pixel spans, after checking that crops fit."""
    store = reading.store
    pair = sensor_pair(store)
    if reading.sensor != pair.fine:
        raise InputError(
            f"training {drawing.model} on {reading.sensor}",
            f"of {pair.fine} and {pair.coarse} it is the coarse one",
            f"Ask for {pair.fine}",
        )
    require_ratio(store)
    grids = {name: store.region(name).grids for name in store.regions}
    ratios = {
        nesting(own[pair.fine], own[pair.coarse], f"region {name}") for name, own in grids.items()
    }
    ratio = max(ratios)
    if len(ratios) > 1:
        raise InputError(
            f"training {drawing.model} on {store.path}",
            f"a stored coarse pixel spans {', '.join(map(str, sorted(ratios)))} fine pixels",
            "Put regions of one ratio into one store",
        )
    if drawing.window % ratio:
        raise InputError(
            f"training {drawing.model} on crops of {drawing.window} px",
            f"a coarse pixel spans {ratio} fine pixels",
            f"Take a protocol whose window is a multiple of {ratio}",
        )
    return ratio
