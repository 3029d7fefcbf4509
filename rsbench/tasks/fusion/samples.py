"""Samples of fusion: a target date, its reference dates, and the pair of sensors.

A date can be a reference or a target if both sensors have it. The fine image of a target is the
truth, which is never passed to models. Under a protocol whose scheme is ``time`` splits are made
by target date; no sample of an earlier split holds the target date of a later one, in any role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from rsbench.core.date_triplets import SHARES, Triplet, gap_of, neighbours, split_by_date
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window, nesting
from rsbench.tasks.coverage import enough, valid_shares
from rsbench.tasks.windows import whole_window, windows_of

if TYPE_CHECKING:
    from rsbench.catalog import Protocol
    from rsbench.store.layout import SensorMeta
    from rsbench.store.read import Store


@dataclass(frozen=True)
class SensorPair:
    """The fine and the coarse sensor of a store of triplets."""

    fine: str
    coarse: str


def sensor_pair(store: Store) -> SensorPair:
    """Return which sensor of a store is fine and which coarse, after checking that they fit.

    Raises:
        InputError: if the store does not hold two sensors of one unit, one list of bands and two
            pixel sizes.
    """
    metas = sorted(store.meta.sensors.values(), key=lambda meta: meta.gsd)
    if len(metas) != 2:
        raise InputError(
            f"fusion on {store.path}",
            f"the store holds {len(metas)} sensor{'s' if len(metas) != 1 else ''} "
            f"({', '.join(store.meta.sensors)})",
            "Fusion needs a fine and a coarse sensor: rsbench build-dataset --recipe demo-fusion",
        )
    fine, coarse = metas
    require_fitting(fine, coarse)
    return SensorPair(fine.name, coarse.name)


def require_fitting(fine: SensorMeta, coarse: SensorMeta) -> None:
    """Refuse two sensors whose values cannot be compared.

    Raises:
        InputError: if units, bands, their order or the pixel sizes do not fit.
    """
    asked = f"fusion of {fine.name} and {coarse.name}"
    if fine.unit != coarse.unit:
        raise InputError(
            asked,
            f"the one is {fine.unit}, the other {coarse.unit}",
            "Convert both sensors to the same unit",
        )
    if fine.bands != coarse.bands:
        same = set(fine.bands) == set(coarse.bands)
        raise InputError(
            asked,
            f"the bands {'are in another order' if same else 'differ'}: "
            f"{', '.join(fine.bands)} and {', '.join(coarse.bands)}",
            "Bring both to the same bands in one order",
        )
    if coarse.gsd < 1.5 * fine.gsd:
        raise InputError(
            asked,
            f"their pixels measure {fine.gsd:g} and {coarse.gsd:g} m",
            "State the true pixel size of the coarse sensor",
        )


def footprint(store: Store, pair: SensorPair, region: str) -> int:
    """Return how many fine pixels one coarse measurement spans along one side.

    Coarse images that were resampled to the fine grid before still span what they measured.
    """
    grids = store.region(region).grids
    ratio = nesting(grids[pair.fine], grids[pair.coarse], f"region {region}")
    if ratio > 1:
        return ratio
    return max(1, round(store.sensor(pair.coarse).gsd / store.sensor(pair.fine).gsd))


def triplets(
    store: Store, protocol: Protocol, split: str, *, references: int | None = None,
    windows: bool = False,
) -> tuple[Triplet, ...]:  # fmt: skip
    """Return the samples of a split: consecutive dates that both sensors show.

    With two references they are the dates before and after the target; with one, the date before.

    Args:
        references: 1 or 2; the protocol's context where None.
        windows: cut regions into the protocol's windows, as for training; whole regions otherwise.

    Raises:
        InputError: if no region of the split has enough dates in common.
    """
    count = protocol.context if references is None else references
    if count not in (1, 2):
        raise InputError(
            f"fusion from {count} reference dates", "models take 1 or 2", "Give --context 1 or 2"
        )
    pair = sensor_pair(store)
    found = _found(store, protocol, pair, split, count, windows=windows)
    if not found:
        raise _too_few(store, protocol, pair, split, count)
    return found


def with_references(
    store: Store, protocol: Protocol, found: Sequence[Triplet]
) -> tuple[Triplet, ...]:
    """Return the triplets whose fine references all have as many valid pixels as is asked."""
    fine = sensor_pair(store).fine
    shares = valid_shares(store, fine, ((sample.region, sample.window) for sample in found))
    times = {region: store.region(region).times[fine] for region, _ in shares}

    def seen(sample: Triplet, day: date) -> bool:
        share = shares[sample.region, sample.window][times[sample.region].index(day)]
        return enough(float(share), protocol.least_valid)

    return tuple(sample for sample in found if all(seen(sample, d) for d in sample.references))


def splits_of(store: Store, protocol: Protocol, references: int) -> tuple[str, ...]:
    """Return the names of the splits that have samples under a protocol."""
    names = sorted({str(r["split"]) for r in store.listed.values()})
    if protocol.dates is not None:
        names = sorted(protocol.dates)
    elif protocol.scheme == "time":
        names = sorted(SHARES)
    pair = sensor_pair(store)
    return tuple(n for n in names if _found(store, protocol, pair, n, references, windows=False))


def _found(
    store: Store, protocol: Protocol, pair: SensorPair, split: str, count: int, *, windows: bool
) -> tuple[Triplet, ...]:
    found: list[Triplet] = []
    for region in _regions(store, protocol, split):
        entry = store.region(region)
        fine, coarse = entry.grids[pair.fine], entry.grids[pair.coarse]
        ratio = nesting(fine, coarse, f"region {region}")
        areas = _windows(region, fine, protocol, ratio) if windows else (whole_window(fine),)
        both = sorted(set(entry.times[pair.fine]) & set(entry.times[pair.coarse]))
        if protocol.dates is not None:
            found += _listed(protocol, split, region, areas, both, count)
            continue
        if protocol.conditions and split == "test":
            found += _stressed(protocol, region, areas, both, count)
            continue
        own = [
            Triplet(region, area, references, target)
            for references, target in neighbours(both, count, gap_of(store.meta.step))
            for area in areas
        ]
        found += own if protocol.scheme == "space" else split_by_date(own)[split]
    return tuple(found)


def _listed(
    protocol: Protocol, split: str, region: str, areas: Sequence[Window], both: Sequence[date],
    count: int,
) -> list[Triplet]:  # fmt: skip
    """Return a protocol's own triplets; all of them must be there, or the split is another one."""
    listed = (protocol.dates or {}).get(split, ())
    asked = f"split {split} of protocol {protocol.name}"
    if count != protocol.context:
        raise InputError(
            f"{asked} with {count} reference dates",
            f"it lists triplets with {protocol.context}",
            "Leave --context out",
        )
    absent = sorted({day for days in listed for day in days} - set(both))
    if absent:
        raise InputError(
            asked,
            f"region {region} lacks {', '.join(map(str, absent))}",
            "Import all dates of the set, or take a protocol without a list, as fusion2-time",
        )
    return [
        Triplet(region, area, (days[0], *days[2:]), days[1]) for days in listed for area in areas
    ]


