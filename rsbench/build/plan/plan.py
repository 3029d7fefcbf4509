"""Plan a build: search the scenes of every region and year, and freeze them in a lock."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar

from rsbench.build.kinds.base import kind_of
from rsbench.build.plan.cost import PlanSummary, describe
from rsbench.build.plan.href import is_web, local
from rsbench.build.plan.lock import Lock, LockAsset, LockChange, LockItem, diff
from rsbench.build.plan.lock_recipe import source_of
from rsbench.build.plan.lock_texts import RegionTexts, packed
from rsbench.build.plan.omissions import (
    EXCLUDED,
    NOTHING,
    LeavingOut,
    Omission,
    described,
    totals,
)
from rsbench.build.plan.scenes import conditions_of
from rsbench.build.plan.search import Catalogue, RegionSearch
from rsbench.build.plan.search_cache import KeptSearch
from rsbench.build.plan.season import on_lattice
from rsbench.build.plan.static import open_catalogue_at
from rsbench.build.read.signing import signer
from rsbench.catalog import (
    Recipe,
    Region,
    Sensor,
    SimulatedSpec,
    load_region,
    recipe_canonical,
    recipe_regions,
    recipe_sensors,
)
from rsbench.core.digest import canonical_json
from rsbench.core.errors import InputError, unknown
from rsbench.core.file_lock import file_lock

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
    "places_of",
    "regions_of",
]

Advance = Callable[[str, int, int], None]
Left = Mapping[str, tuple[Omission, ...]]
T = TypeVar("T")
SIMULATED = "simulated"
SEARCHES = 4
"""Searches at a time: more of them only meet the provider's rate limit."""


def regions_of(recipe: Recipe) -> tuple[Region, ...]:
    """Return the regions of a recipe: of the world, inline, or of its simulated Earth."""
    if recipe.simulated is None:
        return tuple(on_lattice(recipe, region) for region in recipe_regions(recipe))
    from rsbench.simulate.api import regions_of_spec

    regions = (on_lattice(recipe, region) for region in regions_of_spec(recipe.simulated))
    made = {region.name: region for region in regions}
    if recipe.regions == "all":
        return tuple(made[name] for name in sorted(made))
    chosen = []
    for region in recipe.regions:
        name = region if isinstance(region, str) else region.name
        if name not in made:
            raise unknown("simulated region", name, made)
        chosen.append(made[name])
    return tuple(chosen)


def open_catalogue(
    catalogue: str, simulated: SimulatedSpec | None, progress: Advance | None = None
) -> str:
    """Return the API address or folder of a catalogue; the simulated Earth is written to the cache.

    Args:
        catalogue: an address or folder, returned as it is; empty for the provider's own.
        simulated: what to simulate where no catalogue is given.
        progress: called with ``(label, done, total)`` while scenes are simulated.
    """
    if simulated is None or catalogue:
        return catalogue
    from rsbench.core.paths import cache_dir, cache_errors
    from rsbench.simulate.api import catalogue_digest, write_catalogue

    root = cache_dir("simulated").resolve() / catalogue_digest(simulated)[:16]
    elsewhere = "set RSBENCH_CACHE to another folder"
    lock = file_lock(root.with_suffix(".lock"), f"writing the cache {root}", elsewhere, wait=True)
    with cache_errors(root), lock:
        write_catalogue(simulated, root, progress=_labelled("simulating scenes", progress))
    return str(root)


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
    leaving: LeavingOut = NOTHING,
    progress: Advance | None = None,
) -> Lock:
    """Search the catalogue for every region and sensor and freeze the answer.

    Args:
        recipe: what to build.
        regions: some regions instead of the recipe's.
        provider: a provider of the sensors, a STAC API address, or a static catalogue: a folder, a
            file, or the address of its first document.
        years: first and last year instead of the recipe's.
        leaving: which items may be left out; the lock names those that are.
        progress: called with ``(label, done, total)``.

    Raises:
        OSError: if the catalogue cannot be reached.
        UnknownName: if a region or the provider is unknown, or its way to sign is not installed.
        InputError: if an item is inconsistent or cannot be read, or no item has an excluded id.
    """
    recipe = recipe.model_copy(update={"years": years}) if years else recipe
    places, sensors = places_of(recipe, regions), recipe_sensors(recipe)
    key, address = _provider(recipe, sensors, provider)
    for sensor in sensors:
        signer(sensor.provider(key).signing)
    simulated = recipe.simulated if key == SIMULATED and not address else None
    catalogue = open_catalogue(address, simulated, progress)
    catalogues = _catalogues(catalogue, sensors, key, leaving)
    searches = [RegionSearch(recipe, p, sensors, key, catalogues, leaving) for p in places]
    found, bare, left = _found(searches, progress)
    _require_scenes(recipe, key, bare, left)
    require_known(leaving.exclude, excluded_in(left))
    return Lock(
        recipe=recipe_canonical(recipe),
        provider=key,
        catalogue=searched_at(recipe, provider)[1],
        query={s.name: conditions_of(recipe, s, key, "*") for s in sensors},
        places={region.name: region for region in sorted(places, key=lambda r: r.name)},
        regions=RegionTexts({name: found[name] for name in sorted(found)}, packed=True),
        source=source_of(recipe),
        left={name: left[name] for name in sorted(left) if left[name]},
    )


