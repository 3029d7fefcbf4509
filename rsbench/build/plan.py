"""From a recipe to a lock: which scenes make which region and year, and what that will cost."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rsbench.build import harmonise
from rsbench.build.plan_cost import PlanSummary, describe
from rsbench.build.plan_hold import hold
from rsbench.build.plan_href import is_web, reduce_href
from rsbench.build.plan_keep import Found, KeptSearch
from rsbench.build.plan_lock import Lock, LockAsset, LockChange, LockItem, diff
from rsbench.build.plan_search import ApiCatalogue, FolderCatalogue, Query, item_time, outline
from rsbench.build.plan_season import months_of, on_lattice
from rsbench.catalog import (
    ProviderSpec,
    Recipe,
    Region,
    Sensor,
    SimulatedSpec,
    load_region,
    recipe_canonical,
    recipe_regions,
    recipe_sensors,
)
from rsbench.digest import canonical_json
from rsbench.errors import InputError, unknown
from rsbench.spec import Grid

__all__ = [
    "Lock",
    "LockAsset",
    "LockChange",
    "LockItem",
    "PlanSummary",
    "describe",
    "diff",
    "make_plan",
    "open_catalogue",
    "regions_of",
    "sensor_grid",
]

Advance = Callable[[str, int, int], None]
Item = Mapping[str, Any]
SIMULATED = "simulated"
SEARCHES = 4
"""Searches at a time: more of them only meet the provider's rate limit."""


def regions_of(recipe: Recipe) -> tuple[Region, ...]:
    """Return the regions of a recipe: of the world, inline, or of its simulated Earth."""
    if recipe.simulated is None:
        return tuple(on_lattice(recipe, region) for region in recipe_regions(recipe))
    from rsbench.build.simulate import simulated_regions

    made = {region.name: region for region in simulated_regions(recipe.simulated)}
    if recipe.regions == "all":
        return tuple(made[name] for name in sorted(made))
    chosen = []
    for region in recipe.regions:
        name = region if isinstance(region, str) else region.name
        if name not in made:
            raise unknown("simulated region", name, made)
        chosen.append(made[name])
    return tuple(chosen)


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


@contextmanager
def open_catalogue(
    catalogue: str, simulated: SimulatedSpec | None, progress: Advance | None = None
) -> Iterator[str]:
    """Yield the API address or folder of a catalogue; the simulated Earth is served meanwhile."""
    if simulated is None or catalogue:
        yield catalogue
        return
    from rsbench.build.server import serve
    from rsbench.build.simulate import catalogue_digest, write_catalogue
    from rsbench.home import cache_dir

    root = cache_dir("simulated") / catalogue_digest(simulated)[:16]
    with hold(root.with_suffix(".lock"), f"the simulated Earth {root}", wait=True):
        write_catalogue(simulated, root, progress=_labelled("simulating scenes", progress))
    with serve(root) as url:
        yield url


