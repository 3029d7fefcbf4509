"""Training crops from a synthetic store beside, or in place of, those of the store itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rsbench.core.errors import InputError
from rsbench.models.api import Frames, Given, Noise, Want
from rsbench.store.lineage import Lineage
from rsbench.tasks.labels import labelled_regions
from rsbench.training.data import Crops, TrainingBatch

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store


def require_lineage(also: Store, store: Store, protocol: Protocol, sensor: str) -> Lineage:
    """Return the lineage of a synthetic store that training may use beside a store.

    Raises:
        InputError: if it is not synthetic, was drawn from another store, has not the sensor, or its
            generator saw labels that the protocol hides.
    """
    found, asked = Lineage.of(also), f"training with --also {also.path}"
    if found is None:
        raise InputError(
            asked, "it is no synthetic store: nothing says which regions its images show",
            f"Type: rsbench synthesize --data {store.path} --out SYNTH, and give that store",
        )  # fmt: skip
    if found.source != store.digest:
        raise InputError(
            asked,
            f"its generator was trained on {found.dataset} ({found.source[:12]}), whose training "
            f"regions may be validation or test regions of {store.path} ({store.digest[:12]})",
            f"Type: rsbench synthesize --data {store.path} --out SYNTH, and give that store",
        )
    also.sensor(sensor)
    seen = set(labelled_regions(store, protocol.model_copy(update={"labels": _share(found)})))
    if hidden := sorted(seen - set(labelled_regions(store, protocol))):
        share = protocol.labels
        stated = (
            ""
            if share is None
            else (f" --labelled-fraction {share.fraction:g} --label-seed {share.seed}")
        )
        raise InputError(
            f"{asked} under protocol {protocol.name}",
            "its generator saw labels of regions that are hidden here: " + ", ".join(hidden[:3]),
            f"Type: rsbench synthesize --model {found.model} --data {store.path}{stated} --out NEW",
        )
    return found


def _share(lineage: Lineage) -> Any:
    from rsbench.catalog.models_protocol import LabelShare

    return None if lineage.labels is None else LabelShare(**lineage.labels)


@dataclass(frozen=True)
class _Drawn:
    """A sample, and whether it is of the synthetic store."""

    sample: Any
    synthetic: bool


class JoinedCrops:
    """Crops of a store and of a synthetic one; every region of both is equally likely.

    Args:
        real, synthetic: crops of the two stores.
        share: share of the crops from the synthetic store; None for its share of the regions.
    """

    def __init__(self, real: Crops, synthetic: Crops, share: float | None = None) -> None:
        self._parts: Mapping[bool, Crops] = {False: real, True: synthetic}
        own = len(synthetic.regions) / (len(synthetic.regions) + len(real.regions))
        self._share = own if share is None else share

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of the real store, of which the synthetic images are drawn."""
        return self._parts[False].regions

    def draw(self, stage: int, step: int, count: int) -> tuple[_Drawn, ...]:
        """Return the samples of a step; how many are synthetic depends on seed, stage and step."""
        real, synthetic = self._parts[False], self._parts[True]
        rng = np.random.default_rng([real.seed, stage, step, 1])
        chosen = int(rng.binomial(count, self._share))
        return (
            *(_Drawn(s, False) for s in real.draw(stage, step, count - chosen)),
            *(_Drawn(s, True) for s in synthetic.draw(stage, step, chosen)),
        )

    def training_batch(
        self, samples: Sequence[_Drawn], noise: Noise, stage: int = -1
    ) -> TrainingBatch:
        """Return samples as given, want and truth, as a stage is given them."""
        parts = [
            self._parts[kind].training_batch(own, noise, stage)
            for kind in (False, True)
            if (own := [one.sample for one in samples if one.synthetic == kind])
        ]
        return joined(parts)

    def solved(self, stage: int, noise: Noise, most: int) -> Iterator[TrainingBatch]:
        """Yield the windows that a stage in closed form is given: all of both stores.

        Those of the synthetic store alone, where all crops are of it.
        """
        if self._share < 1:
            yield from self._parts[False].solved(stage, noise, most)
        yield from self._parts[True].solved(stage, noise, most)


def joined(parts: Sequence[TrainingBatch]) -> TrainingBatch:
    """Return the samples of several batches as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    frames = {n: _frames([p.given.frames[n] for p in parts]) for n in first.given.frames}
    grids = {n: _chained([p.given.grids[n] for p in parts]) for n in first.given.grids}
    refs = _chained([p.want.samples for p in parts])
    given = Given(frames, grids, refs, texts=_chained([p.given.texts for p in parts]))
    want: Want = replace(
        first.want, times=torch.cat([p.want.times for p in parts]), samples=refs,
        grids=_chained([p.want.grids for p in parts]),
    )  # fmt: skip
    return TrainingBatch(given, want, _frames([p.truth for p in parts]))


def _chained(parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(item for part in parts for item in part)


def _frames(parts: Sequence[Frames]) -> Frames:
    values, valid, times = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("values", "valid", "times")
    )
    return replace(parts[0], values=values, valid=valid, times=times)
