"""The search of pairs: the photographs of one day, and the satellite scenes nearest to it.

In every year the latest day is taken whose photographs cover the whole region. The scenes around it
are ordered by days apart and cloud cover, and the first few are locked; the quality layers tell
later which of them is clear.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

from rsbench.build.kinds.labels_plan import search_labels
from rsbench.build.kinds.pairs.recipe import PairsSpec, pairs_recipe
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.outline import covered, spread
from rsbench.build.plan.scenes import conditions_of, lock_item, meeting, sensor_grid
from rsbench.build.plan.search import Item, Query, RegionSearch, item_time, outline
from rsbench.build.plan.search_cache import Found
from rsbench.catalog import Sensor
from rsbench.catalog.loaders import load_labels

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
    recipe, key = pairs_recipe(asked.recipe), asked.key
    fine, coarse = asked.sensor(recipe.pairs.fine), asked.sensor(recipe.pairs.coarse)
    found: dict[str, dict[int, tuple[LockItem, ...]]] = {fine.name: {}, coarse.name: {}}
    for year, (day, photos) in _days(asked, fine).items():
        scenes = _scenes(asked, coarse, day, recipe.pairs)
        if not scenes:
            continue
        url = asked.catalogues[fine.name].url
        found[fine.name][year] = tuple(
            lock_item(item, fine, fine.provider(key), key, url) for item in photos
        )
        found[coarse.name][year] = scenes
    if recipe.labels is not None:
        labels, grid = load_labels(recipe.labels), sensor_grid(asked.region, coarse)
        catalogue = asked.catalogues[coarse.name]
        found[labels.name] = search_labels(labels, grid, found[coarse.name], key, catalogue)
    return found


def query_items(asked: RegionSearch, sensor: Sensor, years: tuple[int, int]) -> list[Item]:
    """Return the items of a sensor over a region that meet its conditions, of some years."""
    conditions = conditions_of(asked.recipe, sensor, asked.key, asked.region.tile)
    box = outline(sensor_grid(asked.region, sensor))
    query = Query(sensor.provider(asked.key).collection, box, years, conditions)
    found = asked.catalogues[sensor.name].search(query)
    dated = [item for item in found if years[0] <= item_time(item).year <= years[1]]
    return meeting(dated, conditions, f"{sensor.name} in {asked.region.name}")


def _days(asked: RegionSearch, sensor: Sensor) -> dict[int, tuple[date, list[Item]]]:
    """Return year → the latest day whose photographs cover the region, and these photographs."""
    by_day: dict[date, list[Item]] = defaultdict(list)
    for item in query_items(asked, sensor, asked.recipe.years):
        by_day[item_time(item).date()].append(item)
    points = spread(outline(sensor_grid(asked.region, sensor)))
    chosen = {}
    for day in sorted(by_day):
        items = sorted(by_day[day], key=lambda item: str(item["id"]))
        if covered(points, items):
            chosen[day.year] = (day, items)
    return chosen


def _scenes(
    asked: RegionSearch, sensor: Sensor, day: date, spec: PairsSpec
) -> tuple[LockItem, ...]:
    """Return the items of the nearest datatakes, newest copy of a datatake first."""
    provider, url = sensor.provider(asked.key), asked.catalogues[sensor.name].url
    cloud = provider.cloud_property or "eo:cloud_cover"
    takes: dict[str, list[tuple[LockItem, float]]] = defaultdict(list)
    for item in query_items(asked, sensor, (day.year, day.year)):
        if tier_of(day, item_time(item).date(), spec.tier) is not None:
            held = lock_item(item, sensor, provider, asked.key, url)
            takes[held.datatake].append((held, float(item["properties"].get(cloud) or 0.0)))

    def order(take: str) -> tuple[int, float, str]:
        first = min(item.datetime for item, _ in takes[take])
        apart = abs((date.fromisoformat(first[:10]) - day).days)
        return apart, min(share for _, share in takes[take]), take

    nearest = sorted(takes, key=order)[: spec.candidates]
    return tuple(
        item
        for take in nearest
        for item, _ in sorted(
            takes[take], key=lambda i: (i[0].baseline, i[0].generated, i[0].id), reverse=True
        )
    )