def _stressed(
    protocol: Protocol, region: str, areas: Sequence[Window], both: Sequence[date], count: int
) -> list[Triplet]:
    """Return the triplets of a test region, one per condition and window."""
    if count != protocol.context:
        raise InputError(
            f"protocol {protocol.name} with {count} reference dates",
            f"its conditions are triplets with {protocol.context}",
            "Leave --context out",
        )
    last = max(place for condition in protocol.conditions for place in condition.dates)
    if last >= len(both):
        raise InputError(
            f"the conditions of protocol {protocol.name} in region {region}",
            f"they name {last + 1} dates, and both sensors show {len(both)}",
            "Take a store built for it, as rsbench build-dataset --recipe demo-fusion-stress",
        )
    found = []
    for condition in protocol.conditions:
        first, target, *after = (both[place] for place in condition.dates)
        named = condition.name, condition.cloud
        found += [Triplet(region, area, (first, *after), target, *named) for area in areas]
    return found


def _regions(store: Store, protocol: Protocol, split: str) -> tuple[str, ...]:
    return tuple(store.regions) if protocol.scheme == "time" else tuple(store.split(split))


def _windows(region: str, grid: Grid, protocol: Protocol, ratio: int) -> tuple[Window, ...]:
    for name, value in (("window", protocol.window), ("stride", protocol.stride)):
        if value % ratio:
            raise InputError(
                f"the {name} of protocol {protocol.name}, {value} px",
                f"a coarse pixel spans {ratio} fine pixels",
                f"Take a multiple of {ratio}",
            )
    side = min(grid.height, grid.width) // ratio * ratio
    window = min(protocol.window, side)  # a region may be smaller, as blocks of one scene are
    return windows_of(region, grid, window=window, stride=min(protocol.stride, window))


def _too_few(
    store: Store, protocol: Protocol, pair: SensorPair, split: str, count: int
) -> InputError:
    region = _regions(store, protocol, split)[0]
    times = store.region(region).times
    common = sorted(set(times[pair.fine]) & set(times[pair.coarse]))
    shown = ", ".join(str(day) for day in common) or "none"
    remedy = "Give --context 1" if count == 2 and len(common) == 2 else "Add dates of both sensors"
    asked = f"fusion samples with {count} reference date{'s' if count > 1 else ''} in split {split}"
    if len(common) > count:
        return InputError(
            asked,
            f"of the {len(common) - count} target dates of region {region} none is left for it "
            "without showing another split's truth",
            "Add dates, or take a protocol that splits by place",
        )
    return InputError(
        asked,
        f"{count + 1} dates of both {pair.fine} and {pair.coarse} are needed; "
        f"region {region} has {shown}",
        remedy,
    )
