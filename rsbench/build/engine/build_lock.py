"""Choose the lock of a build, and check its output folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from rsbench.build.plan.href import is_web, local
from rsbench.build.plan.lock_recipe import differences
from rsbench.build.plan.omissions import EXCLUDED, Omission
from rsbench.build.plan.plan import (
    Lock,
    excluded_in,
    places_of,
    regions_of,
    require_known,
    searched_at,
)
from rsbench.catalog import Recipe, Region, recipe_canonical
from rsbench.core.errors import InputError
from rsbench.store.layout import INDEX, JOURNAL, LOCK


def kept_lock(
    out: Path | str,
    recipe: Recipe,
    provider: str | None = None,
    regions: Sequence[Region | str] | None = None,
    years: tuple[int, int] | None = None,
) -> Lock | None:
    """Return the lock that an earlier run of the same build left in its folder, or None.

    A lock that was searched at another provider is ignored, so that a new search is made.

    Raises:
        InputError: if it is of another recipe, or of other regions or years.
    """
    path = Path(out) / LOCK
    if not path.is_file():
        return None
    lock = Lock.load(path)
    if provider is not None and searched_at(recipe, provider) != (lock.provider, lock.catalogue):
        return None
    places = places_of(recipe, regions)
    differ = differences(lock, recipe, places)
    differ += ["regions"] if {place.name for place in places} != set(lock.places) else []
    differ += ["years"] if (years or recipe.years) != (lock.years[0], lock.years[-1]) else []
    if differ:
        raise InputError(
            f"building {recipe.name} into {out}",
            f"a build of {lock.recipe.get('name')} with other {', '.join(differ)} lies there",
            "Choose another --out, or delete that folder",
        )
    return lock


def matching(
    lock: Lock,
    recipe: Recipe,
    regions: Sequence[Region | str] | None,
    years: tuple[int, int] | None,
) -> Lock:
    """Return the part of the lock that is asked for; refuse a lock of another recipe."""
    require_same(lock, recipe)
    names = None if regions is None else [r if isinstance(r, str) else r.name for r in regions]
    if names is None and recipe_canonical(recipe)["regions"] != lock.recipe["regions"]:
        names = [region.name for region in regions_of(recipe)]
    span = years or (recipe.years if list(recipe.years) != list(lock.recipe["years"]) else None)
    return lock if names is None and span is None else lock.subset(names, span)


def require_same(lock: Lock, recipe: Recipe) -> None:
    """Refuse a lock that was made for another recipe or other places.

    Raises:
        InputError: naming what differs.
    """
    differ = differences(lock, recipe, regions_of(recipe))
    if differ:
        raise InputError(
            f"building {recipe.name} from this lock",
            f"the lock was made for other {', '.join(differ)}",
            "Give the lock without --recipe, or search again without --lock",
        )


def excluding(lock: Lock, items: Collection[str]) -> Lock:
    """Return a lock without the items of some ids, which it names as left out.

    Raises:
        InputError: if no item of the lock has one of the ids.
    """
    if not items:
        return lock
    known = excluded_in(lock.left)
    left = dict(lock.left)
    for region, found in lock.regions.items():
        for sensor, by_year in found.items():
            held = {item.id for part in by_year.values() for item in part} & set(items)
            known |= held
            if held:
                more = Omission(sensor, EXCLUDED, tuple(sorted(held)))
                left[region] = (*left.get(region, ()), more)
    require_known(items, known)
    return replace(lock.without(items), left=left)


def moved(lock: Lock, provider: str | None) -> str:
    """Return where the lock's files lie: its catalogue, or the address or folder given now."""
    if provider is None or provider == lock.provider:
        return lock.catalogue
    if is_web(provider):
        return provider
    if Path(local(provider)).exists():
        return str(Path(local(provider)).resolve())
    raise InputError(
        f"provider {provider}",
        f"the lock was searched at {lock.provider}",
        "Leave --provider out, or give an address or folder that holds the same files",
    )


def require_place(out: Path) -> None:
    """Refuse a folder that holds something else.

    Raises:
        InputError: if it is a file, or holds files of another program.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"building into {out}", "it is a file", "Choose another --out")
    if out.is_dir() and any(out.iterdir()):
        ours = (out / INDEX).exists() or (out / JOURNAL).exists()
        if not ours:
            raise InputError(
                f"building into {out}",
                "the folder holds something else",
                "Choose an empty or new folder with --out",
            )
