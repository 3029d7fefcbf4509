"""The setting of a fusion table, and its cases."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rsbench.core.errors import InputError
from rsbench.tasks.config import FusionPart
from rsbench.tasks.fusion_samples import (
    Triplet,
    date_leaks,
    footprint,
    sensor_pair,
    splits_of,
    triplets,
)

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.read import Store
    from rsbench.tasks.base import Case
    from rsbench.tasks.config import EvaluationConfig
    from rsbench.tasks.fusion_samples import SensorPair

_ERGAS = re.compile(r"ergas\.r(\d+)@\d+")


def fusion_part(
    store: Store, protocol: Protocol, split: str, references: int, horizon: int
) -> FusionPart:
    """Check that a store can be fused with so many references, and return what is asked of it.

    Raises:
        InputError: if sensors, grids or dates do not allow it.
    """
    if horizon != 1:
        raise InputError(
            f"a horizon of {horizon}", "fusion answers one target date", "Leave --horizon out"
        )
    pair = sensor_pair(store)
    spans = {footprint(store, pair, region) for region in store.regions}
    if len(spans) > 1:
        raise InputError(
            f"fusion on {store.path}",
            f"a coarse pixel spans {', '.join(map(str, sorted(spans)))} fine pixels",
            "Put regions of one ratio into one store",
        )
    triplets(store, protocol, split, references=references)
    return FusionPart(pair.coarse, spans.pop())


def ratio_metrics(ids: Sequence[str], ratio: int) -> tuple[str, ...]:
    """Of the ERGAS of several ratios keep the one nearest to the data's; its name says which."""
    found = {name: int(match[1]) for name in ids if (match := _ERGAS.fullmatch(name))}
    best = min(found, key=lambda name: (abs(found[name] - ratio), found[name]), default="")
    return tuple(name for name in ids if name not in found or name == best)


def leak_notes(config: EvaluationConfig) -> Iterator[str]:
    """Say what a published list of triplets lets training see of its test."""
    protocol, store = config.protocol, config.store
    if protocol.dates is None:
        return
    there = {s: triplets(store, protocol, s) for s in splits_of(store, protocol, config.context)}
    leaks = date_leaks(there.get("train", ()), there.get("test", ()))
    if leaks:
        days = sorted({leak.target.isoformat() for leak in leaks})
        roles = " and ".join(sorted({leak.role for leak in leaks}))
        yield (
            f"{protocol.name} leaks: the fine images of {', '.join(days)}, which are to be "
            f"predicted in the test, are seen in training as {roles}"
        )


def pair_of(config: EvaluationConfig) -> SensorPair:
    """Return the two sensors of a fusion setting."""
    return sensor_pair(config.store)


def fusion_groups(config: EvaluationConfig, split: str) -> list[list[Triplet]]:
    """Return the triplets of a split, one group per condition and target date."""
    groups: dict[tuple[str, str], list[Triplet]] = {}
    for sample in triplets(config.store, config.protocol, split, references=config.context):
        groups.setdefault((sample.condition, sample.target.isoformat()), []).append(sample)
    return [groups[key] for key in sorted(groups)]


def fusion_cases(
    config: EvaluationConfig, split: str, batch_size: int, *, regions: Collection[str] | None = None
) -> Iterator[Case]:
    """Yield the batches of a split; whole regions, one target date per batch row.

    Args:
        regions: only these; all of the split where None.
    """
    from rsbench.models.noise import Noise
    from rsbench.tasks.base import Case
    from rsbench.tasks.fusion import FusionTask
    from rsbench.tasks.fusion_batches import fusion_batches
    from rsbench.tasks.fusion_zones import zones_of

    pair = pair_of(config)
    task = FusionTask(
        config.protocol, config.meta, config.store.sensor(pair.coarse),
        noise=Noise(config.seed), members=config.members,
    )  # fmt: skip
    for whole in fusion_groups(config, split):
        group = [s for s in whole if regions is None or s.region in regions]
        for batch in fusion_batches(
            config.store, group, batch_size, pair=pair, bands=config.bands,
            resampling=config.protocol.resampling,
        ):  # fmt: skip
            given, want, truth = task.split(batch)
            yield Case(
                given=given,
                want=want,
                truth=truth.values[:, 0],
                valid=truth.valid[:, 0],
                starts=tuple(s.references[0] for s in batch.samples),
                targets=tuple((s.target,) for s in batch.samples),
                curves=(("starts",),) * len(batch.samples),
                conditions=tuple(s.condition for s in batch.samples),
                zones=zones_of(given, want),
            )
