"""The search of triplets: fine scenes of one path, and the coarse images that span their days.

Of the paths that cover a region in one pass, the one with most dates is taken, so that all dates
have one viewing geometry. Dates are days of local solar time in the region: east of 150° a scene
of ten in the morning has the UTC date of the day before. A coarse item is dated by its id alone,
since catalogues state the beginning, the middle or the end of its span.
"""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from rsbench.build.kinds.triplets.recipe import FusionSpec, fusion_of
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.outline import covered, spread, unwrapped
from rsbench.build.plan.scenes import (
    Outline,
    ids_of,
    in_own_zone,
    items_of,
    lock_asset,
    lock_item,
    locked_items,
    ordered,
    sensor_grid,
)
from rsbench.build.plan.search import Item, RegionSearch, item_time, outline
from rsbench.build.plan.search_cache import Found
from rsbench.catalog import Recipe, Sensor
from rsbench.core.errors import InputError

DAY = "day"
"""Name of the layer with the day of the year of every coarse pixel."""
_MORNING = 10.5
"""Hour of local solar time at which Landsat and Terra pass."""
_NAMED = re.compile(r"\.A(\d{4})(\d{3})\.(h\d\dv\d\d)\.")

Passes = dict[tuple[str, date], list[Item]]
"""Path and local day → items."""


def search_triplets(asked: RegionSearch) -> Found:
    """Return the fine scenes of one path, and the coarse items that span their days, by year."""
    spec = fusion_of(asked.recipe)
    fine, coarse = asked.sensor(spec.fine), asked.sensor(spec.coarse)
    box = outline(sensor_grid(asked.region, fine))
    longitude = middle(box)
    passes = _passes(asked, fine, box, longitude)
    wanted = {coarse_day(day, longitude) for day in passes}
    images = _coarse_images(asked, coarse, box, wanted)
    for day, scenes in passes.items():
        counted = coarse_day(day, longitude)
        if not spanning(images.get(counted.year, ()), counted, spec.days):
            reason = f"no {coarse.name} image spans its day"
            asked.omitted.add(fine.name, reason, [scene.id for scene in scenes])
    by_year: dict[int, list[LockItem]] = defaultdict(list)
    for day, scenes in passes.items():
        by_year[day.year] += [replace(scene, datatake=day.isoformat()) for scene in scenes]
    scenes_of = {year: ordered(by_year[year]) for year in sorted(by_year)}
    return {fine.name: scenes_of, coarse.name: images}


def _passes(
    asked: RegionSearch, fine: Sensor, box: Outline, longitude: float
) -> dict[date, list[LockItem]]:
    """Return the scenes of one path by day; a pass over midnight of UTC is one observation."""
    first, last = period_of(asked.recipe, asked.region.name)
    near = items_of(asked, fine, (first.year, last.year), box=box)
    by_pass: Passes = defaultdict(list)
    for item in in_own_zone(asked, fine, near, stated=True):
        path = str(item["properties"].get("landsat:wrs_path", ""))
        by_pass[path, solar_day(item_time(item), longitude)].append(item)
    best = _best_path(by_pass, box)
    passes = {}
    for (path, day), items in by_pass.items():
        if not (first <= day <= last and day.month in asked.recipe.months):
            continue
        if not covered(spread(box), items):
            asked.omitted.add(fine.name, "its pass covers a part of the region only", ids_of(items))
        elif path != best:
            asked.omitted.add(fine.name, f"path {best} has more days", ids_of(items))
        else:
            passes[day] = [held for _, held in locked_items(asked, fine, items)]
    return {day: scenes for day, scenes in passes.items() if scenes}


def _best_path(by_pass: Passes, box: Outline) -> str:
    """Return the path with most days on which its items together cover the region."""
    points = spread(box)
    count = Counter(path for (path, _), items in by_pass.items() if covered(points, items))
    return min(count, key=lambda path: (-count[path], path), default="")


def _coarse_images(
    asked: RegionSearch, coarse: Sensor, box: Outline, wanted: set[date]
) -> dict[int, tuple[LockItem, ...]]:
    """Return the locked coarse items that span the wanted days, by year."""
    spec, images = fusion_of(asked.recipe), defaultdict[int, list[LockItem]](list)
    first, last = period_of(asked.recipe, asked.region.name)
    items = items_of(asked, coarse, (first.year, last.year), box=box)
    newest = _newest(asked, coarse, items, wanted)
    make = partial(_coarse_item, asked, coarse, spec)
    for _, held in locked_items(asked, coarse, newest, make):
        images[nominal_day(held.id).year].append(held)
    return {
        year: tuple(sorted(images[year], key=lambda i: (i.datetime, i.tile)))
        for year in sorted(images)
    }


def period_of(recipe: Recipe, region: str) -> tuple[date, date]:
    """Return the first and the last day asked for in a region, within the recipe's years."""
    first, last = date(recipe.years[0], 1, 1), date(recipe.years[1], 12, 31)
    begin, end = fusion_of(recipe).periods.get(region, (first, last))
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
    mean = sum(longitude for longitude, _ in unwrapped(box)[:4]) / 4
    return mean - 360 if mean > 180 else mean


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


def _newest(
    asked: RegionSearch, coarse: Sensor, items: Iterable[Item], wanted: set[date]
) -> list[Item]:
    """Keep the product asked for on days that are needed, of every tile the newest copy."""
    spec, newest = fusion_of(asked.recipe), dict[tuple[date, str], Item]()
    for item in items:
        name = str(item["id"])
        if not fnmatch.fnmatchcase(name, spec.product):
            continue
        day, tile = nominal_day(name), _parts(name)[2]
        if not any(day <= other < day + timedelta(days=spec.days) for other in wanted):
            continue
        held = newest.get((day, tile))
        if held is not None:
            item, held = max((item, held), key=_made), min((item, held), key=_made)
            asked.omitted.add(coarse.name, "a newer copy is used", [str(held["id"])])
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


def _coarse_item(asked: RegionSearch, sensor: Sensor, spec: FusionSpec, item: Item) -> LockItem:
    catalogue = asked.catalogues[sensor.name].url
    held = lock_item(item, sensor, sensor.provider(asked.key), asked.key, catalogue)
    masks, day = dict(held.masks), nominal_day(held.id)
    _require_within(item, day)
    if spec.day_layer:
        if spec.day_layer not in item["assets"]:
            raise InputError(
                f"item {item['id']}",
                f"it has no asset {spec.day_layer}",
                "Correct fusion.day_layer in the recipe",
            )
        masks[DAY] = lock_asset(item, spec.day_layer, catalogue)
    return replace(
        held,
        datetime=f"{day.isoformat()}T00:00:00Z",
        datatake=f"{day:%Y%j}",
        tile=_parts(held.id)[2],
        masks=masks,
    )