def excluded_in(left: Mapping[str, Sequence[Omission]]) -> set[str]:
    """Return the ids of items that were found and excluded."""
    return {i for held in left.values() for o in held if o.reason == EXCLUDED for i in o.items}


def require_known(exclude: Collection[str], known: Collection[str]) -> None:
    """Refuse an excluded id that no item has.

    Raises:
        InputError: naming one.
    """
    for name in sorted(set(exclude) - set(known)):
        raise InputError(
            f"--exclude {name}",
            "no item of these regions and years has this id",
            "Write the id as the plan or the error names it, or leave the option out",
        )


def _found(
    searches: Sequence[RegionSearch], progress: Advance | None
) -> tuple[dict[str, bytes], list[str], Left]:
    """Return what the recipe's kind finds, packed, where that is nothing, and what it leaves out.

    At a remote provider the answers are kept until all are there: a search of many regions that
    the provider interrupts resumes from them.
    """
    if not searches:
        return {}, [], {}
    first = searches[0]
    kind = kind_of(first.recipe)
    urls = {name: catalogue.url for name, catalogue in first.catalogues.items()}
    remote = any(is_web(url) for url in urls.values())
    leaving = [sorted(first.leaving.exclude), first.leaving.incomplete]
    identity = [recipe_canonical(first.recipe), first.key, urls, leaving]
    kept = KeptSearch(identity) if remote else None

    def one(asked: RegionSearch) -> tuple[bytes, bool, tuple[Omission, ...]]:
        held = kept.load(asked.region) if kept else None
        if held is None:
            held = kind.search(asked), asked.omitted.found()
            if kept:
                kept.save(asked.region, *held)
        return packed(held[0]), any(held[0].values()), held[1]

    found = _search_all(one, searches, SEARCHES if remote else 1, progress)
    if kept:
        kept.remove()
    bare = sorted(name for name, held in found.items() if not held[1])
    return {n: held[0] for n, held in found.items()}, bare, {n: h[2] for n, h in found.items()}


def _search_all(
    one: Callable[[RegionSearch], T],
    searches: Sequence[RegionSearch],
    threads: int,
    progress: Advance | None,
) -> dict[str, T]:
    """Search all regions; the first error is raised when the searches under way are done."""
    found: dict[str, T] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="rsbench-search") as pool:
        tasks = {pool.submit(one, asked): asked.region.name for asked in searches}
        try:
            for task in as_completed(tasks):
                found[tasks[task]] = task.result()
                if progress:
                    progress("searching", len(found), len(searches))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def _require_scenes(recipe: Recipe, key: str, bare: Sequence[str], left: Left) -> None:
    """Refuse regions without any scene."""
    if bare:
        raise InputError(
            f"planning {recipe.name} from {key}",
            f"no scene was found for {', '.join(bare[:5])}"
            + (f" and {len(bare) - 5} more regions" if len(bare) > 5 else "")
            + "".join(f"; {described(one)}" for one in totals({n: left[n] for n in bare})),
            f"Check provider and years ({recipe.years[0]}-{recipe.years[1]}), or leave them out",
        )


def places_of(recipe: Recipe, regions: Sequence[Region | str] | None) -> tuple[Region, ...]:
    """Return some regions, by name or as they are, on the recipe's lattice; None for all."""
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


def searched_at(recipe: Recipe, provider: str | None) -> tuple[str, str]:
    """Return the key of the provider entry and the catalogue that a search would ask.

    The catalogue is an address or folder; empty for the simulated Earth.
    """
    sensors = recipe_sensors(recipe)
    key, address = _provider(recipe, sensors, provider)
    if key == SIMULATED and not address and recipe.simulated is not None:
        return key, ""
    return key, address or sensors[0].provider(key).api


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
    if Path(local(provider)).exists():
        return recipe.provider, str(Path(local(provider)).resolve())
    if "/" in provider:
        raise InputError(
            f"provider {provider}",
            "there is no such folder or file",
            "Give a provider's name, an address, or an existing folder or file of STAC items",
        )
    raise unknown("provider", provider, sensors[0].providers)


def _catalogues(
    address: str, sensors: Sequence[Sensor], key: str, leaving: LeavingOut
) -> dict[str, Catalogue]:
    """Return the catalogue of every sensor; sensors of one address share it."""
    where = {sensor.name: address or sensor.provider(key).api for sensor in sensors}
    opened = {at: _catalogue(at, name, leaving) for name, at in where.items()}
    return {name: opened[at] for name, at in where.items()}


def _catalogue(address: str, sensor: str, leaving: LeavingOut) -> Catalogue:
    if is_web(address) or (address and Path(address).exists()):
        return open_catalogue_at(address, leaving)
    raise InputError(
        f"the catalogue of {sensor}",
        f"{address!r} is neither an address nor a folder or file" if address else "none is named",
        "Give --provider URL, --provider FOLDER or --provider FILE.json",
    )
