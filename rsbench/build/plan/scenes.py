"""Scenes of one sensor in one region: search conditions, order, entries of the lock."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from rsbench.build.compose import harmonise
from rsbench.build.plan.assets import limit_of, mask_limit, require_format, require_pixel_size
from rsbench.build.plan.checksum import comparable
from rsbench.build.plan.href import reduce_href
from rsbench.build.plan.lock import LockAsset, LockItem
from rsbench.build.plan.search import (
    Item,
    Query,
    RegionSearch,
    item_time,
    outline,
    without_left,
)
from rsbench.catalog import ProviderSpec, Recipe, Region, Sensor
from rsbench.core.errors import InputError, UnknownName, unknown
from rsbench.core.grid import Grid

MONTHS = range(1, 13)
Outline = tuple[tuple[float, float], ...]
"""Corners of a region: longitude and latitude in degrees."""


def sensor_grid(region: Region, sensor: Sensor) -> Grid:
    """Return the grid of a sensor's pixels in a region: same corner, the sensor's pixel size.

    Raises:
        InputError: if the region is no whole number of the sensor's pixels.
    """
    extent = region.size * region.gsd
    size = round(extent / sensor.gsd)
    if size < 1 or abs(size * sensor.gsd - extent) > 1e-6 * extent:
        raise InputError(
            f"sensor {sensor.name} in region {region.name}",
            f"{extent:g} m is no whole number of {sensor.gsd:g} m pixels",
            "Choose a region size that both pixel sizes divide",
        )
    x, y = region.origin
    transform = (sensor.gsd, 0.0, float(x), 0.0, -sensor.gsd, float(y))
    return Grid(f"EPSG:{region.epsg}", transform, size, size)


def conditions_of(recipe: Recipe, sensor: Sensor, key: str, tile: str) -> dict[str, Any]:
    """Return the conditions of the search of a sensor in one tile."""
    spec = sensor.provider(key)
    conditions: dict[str, Any] = {**spec.query, **recipe.query.get(sensor.name, {})}
    if spec.tile_property and tile:
        conditions[spec.tile_property] = {"eq": spec.tile_value(tile)}
    if spec.cloud_property and recipe.max_cloud < 100:
        conditions[spec.cloud_property] = {"lt": recipe.max_cloud}
    return conditions


def items_of(
    asked: RegionSearch,
    sensor: Sensor,
    years: tuple[int, int],
    months: Container[int] = MONTHS,
    box: Outline | None = None,
) -> list[Item]:
    """Return the items of a sensor over a region that meet its conditions, of some years.

    What is excluded, or lacks a property that a condition needs, is counted as left out. Cloud
    cover is compared here and not by the server, which would drop items that state none.
    ``box``: outline of the region, by default that of the sensor's grid.
    """
    spec, region = sensor.provider(asked.key), asked.region
    conditions = conditions_of(asked.recipe, sensor, asked.key, region.tile)
    served = {name: held for name, held in conditions.items() if name != spec.cloud_property}
    box = box or outline(sensor_grid(region, sensor))
    query = Query(spec.collection, box, years, served)
    items = asked.catalogues[sensor.name].search(query)
    found = [
        item
        for item in without_left(items, sensor.name, asked.omitted)
        if years[0] <= item_time(item).year <= years[1] and item_time(item).month in months
    ]
    return meeting(found, conditions, asked, sensor)


def in_own_zone(
    asked: RegionSearch, sensor: Sensor, items: Iterable[Item], *, stated: bool
) -> list[Item]:
    """Return the items in the region's own zone: neighbours repeat the ground on another grid.

    ``stated``: the item must state it; otherwise items that state no zone are taken too.
    """
    own, kept = str(asked.region.epsg), []
    for item in items:
        zone = zone_of(item)
        if zone == own or not (zone or stated):
            kept.append(item)
        else:
            found = f"EPSG:{zone}" if zone else "no zone"
            reason = f"the item states {found}, the region lies in EPSG:{own}"
            asked.omitted.add(sensor.name, reason, [str(item["id"])])
    return kept


def ids_of(items: Iterable[Item]) -> list[str]:
    """Return the ids of items."""
    return [str(item["id"]) for item in items]


def zone_of(item: Item) -> str:
    """Return the EPSG code that an item states, without ``EPSG:``; empty if it states none."""
    properties = item.get("properties", {})
    code = str(properties.get("proj:code") or properties.get("proj:epsg") or "")
    return code.removeprefix("EPSG:")


def holds(item: Item, conditions: Mapping[str, Any]) -> bool:
    """Return whether an item meets the conditions; a server may ignore those it does not know.

    Raises:
        InputError: if a condition has an operator that is not known here.
    """
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda value, wanted: value == wanted,
        "neq": lambda value, wanted: value != wanted,
        "lt": lambda value, wanted: value is not None and value < wanted,
        "lte": lambda value, wanted: value is not None and value <= wanted,
        "gt": lambda value, wanted: value is not None and value > wanted,
        "gte": lambda value, wanted: value is not None and value >= wanted,
        "in": lambda value, wanted: value in wanted,
    }
    for field, condition in conditions.items():
        for name in condition:
            if name not in tests:
                raise unknown(f"operator of the search condition on {field}", name, tests)
    properties = item.get("properties", {})
    return all(
        tests[name](properties.get(field), wanted)
        for field, condition in conditions.items()
        for name, wanted in condition.items()
    )


def meeting(
    items: Sequence[Item], conditions: Mapping[str, Any], asked: RegionSearch, sensor: Sensor
) -> list[Item]:
    """Return the items that meet the conditions; count and log those that lack a property."""
    kept = [item for item in items if holds(item, conditions)]
    absent: dict[str, list[str]] = defaultdict(list)
    for item in items:
        for name, condition in conditions.items():
            stated = item.get("properties", {}).get(name)
            if stated is None and not holds(item, {name: condition}):
                absent[name].append(str(item["id"]))
    for name, ids in absent.items():
        asked.omitted.add(sensor.name, f"the item states no {name}", ids)
        logging.getLogger(__name__).warning(
            "%d of %d items of %s in %s state no %s and are left out",
            *(len(ids), len(items), sensor.name, asked.region.name, name),
        )
    return kept


def locked_items(
    asked: RegionSearch,
    sensor: Sensor,
    items: Iterable[Item],
    make: Callable[[Item], LockItem] | None = None,
) -> list[tuple[Item, LockItem]]:
    """Return items with what a lock keeps of them, by default made by :func:`lock_item`.

    Raises:
        InputError: if one contradicts itself or lacks an asset; where the search may leave such
            items out, they are counted instead.
    """
    spec, url, kept = sensor.provider(asked.key), asked.catalogues[sensor.name].url, []
    make = make or (lambda item: lock_item(item, sensor, spec, asked.key, url))
    for item in items:
        try:
            kept.append((item, make(item)))
        except UnknownName:
            raise
        except InputError as error:
            name = str(item["id"])
            if not asked.leaving.incomplete:
                raise InputError(
                    error.asked, error.found, f"{error.remedy}; or add --exclude {name}, or "
                    "--allow-incomplete to leave out all such items"
                ) from error  # fmt: skip
            what = error.asked.replace(f" of item {name}", "").replace(f"item {name}", "the item")
            asked.omitted.add(sensor.name, f"{what}: {error.found}", [name])
    return kept


def ordered(items: Sequence[LockItem]) -> tuple[LockItem, ...]:
    """Order by acquisition; within one datatake the newest baseline and generation first."""
    first = {i.datatake: min(j.datetime for j in items if j.datatake == i.datatake) for i in items}
    newest = sorted(items, key=lambda i: (i.baseline, i.generated, i.id), reverse=True)
    return tuple(sorted(newest, key=lambda i: (first[i.datatake], i.datatake)))


def lock_item(item: Item, sensor: Sensor, spec: ProviderSpec, key: str, catalogue: str) -> LockItem:
    """Return what a lock keeps of an item.

    Raises:
        InputError: if its metadata contradict themselves, or lack an asset.
    """
    collection = str(item.get("collection", ""))
    if collection in spec.refused:
        raise InputError(f"collection {collection}", spec.refused[collection], "Use another one")
    offset = harmonise.item_offset(item, spec)
    assets = {}
    for band in _offered(sensor, spec):
        asset = spec.assets[band]
        found, limit = asset_key(item, asset.key), limit_of(sensor, band)
        require_pixel_size(item, found, asset.index, limit, f"band {band}")
        harmonise.check_declared(item, found, sensor, offset)
        assets[band] = lock_asset(item, asset.key, catalogue, asset.index)
    masks = _mask_assets(sensor, key)
    for name in masks.values():
        found, limit = asset_key(item, name), mask_limit(sensor)
        require_pixel_size(item, found, 1, limit, "the quality layer")
    properties = item["properties"]
    return LockItem(
        id=str(item["id"]),
        datetime=utc_text(item),
        datatake=_datatake(item, spec),
        offset=offset,
        assets=assets,
        masks={band: lock_asset(item, name, catalogue) for band, name in masks.items()},
        tile=str(properties.get(spec.tile_property, "")) if spec.tile_property else "",
        baseline=str(properties.get(spec.baseline_property, "")) if spec.baseline_property else "",
        generated=str(properties.get("s2:generation_time") or properties.get("created") or ""),
    )


def lock_asset(item: Item, pattern: str, catalogue: str, index: int = 1) -> LockAsset:
    """Return the link of an asset as a lock keeps it; ``pattern`` as in :func:`asset_key`."""
    key = asset_key(item, pattern)
    require_format(item, key)
    asset = item["assets"][key]
    href = reduce_href(str(asset["href"]), str(item["_url"]), catalogue)
    checksum = comparable(str(asset.get("file:checksum") or ""))
    return LockAsset(href, index, int(asset.get("file:size") or 0), checksum)


def utc_text(item: Item) -> str:
    """Return an item's time as a lock keeps it, e.g. ``2021-06-01T10:00:00Z``."""
    return item_time(item).isoformat().replace("+00:00", "Z")