def _labelled(label: str, progress: Advance | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(label, done, total)


def make_plan(
    recipe: Recipe,
    regions: Sequence[Region | str] | None = None,
    provider: str | None = None,
    years: tuple[int, int] | None = None,
    *,
    progress: Advance | None = None,
) -> Lock:
    """Search the catalogue for every region and sensor and freeze the answer.

    Args:
        recipe: what to build.
        regions: some regions instead of the recipe's.
        provider: a provider of the sensors, a STAC API address, or a folder of static STAC JSON.
        years: first and last year instead of the recipe's.
        progress: told as ``(label, done, total)``.

    Raises:
        OSError: if the catalogue cannot be reached.
        InputError: if its answer cannot be trusted or understood.
    """
    recipe = recipe.model_copy(update={"years": years}) if years else recipe
    places = _places(recipe, regions)
    sensors = recipe_sensors(recipe)
    key, address = _provider(recipe, sensors, provider)
    simulated = recipe.simulated if key == SIMULATED and not address else None
    with open_catalogue(address, simulated, progress) as catalogue:
        catalogues = {s.name: _catalogue(catalogue or s.provider(key).api, s) for s in sensors}
        address_of = {n: c.url for n, c in catalogues.items()}
        # What was found at a provider is kept until all is found: a search of many regions may
        # be stopped by one bad hour of the provider, and goes on from there.
        remote = is_web(next(iter(address_of.values()))) and simulated is None
        kept = KeptSearch([recipe_canonical(recipe), key, address_of]) if remote else None

        def one(region: Region) -> Found:
            held = kept.load(region) if kept else None
            if held is None:
                held = _found(recipe, region, sensors, key, catalogues)
                if kept:
                    kept.save(region, held)
            return held

        found = _search_all(one, places, SEARCHES if remote else 1, progress)
    if kept:
        kept.remove()
    _require_scenes(recipe, key, found)
    return Lock(
        recipe=recipe_canonical(recipe),
        provider=key,
        catalogue="" if simulated else (address or sensors[0].provider(key).api),
        query={s.name: conditions_of(recipe, s, key, "*") for s in sensors},
        places={region.name: region for region in sorted(places, key=lambda r: r.name)},
        regions={name: found[name] for name in sorted(found)},
    )


def _found(
    recipe: Recipe,
    region: Region,
    sensors: Sequence[Sensor],
    key: str,
    catalogues: Mapping[str, ApiCatalogue | FolderCatalogue],
) -> Found:
    if recipe.pairs is not None:
        from rsbench.build.plan_pairs import search_pairs

        return search_pairs(recipe, region, sensors, key, catalogues)
    if recipe.fusion is not None:
        from rsbench.build.plan_triplets import search_triplets

        return search_triplets(recipe, region, sensors, key, catalogues)
    return {s.name: _search(recipe, region, s, key, catalogues[s.name]) for s in sensors}


def _search_all(
    one: Callable[[Region], Found],
    places: Sequence[Region],
    threads: int,
    progress: Advance | None,
) -> dict[str, Found]:
    """Search all regions; the first error is raised when those that had begun are done."""
    found: dict[str, Found] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="rsbench-search") as pool:
        tasks = {pool.submit(one, region): region.name for region in places}
        try:
            for task in as_completed(tasks):
                found[tasks[task]] = task.result()
                if progress:
                    progress("searching", len(found), len(places))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def _require_scenes(recipe: Recipe, key: str, found: Mapping[str, Any]) -> None:
    bare = sorted(name for name, sensors in found.items() if not any(sensors.values()))
    if bare:
        raise InputError(
            f"planning {recipe.name} from {key}",
            f"no scene was found for {', '.join(bare[:5])}"
            + (f" and {len(bare) - 5} more regions" if len(bare) > 5 else ""),
            f"Check provider and years ({recipe.years[0]}-{recipe.years[1]}), or leave them out",
        )


def _places(recipe: Recipe, regions: Sequence[Region | str] | None) -> tuple[Region, ...]:
    if regions is None:
        return regions_of(recipe)
    known = {region.name: region for region in regions_of(recipe)}
    asked = (
        region
        if isinstance(region, Region)
        else known[region]
        if region in known
        else load_region(region)
        for region in regions
    )
    return tuple(on_lattice(recipe, region) for region in asked)


def _provider(recipe: Recipe, sensors: Sequence[Sensor], provider: str | None) -> tuple[str, str]:
    """Return the key of the sensors' provider entry and the address that replaces its own."""
    if provider is None or provider in sensors[0].providers:
        key = provider or recipe.provider
        specs = {canonical_json([s.provider(key).api]) for s in sensors}
        if len(specs) > 1:
            raise InputError(
                f"provider {key}", "its sensors lie at different catalogues", "Split the recipe"
            )
        return key, ""
    if is_web(provider):
        return recipe.provider, provider
    if Path(provider).is_dir():
        return recipe.provider, str(Path(provider).resolve())
    if "/" in provider:
        raise InputError(
            f"provider {provider}",
            "there is no such folder",
            "Give a provider's name, a STAC API address or an existing folder",
        )
    raise unknown("provider", provider, sensors[0].providers)


def _catalogue(address: str, sensor: Sensor) -> ApiCatalogue | FolderCatalogue:
    if is_web(address):
        return ApiCatalogue(address)
    if address and Path(address).is_dir():
        return FolderCatalogue(Path(address).resolve())
    raise InputError(
        f"the catalogue of {sensor.name}",
        f"{address!r} is neither an address nor a folder" if address else "none is named",
        "Give --provider URL or --provider FOLDER",
    )


