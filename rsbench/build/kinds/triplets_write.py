"""A place of triplets written from its days, and the index at the end.

A place is written with the days that make a triplet; one without any is written nowhere, and the
index keeps why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from rsbench.build.compose.agreement import change, means_of
from rsbench.build.engine.journal import full_disk_is_named
from rsbench.build.engine.region import Steps, Work, finished_unit, has_failed, store_meta
from rsbench.build.kinds.triplets import (
    COMPOSITOR,
    PLANES,
    WIDER,
    Two,
    metas,
    spaced,
    two_of,
    unit,
)
from rsbench.core.date_triplets import Gap, neighbours
from rsbench.core.errors import InputError
from rsbench.store.layout import MANIFEST, ROOT_KEY, RegionRecord, SensorArrays, load_json
from rsbench.store.write import finalise, write_region


def write(work: Work, region: str) -> None:
    """Write a place with the days that make a triplet."""
    two, place = two_of(work, region), work.lock.places[region]
    held = _held(work, region)
    notes = {note["day"]: (year, note) for year, said in held.items() for note in said["days"]}
    refused = {day: why for said in held.values() for day, why in said["refused"].items()}
    gap = Gap(*two.spec.gap)
    days, why = chosen_days([date.fromisoformat(day) for day in notes], gap, two.spec.dates)
    refused |= {day.isoformat(): reason for day, reason in why.items()}
    if not days:
        return
    if has_failed(work, region):
        work.journal.mark_incomplete(region)
    sensors = _stacked(work, two, region, {day: notes[day.isoformat()][0] for day in days})
    strata = {key: value for key, value in place.strata().items() if value}
    coarse = sensors[two.coarse.name]
    with full_disk_is_named(work.out):
        write_region(
            work.out,
            RegionRecord(region, place.split, strata, days),
            sensors,
            metas(work),
            codec=work.codec,
            attrs={
                "lock": work.lock.digest,
                "days": [notes[day.isoformat()][1] for day in days],
                "triplets": _triplets(days, gap, sensors[two.fine.name], coarse, two.spec.ratio),
                "refused": dict(sorted(refused.items())),
            },
        )
    if not has_failed(work, region):
        work.journal.drop(region)


def _held(work: Work, region: str) -> dict[int, dict[str, Any]]:
    """Return the notes of the finished years; one that is absent or damaged is made again."""
    held = {}
    for year in work.lock.years:
        found = finished_unit(work, region, year, unit)
        if found is not None and found[1]:
            held[year] = found[1]
    return held


def chosen_days(
    accepted: Sequence[date], gap: Gap, most: int = 10_000
) -> tuple[tuple[date, ...], dict[date, str]]:
    """Return the days that stand in a triplet, ascending, and why the others do not.

    From the first on, a day nearer than the gap to the one kept before is left out; then those
    that stand in no triplet. If more than ``most`` remain, all is done again with a wider gap, 8
    days at a time.
    """
    for fewest in range(gap.fewest, gap.most + 1, WIDER):
        found, refused = _thinned(sorted(accepted), Gap(fewest, gap.most))
        if len(found) <= most:
            break
    return found, refused


def _thinned(days: Sequence[date], gap: Gap) -> tuple[tuple[date, ...], dict[date, str]]:
    kept, refused = spaced(days, gap.fewest)
    used = {day for refs, target in neighbours(kept, 2, gap) for day in (*refs, target)}
    for day in kept:
        if day not in used:
            refused[day] = f"it makes no triplet with neighbours within {gap.most} days"
    return tuple(day for day in kept if day in used), refused


def _stacked(
    work: Work, two: Two, region: str, years: Mapping[date, int]
) -> dict[str, SensorArrays]:
    """Return the arrays of both sensors, filled year by year so that one year is held twice."""
    days, size = tuple(years), (two.fine_grid.height, two.fine_grid.width)
    small = (two.coarse_grid.height, two.coarse_grid.width)
    count, bands = len(days), len(two.fine.bands)
    out = {
        "fine": np.empty((count, bands, *size), two.fine.dtype),
        "fine_valid": np.empty((count, *size), np.bool_),
        "coarse": np.empty((count, bands, *small), two.coarse.dtype),
        "coarse_valid": np.empty((count, *small), np.bool_),
    }
    for year in sorted(set(years.values())):
        arrays, _ = work.journal.load(region, year) or ({}, {})
        for t, day in enumerate(days):
            if years[day] == year:
                for name in PLANES:
                    out[name][t] = arrays[f"{name}-{day.isoformat()}"]
                out["fine"][t][:, ~out["fine_valid"][t]] = two.fine.nodata
    return {
        sensor.name: SensorArrays(
            out[name], out[f"{name}_valid"], out[f"{name}_valid"].astype(np.uint16), days, grid
        )
        for name, sensor, grid in (
            ("fine", two.fine, two.fine_grid),
            ("coarse", two.coarse, two.coarse_grid),
        )
    }


def _triplets(
    days: Sequence[date], gap: Gap, fine: SensorArrays, coarse: SensorArrays, ratio: int
) -> list[dict[str, Any]]:
    """Return the triplets of a place with their change, seen in what models are given.

    ``coarse``: from the first date to the target, and from the target to the last date;
    ``references``: between the fine images of both references. No truth enters.
    """
    index = {day: t for t, day in enumerate(days)}
    found = []
    for (first, last), target in neighbours(days, 2, gap):
        a, b, c = index[first], index[target], index[last]
        one, there = means_of(fine.values[a], fine.valid[a], ratio)
        other, too = means_of(fine.values[c], fine.valid[c], ratio)

        def coarse_change(t: int, u: int) -> float | None:
            both = coarse.valid[t] & coarse.valid[u]
            return change(coarse.values[t], coarse.values[u], both)

        found.append(
            {
                "dates": [first.isoformat(), target.isoformat(), last.isoformat()],
                "gaps": [(target - first).days, (last - target).days],
                "change": {
                    "coarse": [coarse_change(a, b), coarse_change(b, c)],
                    "references": change(one, other, there & too),
                },
            }
        )
    return found


def finish(work: Work) -> str:
    """Write the index over the places that have a triplet; the recipe keeps what was refused."""
    spec = work.recipe.fusion
    assert spec is not None
    gap = Gap(*spec.gap)
    written: list[str] = []
    refused: dict[str, dict[str, str]] = {}
    for region in sorted(work.lock.regions):
        if (work.out / region / MANIFEST).is_file():
            written.append(region)
            attributes = load_json(work.out / region / "zarr.json")["attributes"]
            refused[region] = dict(attributes[ROOT_KEY]["provenance"]["refused"])
            continue
        held = _held(work, region)
        why = {day: reason for said in held.values() for day, reason in said["refused"].items()}
        accepted = [date.fromisoformat(n["day"]) for said in held.values() for n in said["days"]]
        why |= {day.isoformat(): r for day, r in chosen_days(accepted, gap, spec.dates)[1].items()}
        refused[region] = why or {"all": "no pass of one path shows the whole place"}
    refused = {region: dict(sorted(why.items())) for region, why in refused.items() if why}
    if not written:
        region, why = next(iter(refused.items()))
        last = max(why)
        raise InputError(
            f"building {work.recipe.name}",
            f"no place has a triplet; {region} {last}: {why[last]}",
            "Loosen fusion in the recipe, or choose other places or years",
        )
    meta = replace(
        store_meta(work, COMPOSITOR, refused=refused), sensors=metas(work), step=gap.step
    )
    with full_disk_is_named(work.out):
        return finalise(work.out, meta, regions=written)


STEPS = Steps(unit, write, finish)
