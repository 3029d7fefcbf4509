"""A region of triplets: the days of all years that stand in a triplet, and their change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from rsbench.build.compose.agreement import change, means_of
from rsbench.build.kinds.base import Assembled, BuildContext, Refused, Units
from rsbench.build.kinds.triplets.days import PLANES, WIDER, Two, spaced, two_of
from rsbench.build.kinds.triplets.recipe import fusion_of
from rsbench.core.date_triplets import Gap, neighbours
from rsbench.store.layout import SensorArrays


def assemble_region(context: BuildContext, region: str, units: Units) -> Assembled | Refused:
    """Return a region with the days that make a triplet, or why it has none."""
    two, gap = two_of(context, region), Gap(*fusion_of(context.recipe).gap)
    held = {year: note for year in context.lock.years if (note := _note(units, year))}
    notes = {note["day"]: (year, note) for year, said in held.items() for note in said["days"]}
    days, refused = _chosen(held, gap, two.spec.dates)
    if not days:
        return Refused(
            refused or {"all": "no pass of one path shows the whole place"},
            "no region has a triplet",
            "Loosen fusion in the recipe, or choose other regions or years",
        )
    years = {day: notes[day.isoformat()][0] for day in days}
    sensors = _stacked(two, units, years)
    fine, coarse = sensors[two.fine.name], sensors[two.coarse.name]
    provenance = {
        "days": [notes[day.isoformat()][1] for day in days],
        "triplets": _triplets(days, gap, fine, coarse, two.spec.ratio),
        "refused": refused,
    }
    return Assembled(days, sensors, provenance)


def _note(units: Units, year: int) -> Mapping[str, Any]:
    unit = units.load(year)
    return {} if unit is None else unit.note


def _chosen(
    held: Mapping[int, Mapping[str, Any]], gap: Gap, most: int
) -> tuple[tuple[date, ...], dict[str, str]]:
    """Return the days of all years that make a triplet, and why the others do not, by date."""
    refused = {day: why for said in held.values() for day, why in said["refused"].items()}
    accepted = [date.fromisoformat(n["day"]) for said in held.values() for n in said["days"]]
    days, why = chosen_days(accepted, gap, most)
    refused |= {day.isoformat(): reason for day, reason in why.items()}
    return days, dict(sorted(refused.items()))


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


def _stacked(two: Two, units: Units, years: Mapping[date, int]) -> dict[str, SensorArrays]:
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
        unit = units.load(year)
        arrays = {} if unit is None else unit.arrays
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
    """Return the triplets of a region with their change, computed from what models are given.

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