def conditions_of(recipe: Recipe, sensor: Sensor, key: str, tile: str) -> dict[str, Any]:
    """Return the conditions of the search of a sensor in one tile."""
    spec = sensor.provider(key)
    conditions: dict[str, Any] = {**spec.query, **recipe.query.get(sensor.name, {})}
    if spec.tile_property and tile:
        conditions[spec.tile_property] = {"eq": spec.tile_value(tile)}
    if spec.cloud_property and recipe.max_cloud < 100:
        conditions[spec.cloud_property] = {"lt": recipe.max_cloud}
    return conditions


def _search(
    recipe: Recipe,
    region: Region,
    sensor: Sensor,
    key: str,
    catalogue: ApiCatalogue | FolderCatalogue,
) -> dict[int, tuple[LockItem, ...]]:
    spec = sensor.provider(key)
    conditions = conditions_of(recipe, sensor, key, region.tile)
    grid = sensor_grid(region, sensor)
    months = months_of(recipe, region)
    query = Query(spec.collection, outline(grid), recipe.years, conditions)
    # A server may ignore conditions it does not know, so they are checked here as well.
    items = [
        item
        for item in catalogue.search(query)
        if item_time(item).month in months
        and recipe.years[0] <= item_time(item).year <= recipe.years[1]
        and holds(item, conditions)
        and (recipe.lattice is None or in_zone(item, region.epsg))
    ]
    if spec.tile_property and not region.tile:
        items = _one_tile(items, spec.tile_property)
    by_year: dict[int, list[LockItem]] = defaultdict(list)
    for item in items:
        locked = lock_item(item, sensor, spec, key, catalogue.url)
        by_year[item_time(item).year].append(locked)
    return {year: ordered(by_year[year]) for year in sorted(by_year)}


def in_zone(item: Item, epsg: int) -> bool:
    """Whether a scene is in the region's own zone: neighbours repeat the ground on another grid."""
    properties = item.get("properties", {})
    code = str(properties.get("proj:code") or properties.get("proj:epsg") or "")
    return code.removeprefix("EPSG:") == str(epsg)


def holds(item: Item, conditions: Mapping[str, Any]) -> bool:
    """Return whether an item meets the conditions; a server may ignore those it does not know."""
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "eq": lambda value, wanted: value == wanted,
        "neq": lambda value, wanted: value != wanted,
        "lt": lambda value, wanted: value is not None and value < wanted,
        "lte": lambda value, wanted: value is not None and value <= wanted,
        "gt": lambda value, wanted: value is not None and value > wanted,
        "gte": lambda value, wanted: value is not None and value >= wanted,
        "in": lambda value, wanted: value in wanted,
    }
    properties = item.get("properties", {})
    return all(
        tests[name](properties.get(field), wanted)
        for field, condition in conditions.items()
        for name, wanted in condition.items()
    )


def _one_tile(items: Sequence[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Keep the tile with most items (first by name among equals): tiles repeat the same ground."""
    counts = Counter(str(item["properties"].get(name)) for item in items)
    if not counts:
        return []
    best = min(counts, key=lambda tile: (-counts[tile], tile))
    return [item for item in items if str(item["properties"].get(name)) == best]


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
    properties = item["properties"]

    def asset(name: str, index: int, *, pixels: bool) -> LockAsset:
        found = asset_key(item, name)
        if pixels:
            harmonise.check_declared(item, found, sensor, offset)
        href = reduce_href(str(item["assets"][found]["href"]), str(item["_url"]), catalogue)
        return LockAsset(href, index)

    assets = {
        band: asset(spec.assets[band].key, spec.assets[band].index, pixels=True)
        for band in _offered(sensor, spec)
    }
    rule = sensor.mask
    masks: dict[str, LockAsset] = {}
    if rule.kind != "none" and rule.band_assets:
        masks = {b: asset(rule.band_assets[b], 1, pixels=False) for b in sensor.band_names}
    elif rule.kind != "none":
        if key not in rule.assets:
            raise unknown(f"provider with a mask for {sensor.name}", key, rule.assets)
        masks = {"*": asset(rule.assets[key], 1, pixels=False)}
    return LockItem(
        id=str(item["id"]),
        datetime=item_time(item).isoformat().replace("+00:00", "Z"),
        datatake=_datatake(item, spec),
        offset=offset,
        assets=assets,
        masks=masks,
        tile=str(properties.get(spec.tile_property, "")) if spec.tile_property else "",
        baseline=str(properties.get(spec.baseline_property, "")) if spec.baseline_property else "",
        generated=str(properties.get("s2:generation_time") or properties.get("created") or ""),
    )


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
    return str(item["id"])
