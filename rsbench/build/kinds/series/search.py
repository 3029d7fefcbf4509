"""The scenes of a series: all that meet the recipe's conditions, by year."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.scenes import ids_of, in_own_zone, items_of, locked_items, ordered
from rsbench.build.plan.search import Item, RegionSearch, item_time
from rsbench.build.plan.season import months_of
from rsbench.catalog import Sensor


def search_series(asked: RegionSearch, sensor: Sensor) -> dict[int, tuple[LockItem, ...]]:
    """Return the locked items of a sensor in a region, by year."""
    months = months_of(asked.recipe, asked.region)
    items = items_of(asked, sensor, asked.recipe.years, months)
    items = in_own_zone(asked, sensor, items, stated=asked.recipe.lattice is not None)
    items = _one_tile(asked, sensor, items)
    by_year: dict[int, list[LockItem]] = defaultdict(list)
    for item, locked in locked_items(asked, sensor, items):
        by_year[item_time(item).year].append(locked)
    return {year: ordered(by_year[year]) for year in sorted(by_year)}


def _one_tile(asked: RegionSearch, sensor: Sensor, items: Sequence[Item]) -> list[Item]:
    """Keep the tile with most items (first by name among equals): tiles repeat the same ground."""
    name = sensor.provider(asked.key).tile_property
    if not name or asked.region.tile or not items:
        return list(items)
    counts = Counter(str(item["properties"].get(name)) for item in items)
    best = min(counts, key=lambda tile: (-counts[tile], tile))
    for tile in sorted(set(counts) - {best}):
        others = ids_of(item for item in items if str(item["properties"].get(name)) == tile)
        asked.omitted.add(sensor.name, f"the item is of tile {tile}, {best} has most items", others)
    return [item for item in items if str(item["properties"].get(name)) == best]