def _mask_assets(sensor: Sensor, key: str) -> dict[str, str]:
    """Return the quality layers of a sensor: band, or ``*`` for all bands, → key of the asset."""
    rule = sensor.mask
    if rule.kind == "none":
        return {}
    if rule.band_assets:
        return {band: rule.band_assets[band] for band in sensor.band_names}
    if key not in rule.assets:
        raise unknown(f"provider with a mask for {sensor.name}", key, rule.assets)
    return {"*": rule.assets[key]}


def _offered(sensor: Sensor, spec: ProviderSpec) -> tuple[str, ...]:
    for band in sensor.band_names:
        if band not in spec.assets:
            raise unknown(f"band of {sensor.name} at this provider", band, spec.assets)
    return sensor.band_names


def asset_key(item: Item, pattern: str) -> str:
    """Return the key of an asset; a pattern such as ``*.tif`` must meet exactly one key."""
    keys: Mapping[str, Any] = item.get("assets", {})
    if pattern in keys:
        return pattern
    close = [k for k in keys if fnmatch.fnmatchcase(k, pattern)] if "*" in pattern else []
    if len(close) != 1:
        raise InputError(
            f"asset {pattern} of item {item.get('id')}",
            f"{len(close)} assets have this name among {', '.join(sorted(keys)[:12]) or 'none'}",
            "Correct the asset names in the sensor's provider entry",
        )
    return close[0]


def _datatake(item: Item, spec: ProviderSpec) -> str:
    """Return what names one acquisition: copies of it count as one observation."""
    properties = item["properties"]
    stated = properties.get(spec.datatake_property) if spec.datatake_property else None
    if stated:
        # GS2A_20200606T112121_025887_N02.14: the baseline at the end differs between copies.
        return re.sub(r"_N\d\d\.\d\d$", "", str(stated))
    if path := properties.get("landsat:wrs_path"):
        # Rows of one pass overlap and are seconds apart.
        return f"{properties.get('platform')}_{path}_{item_time(item):%Y%m%d}"
    when = f"{item_time(item):%Y%m%dT%H%M%S}"
    if spec.datatake_property:
        return when  # copies of a scene have one time and two ids
    if platform := properties.get("platform"):
        tile = properties.get(spec.tile_property, "") if spec.tile_property else ""
        return "_".join(str(part) for part in (platform, when, tile) if part)
    return str(item["id"])
