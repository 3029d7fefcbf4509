"""Which fine scenes and which coarse images may make triplets: one path, and what spans its days.

Of the paths that cover a place in one pass the one with most dates is taken, so that all dates look
from one side. Dates are days of local solar time at the place: east of 150° a scene of ten in the
morning carries the date of the day before. A coarse item is dated by its id alone, since catalogues
state the beginning, the middle or the end of what it was made of.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from rsbench.build.plan.href import reduce_href
from rsbench.build.plan.lock import LockAsset, LockItem
from rsbench.build.plan.outline import covered, spread
from rsbench.build.plan.scenes import conditions_of, holds, in_zone, lock_item, ordered, sensor_grid
from rsbench.build.plan.search import (
    ApiCatalogue,
    FolderCatalogue,
    Item,
    Query,
    item_time,
    outline,
)
from rsbench.build.plan.search_cache import Found
from rsbench.catalog import FusionSpec, Recipe, Region, Sensor
from rsbench.core.errors import InputError

DAY = "day"
"""Name of the layer with the day of the year of every coarse pixel."""
_MORNING = 10.5
"""Hour of local solar time at which Landsat and Terra pass."""
_NAMED = re.compile(r"\.A(\d{4})(\d{3})\.(h\d\dv\d\d)\.")

Catalogue = ApiCatalogue | FolderCatalogue


def search_triplets(
    recipe: Recipe,
    region: Region,
    sensors: Sequence[Sensor],
    key: str,
    catalogues: Mapping[str, Catalogue],
) -> Found:
    """Return the fine scenes of one path, and the coarse items that span their days, by year."""
    spec = recipe.fusion
    assert spec is not None
    by_name = {sensor.name: sensor for sensor in sensors}
    fine, coarse = by_name[spec.fine], by_name[spec.coarse]
    box = outline(sensor_grid(region, fine))
    longitude = middle(box)
    first, last = period_of(recipe, region.name)

    def ask(sensor: Sensor) -> list[Item]:
        conditions = conditions_of(recipe, sensor, key, region.tile)
        spec_ = sensor.provider(key)
        query = Query(spec_.collection, box, (first.year, last.year), conditions)
        return [i for i in catalogues[sensor.name].search(query) if holds(i, conditions)]

    passes: dict[date, list[Item]] = defaultdict(list)
    for item in _one_path(ask(fine), box, region.epsg, longitude):
        day = solar_day(item_time(item), longitude)
        if first <= day <= last and day.month in recipe.months:
            passes[day].append(item)
    provider = fine.provider(key)
    url = catalogues[fine.name].url
    scenes: dict[int, list[LockItem]] = defaultdict(list)
    for day, items in passes.items():
        # A pass may cross midnight of UTC; it is one observation of one day all the same.
        scenes[day.year] += [
            replace(lock_item(item, fine, provider, key, url), datatake=day.isoformat())
            for item in items
        ]
    wanted = {coarse_day(day, longitude) for day in passes}
    images: dict[int, list[LockItem]] = defaultdict(list)
    for item in _newest(ask(coarse), spec, wanted):
        held = _coarse_item(item, coarse, spec, key, catalogues[coarse.name].url)
        images[nominal_day(item["id"]).year].append(held)
    return {
        fine.name: {year: ordered(scenes[year]) for year in sorted(scenes)},
        coarse.name: {
            year: tuple(sorted(images[year], key=lambda i: (i.datetime, i.tile)))
            for year in sorted(images)
        },
    }


def period_of(recipe: Recipe, region: str) -> tuple[date, date]:
    """Return the first and the last day asked for in a region, within the recipe's years."""
    first, last = date(recipe.years[0], 1, 1), date(recipe.years[1], 12, 31)
    if recipe.fusion and region in recipe.fusion.periods:
        begin, end = recipe.fusion.periods[region]
        first, last = max(first, begin), min(last, end)
    if first > last:
        raise InputError(
            f"the period of {region}",
            f"it lies outside the years {recipe.years[0]} to {recipe.years[1]}",
            "Ask for other years, or leave the region out",
        )
    return first, last


def middle(box: Sequence[tuple[float, float]]) -> float:
    """Return the longitude (degrees) in the middle of an outline."""
    return sum(longitude for longitude, _ in box[:4]) / 4


def solar_day(instant: datetime, longitude: float) -> date:
    """Return the day of an instant (UTC) in local solar time."""
    return (instant + timedelta(hours=longitude / 15)).date()


