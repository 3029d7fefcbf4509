"""The scenes of a series: all that meet the recipe's conditions, by year."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.scenes import (
    conditions_of,
    in_zone,
    lock_item,
    meeting,
    ordered,
    sensor_grid,
)
from rsbench.build.plan.search import Item, Query, RegionSearch, item_time, outline
from rsbench.build.plan.season import months_of
from rsbench.catalog import Sensor


def search_series(asked: RegionSearch, sensor: Sensor) -> dict[int, tuple[LockItem, ...]]:
    """Return the locked items of a sensor in a region, by year."""
    spec, catalogue = sensor.provider(asked.key), asked.catalogues[sensor.name]
    items = _items(asked, sensor)
    if spec.tile_property and not asked.region.tile:
        items = _one_tile(items, spec.tile_property)
    by_year: dict[int, list[LockItem]] = defaultdict(list)
    for item in items:
        locked = lock_item(item, sensor, spec, asked.key, catalogue.url)
        by_year[item_time(item).year].append(locked)
    return {year: ordered(by_year[year]) for year in sorted(by_year)}


def _items(asked: RegionSearch, sensor: Sensor) -> list[Item]:
    """Return the items that meet the conditions; a server may ignore those it does not know."""
    recipe, region = asked.recipe, asked.region
    conditions = conditions_of(recipe, sensor, asked.key, region.tile)
    box, months = outline(sensor_grid(region, sensor)), months_of(recipe, region)
    query = Query(sensor.provider(asked.key).collection, box, recipe.years, conditions)
    found = [
        item
        for item in asked.catalogues[sensor.name].search(query)
        if item_time(item).month in months
        and recipe.years[0] <= item_time(item).year <= recipe.years[1]
        and (recipe.lattice is None or in_zone(item, region.epsg))
    ]
    return meeting(found, conditions, f"{sensor.name} in {region.name}")


def _one_tile(items: Sequence[Item], name: str) -> list[Item]:
    """Keep the tile with most items (first by name among equals): tiles repeat the same ground."""
    counts = Counter(str(item["properties"].get(name)) for item in items)
    if not counts:
        return []
    best = min(counts, key=lambda tile: (-counts[tile], tile))
    return [item for item in items if str(item["properties"].get(name)) == best]
