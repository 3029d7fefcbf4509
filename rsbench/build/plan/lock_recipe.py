"""The recipe that a lock carries, and the differences between a lock and a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rsbench.build.plan.lock import Lock, place_json
from rsbench.catalog import Recipe, Region, load_recipe, load_sensor, names, recipe_canonical
from rsbench.catalog.loaders import recipe_of
from rsbench.catalog.models_sensor import Sensor
from rsbench.core.digest import canonical_json
from rsbench.core.errors import InputError


def source_of(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe with its sensors written out, as JSON values; its regions are left out.

    The lock holds the regions themselves.
    """
    values = recipe.model_dump(mode="json", exclude={"regions", "sensors"}, exclude_none=True)
    return {**values, "sensors": [s.model_dump(mode="json") for s in _whole_sensors(recipe)]}


def recipe_in(lock: Lock) -> Recipe:
    """Return the recipe that a lock was made for, with the lock's regions and years.

    A lock of an older version names a recipe of the catalogue only.

    Raises:
        InputError: if the lock holds no recipe that can be read, and the catalogue has none.
    """
    name = str(lock.recipe.get("name"))
    if lock.source:
        try:
            recipe = recipe_of(lock.source)
        except ValidationError as error:
            found = f"{error.error_count()} of its values are not valid"
            raise InputError(
                f"the recipe {name} in the lock", found, "Give the recipe with --recipe FILE"
            ) from error
    elif name in names("recipes"):
        recipe = load_recipe(name)
    else:
        raise InputError(
            f"building from the lock of the recipe {name}",
            "an older version wrote the lock, without the recipe, which is not in the catalogue",
            "Give the file of that recipe as well, with --recipe FILE",
        )
    regions = tuple(lock.places[place] for place in sorted(lock.places))
    years = (lock.years[0], lock.years[-1])
    return recipe.model_copy(update={"regions": regions, "years": years})


def differences(lock: Lock, recipe: Recipe, regions: Iterable[Region]) -> list[str]:
    """Return what of a recipe differs from the lock's, e.g. ``max_cloud`` or ``origin of west``.

    Years, the choice of regions and texts about the recipe do not count. Of the regions, those
    are compared that the lock holds.
    """
    asked, held = recipe_canonical(recipe), dict(lock.recipe)
    fields = {
        key
        for key in {*asked, *held} - {"regions", "years"}
        if canonical_json(asked.get(key)) != canonical_json(held.get(key))
    }
    if lock.source and _addresses(lock.source["sensors"]) != _addresses(
        source_of(recipe)["sensors"]
    ):
        fields.add("sensors")
    return [*sorted(fields), *_changed_places(lock, regions)]


def _changed_places(lock: Lock, regions: Iterable[Region]) -> Iterator[str]:
    for region in regions:
        if region.name in lock.places:
            now, held = place_json(region), place_json(lock.places[region.name])
            yield from (f"{key} of {region.name}" for key in now if now[key] != held[key])


def _addresses(sensors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: at["api"] for name, at in sensor["providers"].items()} for sensor in sensors]


def _whole_sensors(recipe: Recipe) -> Iterator[Sensor]:
    for sensor in recipe.sensors:
        yield sensor if isinstance(sensor, Sensor) else load_sensor(sensor)