def coarse_day(day: date, longitude: float) -> date:
    """Return the day by which the coarse product counts a morning pass: that of UTC."""
    return day - timedelta(days=1) if longitude / 15 > _MORNING else day


def nominal_day(name: str) -> date:
    """Return the day in the id of a MODIS item, ``….AYYYYDDD.hHHvVV.…``.

    Raises:
        InputError: if the id has none.
    """
    return datetime.strptime("".join(_parts(name)[:2]), "%Y%j").date()


def _parts(name: str) -> tuple[str, ...]:
    found = _NAMED.search(name)
    if found is None:
        raise InputError(
            f"the date of item {name}",
            "its id holds no .AYYYYDDD.hHHvVV.",
            "Correct fusion.product in the recipe, so that only such items are taken",
        )
    return found.groups()


def spanning(items: Sequence[LockItem], day: date, days: int) -> tuple[LockItem, ...]:
    """Return the items of the latest coarse image whose span of ``days`` holds a day.

    Coarse products count anew from every first of January, so that none spans two years.
    """
    begun = {date.fromisoformat(item.datetime[:10]) for item in items}
    fitting = [b for b in begun if b <= day < b + timedelta(days=days) and b.year == day.year]
    if not fitting:
        return ()
    best = max(fitting).isoformat()
    return tuple(item for item in items if item.datetime.startswith(best))


def _one_path(
    items: Sequence[Item], box: Sequence[tuple[float, float]], epsg: int, longitude: float
) -> list[Item]:
    """Keep the path with most days on which its items together cover the place."""
    passes: dict[tuple[str, date], list[Item]] = defaultdict(list)
    for item in items:
        if in_zone(item, epsg):
            path = str(item["properties"].get("landsat:wrs_path", ""))
            passes[path, solar_day(item_time(item), longitude)].append(item)
    points = spread(box)
    whole = {at: held for at, held in passes.items() if covered(points, held)}
    count: dict[str, int] = defaultdict(int)
    for path, _ in whole:
        count[path] += 1
    if not count:
        return []
    best = min(count, key=lambda path: (-count[path], path))
    return [item for (path, _), held in whole.items() if path == best for item in held]


def _newest(items: Iterable[Item], spec: FusionSpec, wanted: set[date]) -> list[Item]:
    """Keep the product asked for on days that are needed, of every tile the newest copy."""
    newest: dict[tuple[date, str], Item] = {}
    for item in items:
        name = str(item["id"])
        if not fnmatch.fnmatchcase(name, spec.product):
            continue
        day, tile = nominal_day(name), _parts(name)[2]
        _require_within(item, day)
        if not any(day <= other < day + timedelta(days=spec.days) for other in wanted):
            continue
        held = newest.get((day, tile))
        if held is None or _made(held) < _made(item):
            newest[day, tile] = item
    return [newest[at] for at in sorted(newest)]


def _made(item: Item) -> tuple[str, str]:
    return str(item["properties"].get("created", "")), str(item["id"])


def _require_within(item: Item, day: date) -> None:
    """Refuse an item whose stated span does not hold the day of its id."""
    properties: Mapping[str, Any] = item["properties"]
    first, last = (str(properties.get(f"{end}_datetime") or "")[:10] for end in ("start", "end"))
    if (first and day.isoformat() < first) or (last and day.isoformat() > last):
        raise InputError(
            f"the date of item {item['id']}",
            f"its id says {day}, its span {first or '?'} to {last or '?'}",
            "Leave the item out of the catalogue",
        )


def _coarse_item(
    item: Item, sensor: Sensor, spec: FusionSpec, key: str, catalogue: str
) -> LockItem:
    held = lock_item(item, sensor, sensor.provider(key), key, catalogue)
    masks = dict(held.masks)
    if spec.day_layer:
        if spec.day_layer not in item["assets"]:
            raise InputError(
                f"item {item['id']}",
                f"it has no asset {spec.day_layer}",
                "Correct fusion.day_layer in the recipe",
            )
        href = str(item["assets"][spec.day_layer]["href"])
        masks[DAY] = LockAsset(reduce_href(href, str(item["_url"]), catalogue), 1)
    return replace(
        held,
        datetime=f"{nominal_day(held.id).isoformat()}T00:00:00Z",
        datatake=f"{nominal_day(held.id):%Y%j}",
        tile=_parts(held.id)[2],
        masks=masks,
    )
