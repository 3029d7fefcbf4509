"""Which photograph and which satellite image make a pair: one photograph's day, the nearest scenes.

Of every year the day is taken whose photographs cover the whole place (the latest, if several do);
two days never share a chip. Around it the scenes are ordered by tier, days apart and cloud, and the
first few are locked: which of them is clear is known when their quality layers are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

from rsbench.build.kinds.labels_plan import search_labels
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.outline import covered, spread
from rsbench.build.plan.scenes import conditions_of, holds, lock_item, sensor_grid
from rsbench.build.plan.search import (
    ApiCatalogue,
    FolderCatalogue,
    Item,
    Query,
    item_time,
    outline,
)
from rsbench.build.plan.search_cache import Found
from rsbench.catalog import PairsSpec, Recipe, Region, Sensor
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


def search_pairs(
    recipe: Recipe,
    region: Region,
    sensors: Sequence[Sensor],
    key: str,
    catalogues: Mapping[str, ApiCatalogue | FolderCatalogue],
) -> Found:
    """Return the photographs of one day per year, and the scenes to pair them with, in order."""
    spec = recipe.pairs
    assert spec is not None
    by_name = {sensor.name: sensor for sensor in sensors}
    fine, coarse = by_name[spec.fine], by_name[spec.coarse]
    found: dict[str, dict[int, tuple[LockItem, ...]]] = {fine.name: {}, coarse.name: {}}
    for year, (day, photos) in _days(recipe, region, fine, key, catalogues[fine.name]).items():
        scenes = _scenes(recipe, region, coarse, key, catalogues[coarse.name], day, spec)
        if not scenes:
            continue
        url = catalogues[fine.name].url
        found[fine.name][year] = tuple(
            lock_item(item, fine, fine.provider(key), key, url) for item in photos
        )
        found[coarse.name][year] = scenes
    if recipe.labels is not None:
        labels, grid = load_labels(recipe.labels), sensor_grid(region, coarse)
        years = found[coarse.name]
        found[labels.name] = search_labels(labels, grid, years, key, catalogues[coarse.name])
    return found


def query_items(
    recipe: Recipe,
    region: Region,
    sensor: Sensor,
    key: str,
    catalogue: ApiCatalogue | FolderCatalogue,
    years: tuple[int, int],
) -> list[Item]:
    """Return the items of a sensor over a region that meet its conditions, of some years."""
    conditions = conditions_of(recipe, sensor, key, region.tile)
    box = outline(sensor_grid(region, sensor))
    query = Query(sensor.provider(key).collection, box, years, conditions)
    return [
        item
        for item in catalogue.search(query)
        if years[0] <= item_time(item).year <= years[1] and holds(item, conditions)
    ]


def _days(
    recipe: Recipe,
    region: Region,
    sensor: Sensor,
    key: str,
    catalogue: ApiCatalogue | FolderCatalogue,
) -> dict[int, tuple[date, list[Item]]]:
    by_day: dict[date, list[Item]] = defaultdict(list)
    for item in query_items(recipe, region, sensor, key, catalogue, recipe.years):
        by_day[item_time(item).date()].append(item)
    points = spread(outline(sensor_grid(region, sensor)))
    chosen = {}
    for day in sorted(by_day):
        items = sorted(by_day[day], key=lambda item: str(item["id"]))
        if covered(points, items):
            chosen[day.year] = (day, items)
    return chosen


def _scenes(
    recipe: Recipe,
    region: Region,
    sensor: Sensor,
    key: str,
    catalogue: ApiCatalogue | FolderCatalogue,
    day: date,
    spec: PairsSpec,
) -> tuple[LockItem, ...]:
    """Return the items of the nearest datatakes, newest copy of a datatake first."""
    provider = sensor.provider(key)
    cloud = provider.cloud_property or "eo:cloud_cover"
    takes: dict[str, list[tuple[LockItem, float]]] = defaultdict(list)
    for item in query_items(recipe, region, sensor, key, catalogue, (day.year, day.year)):
        if tier_of(day, item_time(item).date(), spec.tier) is not None:
            held = lock_item(item, sensor, provider, key, catalogue.url)
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
