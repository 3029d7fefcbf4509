"""A recipe edited under its old name never gets the pixels of before: law over every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rsbench.build.engine.build_lock import kept_lock, matching
from rsbench.build.engine.builder import build, build_part, finalise_parts
from rsbench.build.plan.lock import place_json
from rsbench.build.plan.lock_recipe import differences, source_of
from rsbench.build.plan.plan import Lock, make_plan, regions_of
from rsbench.catalog import Recipe, Region, load_recipe, recipe_canonical, recipe_sensors
from rsbench.catalog.loaders import model_of_kind
from rsbench.core.errors import RsbenchError

KINDS = ("s2-yearly", "s2-yearly-season", "landsat-yearly", "naip-pairs", "landsat-modis", "demo")
TEXTS = {
    *("title", "description", "default_preset", "default_protocol", "why", "change"),
    *("licence", "attribution", "citation", "display", "signing", "refused"),
}
"""Fields that change no pixel: texts, defaults of other commands, how an address is signed."""

Place = tuple[str | int, ...]


@cache
def written_out(name: str) -> dict[str, Any]:
    """A recipe of the catalogue with its sensors and two of its regions written out."""
    chosen = load_recipe(name)
    places = [region.model_dump(mode="json") for region in regions_of(chosen)[:2]]
    whole = {**source_of(chosen), "regions": "all" if chosen.simulated else places}
    if chosen.kind == "pairs":
        whole["labels"] = "io-lulc-annual-v02"
    return whole


@cache
def model(kind: str) -> type[Recipe]:
    """The recipe model of a kind."""
    return model_of_kind(kind)


def of(values: Any) -> Recipe:
    """The recipe of JSON values."""
    return model(values["kind"]).model_validate(values)


def places_in(value: Any, at: Place = ()) -> Iterator[Place]:
    """The places of all plain values."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        if isinstance(part, dict | list) and part:
            yield from places_in(part, (*at, key))
        else:
            yield (*at, key)


def others(value: Any) -> list[Any]:
    """Other values of the same type, of which one may be valid."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + step for step in (1, -1, 5, -5, 16, 0.5, -0.25, 480, -480, 1000)]
    if value in (None, [], {}):
        return [5, "x", [1], ["snow"], {"s2": {"a": {"eq": 1}}}, {"x": [1, 4]}]
    return [f"{value}x", "yearly-best", "test", "val", "strict", "none", "2001-01-01", "B05", "red"]


def changed(values: dict[str, Any], place: Place) -> Recipe | None:
    """A valid recipe that differs from ``values`` at one place only; None if none was found."""
    copy = deepcopy(values)
    at = copy
    for key in place[:-1]:
        at = at[key]  # type: ignore[index]
    before = at[place[-1]]  # type: ignore[index]
    for other in (value for value in others(before) if value != before):
        at[place[-1]] = other  # type: ignore[index]
        try:
            edited = of(copy)
            recipe_canonical(edited), regions_of(edited)
        except (ValidationError, RsbenchError, ValueError):
            continue
        return edited
    return None


def frozen(chosen: Recipe) -> Lock:
    """A lock of a recipe, without a scene."""
    places = {region.name: region for region in regions_of(chosen)}
    canonical = recipe_canonical(chosen)
    found: dict[str, Any] = {name: {} for name in places}
    return Lock(canonical, chosen.provider, "", {}, places, found, source_of(chosen))


def _without_effect(one: Recipe, other: Recipe, place: Place) -> bool:
    """Whether a change is of a band left out, or moves a region within a pixel of the lattice."""
    if place[0] == "sensors":
        return recipe_sensors(one) == recipe_sensors(other)
    moved = one.lattice is not None and place[0] == "regions"
    return moved and list(map(place_json, regions_of(one))) == list(
        map(place_json, regions_of(other))
    )


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_change_of_a_field_is_noticed(name: str, data: st.DataObject) -> None:
    values = written_out(name)
    before = of(values)
    lock = frozen(before)
    place = data.draw(st.sampled_from(sorted(places_in(values), key=str)))
    edited = changed(values, place)
    if edited is None:
        return
    regions = regions_of(edited)
    renamed = {region.name for region in regions} != set(lock.places)
    other_years = edited.years != (lock.years[0], lock.years[-1])
    noticed = differences(lock, edited, regions) or renamed or other_years
    assert noticed or TEXTS & set(place) or _without_effect(edited, before, place), place


def test_every_field_of_the_kinds_is_tried() -> None:
    fields, tried = set[str](), set[str]()
    for name in KINDS:
        values = written_out(name)
        fields |= type(of(values)).model_fields.keys()
        for place in places_in(values):
            if str(place[0]) not in tried and changed(values, place):
                tried.add(str(place[0]))
    assert fields - tried <= {"kind", "step", "simulated", "season"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_folder(tmp_path_factory.mktemp("stac"))


def edited(**changes: Any) -> Recipe:
    """The recipe with another region ``west``."""
    first, second = recipe().regions
    assert isinstance(first, Region)
    return recipe(regions=(first.model_copy(update=changes), second))


EDITS = {
    "origin of west": edited(origin=(500_160, 5_000_020)),
    "size of west": edited(size=32),
    "split of west": edited(split="val"),
    "max_cloud": recipe(max_cloud=50.0),
    "provider": recipe(provider="earth-search"),
}


@pytest.mark.parametrize("what", EDITS)
def test_no_way_of_building_again_overlooks_an_edit(
    what: str, folder: Path, tmp_path: Path
) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    other = EDITS[what]
    (tmp_path / "begun").mkdir()
    lock.save(tmp_path / "begun" / "lock.json.gz")
    ways = {
        "resume": lambda: kept_lock(tmp_path / "begun", other),
        "lock": lambda: matching(lock, other, None, None),
        "part": lambda: build_part(other, tmp_path / "part", (1, 2), lock=lock),
        "parts": lambda: build_part(other, tmp_path / "begun", (1, 2)),
        "finalise": lambda: finalise_parts(other, tmp_path / "begun"),
    }
    for way in ways.values():
        with pytest.raises(RsbenchError, match=f"other {what}"):
            way()


def test_a_finished_store_is_no_store_of_the_edited_recipe(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = recipe(years=(2021, 2021))
    build(small, out, provider=str(folder))
    for other in EDITS.values():
        changed_too = other.model_copy(update={"years": (2021, 2021)})
        with pytest.raises(RsbenchError, match=r"other .* delete that folder"):
            build(changed_too, out)
    assert build(small, out).complete


def test_another_address_of_a_sensor_counts(folder: Path) -> None:
    lock = make_plan(recipe(), provider=str(folder))
    sensors = json.loads(json.dumps(lock.source["sensors"]))
    sensors[0]["providers"]["planetary-computer"]["api"] = "https://stac.example.org"
    moved = of({**lock.source, "sensors": sensors})
    assert differences(lock, moved, ()) == ["sensors"]
    assert differences(replace(lock, source={}), moved, ()) == []
