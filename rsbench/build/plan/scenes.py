"""Scenes of one sensor in one region: search conditions, order, entries of the lock."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rsbench.build.compose import harmonise
from rsbench.build.plan.href import reduce_href
from rsbench.build.plan.lock import LockAsset, LockItem
from rsbench.build.plan.search import Item, item_time
from rsbench.catalog import ProviderSpec, Recipe, Region, Sensor
from rsbench.core.errors import InputError, unknown
from rsbench.core.grid import Grid


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


def in_zone(item: Item, epsg: int) -> bool:
    """Whether a scene is in the region's own zone: neighbours repeat the ground on another grid."""
    properties = item.get("properties", {})
    code = str(properties.get("proj:code") or properties.get("proj:epsg") or "")
    return code.removeprefix("EPSG:") == str(epsg)


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


def meeting(items: Sequence[Item], conditions: Mapping[str, Any], of: str) -> list[Item]:
    """Return the items that meet the conditions; log how many others lack a property they need.

    Args:
        of: sensor and region, for the log.
    """
    kept = [item for item in items if holds(item, conditions)]
    absent = Counter(
        field
        for item in items
        for field, condition in conditions.items()
        if item.get("properties", {}).get(field) is None and not holds(item, {field: condition})
    )
    for field, count in absent.items():
        logging.getLogger(__name__).warning(
            "%d of %d items of %s state no %s and are left out", count, len(items), of, field
        )
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
        harmonise.check_declared(item, asset_key(item, asset.key), sensor, offset)
        assets[band] = lock_asset(item, asset.key, catalogue, asset.index)
    masks = _mask_assets(sensor, key)
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
    href = str(item["assets"][asset_key(item, pattern)]["href"])
    return LockAsset(reduce_href(href, str(item["_url"]), catalogue), index)


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
    keys = [str(key) for key in item.get("assets", {})]
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
    if spec.datatake_property:
        return f"{item_time(item):%Y%m%dT%H%M%S}"  # copies of a scene have one time and two ids
    return str(item["id"])
