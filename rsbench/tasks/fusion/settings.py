"""Checks of a fusion table: one ratio of pixel sizes, the metrics that need it, and leaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rsbench.core.date_triplets import date_leaks
from rsbench.core.errors import InputError
from rsbench.metrics.registry import definition
from rsbench.tasks.fusion.samples import footprint, sensor_pair, splits_of, triplets

if TYPE_CHECKING:
    from rsbench.store.read import Store
    from rsbench.tasks.config import EvaluationConfig


def require_ratio(store: Store) -> int:
    """Return how many fine pixels a coarse measurement spans, which must be one number.

    Raises:
        InputError: if sensors or grids do not allow fusion, or regions differ.
    """
    pair = sensor_pair(store)
    found = {footprint(store, pair, region) for region in store.regions}
    if len(found) > 1:
        raise InputError(
            f"fusion on {store.path}",
            f"a coarse pixel spans {', '.join(map(str, sorted(found)))} fine pixels",
            "Put regions of one ratio into one store",
        )
    return found.pop()


def ratio_metrics(ids: Sequence[str], ratio: int) -> tuple[str, ...]:
    """Return the metrics without those of a pixel ratio farther from the data's than another's."""
    found = {name: definition(name).pixel_ratio for name in ids}
    best = min(filter(None, found.values()), key=lambda own: (abs(own - ratio), own), default=None)
    return tuple(name for name in ids if found[name] in (None, best))


def leak_notes(config: EvaluationConfig) -> Iterator[str]:
    """Return which test images a published list of triplets also has in training."""
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
