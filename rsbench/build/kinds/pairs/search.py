"""The search of pairs: the photographs of one day, and the satellite scenes nearest to it.

In every year the latest day is taken whose photographs cover the whole region. The scenes around it
are ordered by days apart and cloud cover, and the first few are locked; the quality layers tell
later which of them is clear.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

from rsbench.build.kinds.labels_recipe import labels_found
from rsbench.build.kinds.pairs.recipe import PairsSpec, pairs_recipe
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.outline import covered, spread
from rsbench.build.plan.scenes import in_own_zone, items_of, locked_items, sensor_grid
from rsbench.build.plan.search import Item, RegionSearch, item_time, outline
from rsbench.build.plan.search_cache import Found
from rsbench.catalog import Sensor

TIERS = {"strict": 1, "close": 3, "relaxed": 15, "season": 30}
"""Days that a tier allows between the two images."""


def tier_of(fine: date, coarse: date, loosest: str) -> str | None:
    """Return the tightest tier of two days; None if they are too far apart for ``loosest``.

    The tier ``season`` also asks for one season (of three months, from December on).
    """
    apart = abs((coarse - fine).days)
    for name, days in TIERS.items():
        if apart <= days and (name != "season" or _season(fine) == _season(coarse)):
            return name
        if name == loosest:
            return None
    return None


def _season(day: date) -> int:
    return day.month % 12 // 3


def search_pairs(asked: RegionSearch) -> Found:
    """Return the photographs of one day per year, and the scenes to pair them with, in order."""
    recipe = pairs_recipe(asked.recipe)
    fine, coarse = asked.sensor(recipe.pairs.fine), asked.sensor(recipe.pairs.coarse)
    found: dict[str, dict[int, tuple[LockItem, ...]]] = {fine.name: {}, coarse.name: {}}
    for year, (day, photos) in _days(asked, fine).items():
        scenes = _scenes(asked, coarse, day, recipe.pairs)
        if not scenes:
            reason = f"no scene of {coarse.name} is near its day (tier {recipe.pairs.tier})"
            asked.omitted.add(fine.name, reason, [item.id for item in photos])
            continue
        found[fine.name][year] = photos
        found[coarse.name][year] = scenes
    return {**found, **labels_found(asked, coarse, found[coarse.name], "a pair")}


def _days(asked: RegionSearch, sensor: Sensor) -> dict[int, tuple[date, tuple[LockItem, ...]]]:
    """Return year → the latest day whose photographs cover the region, and these photographs."""
    by_day: dict[date, list[tuple[Item, LockItem]]] = defaultdict(list)
    for item, held in locked_items(asked, sensor, items_of(asked, sensor, asked.recipe.years)):
        by_day[item_time(item).date()].append((item, held))
    points = spread(outline(sensor_grid(asked.region, sensor)))
    chosen: dict[int, tuple[date, tuple[LockItem, ...]]] = {}
    for day in sorted(by_day):
        photos = tuple(sorted((held for _, held in by_day[day]), key=lambda held: held.id))
        if not covered(points, [item for item, _ in by_day[day]]):
            reason = "the photographs of its day do not cover the region"
            asked.omitted.add(sensor.name, reason, [photo.id for photo in photos])
            continue
        if day.year in chosen:
            reason = "the photographs of a later day of the year are used"
            asked.omitted.add(sensor.name, reason, [photo.id for photo in chosen[day.year][1]])
        chosen[day.year] = (day, photos)
    return chosen


def _scenes(
    asked: RegionSearch, sensor: Sensor, day: date, spec: PairsSpec
) -> tuple[LockItem, ...]:
    """Return the items of the nearest datatakes, newest copy of a datatake first."""
    cloud = sensor.provider(asked.key).cloud_property or "eo:cloud_cover"
    near = [
        item
        for item in items_of(asked, sensor, (day.year, day.year))
        if tier_of(day, item_time(item).date(), spec.tier) is not None
    ]
    takes: dict[str, list[tuple[LockItem, float]]] = defaultdict(list)
    for item, held in locked_items(asked, sensor, in_own_zone(asked, sensor, near, stated=False)):
        takes[held.datatake].append((held, float(item["properties"].get(cloud) or 0.0)))

    def order(take: str) -> tuple[int, float, str]:
        first = min(item.datetime for item, _ in takes[take])
        apart = abs((date.fromisoformat(first[:10]) - day).days)
        return apart, min(share for _, share in takes[take]), take

    ranked = sorted(takes, key=order)
    beyond = [item.id for take in ranked[spec.candidates :] for item, _ in takes[take]]
    asked.omitted.add(sensor.name, f"{spec.candidates} scenes are nearer to the day", beyond)
    return tuple(
        item
        for take in ranked[: spec.candidates]
        for item, _ in sorted(
            takes[take], key=lambda i: (i[0].baseline, i[0].generated, i[0].id), reverse=True
        )
    )
