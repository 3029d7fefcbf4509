"""The setting of a fusion table, and its cases."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rsbench.errors import InputError
from rsbench.samples_fusion import (
    Triplet,
    date_leaks,
    footprint,
    sensor_pair,
    splits_of,
    triplets,
)

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.evaluation import Case
    from rsbench.samples_fusion import SensorPair
    from rsbench.setting import Setting
    from rsbench.store.read import Store

_ERGAS = re.compile(r"ergas\.r(\d+)@\d+")


@dataclass(frozen=True)
class FusionPart:
    """What a fusion setting has beside the forecast's: the coarse sensor and its footprint."""

    coarse: str
    footprint: int


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


def leak_notes(setting: Setting) -> Iterator[str]:
    """Say what a published list of triplets lets training see of its test."""
    protocol, store = setting.protocol, setting.store
    if protocol.dates is None:
        return
    there = {s: triplets(store, protocol, s) for s in splits_of(store, protocol, setting.context)}
    leaks = date_leaks(there.get("train", ()), there.get("test", ()))
    if leaks:
        days = sorted({leak.target.isoformat() for leak in leaks})
        roles = " and ".join(sorted({leak.role for leak in leaks}))
        yield (
            f"{protocol.name} leaks: the fine images of {', '.join(days)}, which are to be "
            f"predicted in the test, are seen in training as {roles}"
        )


def pair_of(setting: Setting) -> SensorPair:
    """Return the two sensors of a fusion setting."""
    return sensor_pair(setting.store)


def fusion_groups(setting: Setting, split: str) -> list[list[Triplet]]:
    """Return the triplets of a split, one group per condition and target date."""
    groups: dict[tuple[str, str], list[Triplet]] = {}
    for sample in triplets(setting.store, setting.protocol, split, references=setting.context):
        groups.setdefault((sample.condition, sample.target.isoformat()), []).append(sample)
    return [groups[key] for key in sorted(groups)]


def fusion_cases(
    setting: Setting, split: str, batch_size: int, *, regions: Collection[str] | None = None
) -> Iterator[Case]:
    """Yield the batches of a split; whole regions, one target date per batch row.

    Args:
        regions: only these; all of the split where None.
    """
    from rsbench.evaluation import Case
    from rsbench.loader_fusion import fusion_batches
    from rsbench.noise import Noise
    from rsbench.setting_zones import zones_of
    from rsbench.task_fusion import FusionTask

    pair = pair_of(setting)
    task = FusionTask(
        setting.protocol, setting.meta, setting.store.sensor(pair.coarse),
        noise=Noise(setting.seed), members=setting.members,
    )  # fmt: skip
    for whole in fusion_groups(setting, split):
        group = [s for s in whole if regions is None or s.region in regions]
        for batch in fusion_batches(
            setting.store, group, batch_size, pair=pair, bands=setting.bands,
            resampling=setting.protocol.resampling,
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
