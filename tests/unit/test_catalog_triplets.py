"""The places of triplets keep their rules, checked against independent maps and orbits."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Transformer
from test_catalog_regions import inside, outline

from rsbench.catalog import (
    Region,
    load_recipe,
    load_regions,
    load_triplet_places,
    recipe_of,
)
from rsbench.catalog.models_place import TripletPlace
from rsbench.catalog.places import PATTERN, centre, distance_km
from rsbench.catalog.tiles import zone_of

PLACES = load_triplet_places()
MAPS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "golden" / "natural_earth_triplets.json").read_text()
)["regions"]


def path_at(latitude: float, longitude: float) -> float:
    """The path of Landsat (WRS-2) whose middle passes a place, as a fraction.

    A circle inclined by 98.2°, 233 descending passes a cycle, the first one crossing the equator
    at 64.6° W, over an Earth that turns by 360° · 98.88 min / 1440 min in a revolution.
    """
    tilt = math.radians(98.2)
    along = math.asin(math.sin(math.radians(latitude)) / math.sin(tilt))
    inertial = math.degrees(math.atan(-math.cos(tilt) * math.tan(along)))
    node = longitude - inertial - 98.88 / 1440 * math.degrees(along)
    return ((-64.6 - node) / (360 / 233)) % 233 + 1


def test_counts_kinds_and_splits() -> None:
    assert len(PLACES) >= 12
    assert Counter(p.split for p in PLACES) == {"train": 10, "val": 2, "test": 8}
    kinds = Counter(p.stratum for p in PLACES)
    assert set(kinds) == {"event", "stable", "phenology"}
    assert min(kinds.values()) >= 6
    for kind in kinds:
        assert {"train", "test"} <= {p.split for p in PLACES if p.stratum == kind}
    assert len({p.continent for p in PLACES}) == 6


def test_the_split_follows_from_the_names() -> None:
    ranked = sorted(PLACES, key=lambda p: (p.stratum, hashlib.sha256(p.name.encode()).hexdigest()))
    assert [p.split for p in ranked] == [PATTERN[i % 10] for i in range(len(PLACES))]


def test_splits_are_fifty_km_apart_from_each_other_and_from_other_recipes() -> None:
    pairs = load_recipe("naip-pairs").regions
    assert pairs != "all"
    others = [*load_regions(), *(p for p in pairs if isinstance(p, Region))]
    assert not {p.name for p in PLACES} & {p.name for p in others}
    for one, other in itertools.chain(
        itertools.combinations(PLACES, 2), itertools.product(PLACES, others)
    ):
        if one.split != other.split:
            half = (one.size * one.gsd + other.size * other.gsd) / 2000 * math.sqrt(2)
            assert distance_km(centre(one), centre(other)) - half >= 50, (one.name, other.name)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_a_place_is_whole_blocks_of_landsat_in_one_zone(place: Region) -> None:
    grid = place.grid()
    assert (grid.height, grid.width, place.gsd) == (1536, 1536, 30.0)
    assert grid.height * place.gsd == 96 * 480 == 46_080
    # Corners of Landsat's pixels, as in real items: 355785, 491985, -4821585 are 15 modulo 30.
    assert [v % 30 for v in place.origin] == [15, 15]
    assert [(v - 15) % 480 for v in place.origin] == [0, 0]
    longitude, latitude = outline(place, 5)
    zones = {zone_of(abs(a), b) for a, b in zip(latitude, longitude, strict=True)}
    assert zones == {place.epsg - 32600}


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_a_place_lies_inside_one_path_of_landsat(place: Region) -> None:
    latitude, longitude = centre(place)
    path = path_at(latitude, longitude)
    beside = path - round(path)
    apart = abs(beside) * 360 / 233 * 111.32 * math.cos(math.radians(latitude))
    # Swaths are 185 km wide; the square needs 23 km and leans by up to 7 against the path.
    assert apart + 23.04 + 7 <= 92.5 - 4
    # The middle of the path is in the same zone, and so are its scenes.
    assert zone_of(abs(latitude), longitude + beside * 360 / 233) == place.epsg - 32600


@pytest.mark.parametrize(
    ("latitude", "longitude", "path"),
    [
        (-44.60, 146.66, 90),  # LC09_L2SP_090091_20250310
        (47.43, -123.38, 47),  # LC08_L2SP_047027_20201204
        (-7.23, -80.04, 10),  # LC09_L2SP_010065_20220129
    ],
)
def test_the_paths_are_those_of_recorded_scenes(
    latitude: float, longitude: float, path: int
) -> None:
    assert path_at(latitude, longitude) == pytest.approx(path, abs=0.05)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_the_map_agrees_on_country_and_land(place: Region) -> None:
    longitude, latitude = outline(place, 41)
    west, south, east, north = MAPS[place.name]["box"]
    assert ((longitude > west) & (longitude < east)).all(), "the map does not reach this far"
    assert ((latitude > south) & (latitude < north)).all(), "the map does not reach this far"
    shares = {
        country: float(sum(inside(p, longitude, latitude) for p in polygons).mean())
        for country, polygons in MAPS[place.name]["countries"].items()
    }
    assert {c for c, share in shares.items() if share > 0} == {place.country}
    assert 1 - sum(shares.values()) <= place.water
    assert place.water <= 0.1


@pytest.mark.parametrize("name", ["landsat-modis", "landsat-modis-daily"])
def test_both_recipes_take_all_places_and_name_a_period_for_each(name: str) -> None:
    chosen = load_recipe(name)
    assert chosen.fusion is not None
    known = {p.name: p for p in PLACES}
    assert set(chosen.regions) == set(known) == set(chosen.fusion.periods)
    for place, (first, last) in chosen.fusion.periods.items():
        assert date(chosen.years[0], 1, 1) <= first < last <= date(chosen.years[1], 12, 31)
        assert 365 <= (last - first).days <= 920, place
        if known[place].stratum == "event":
            assert any(c.isdigit() for c in known[place].change) or "INPE" in known[place].change
    other = load_recipe("landsat-modis")
    assert other.fusion is not None
    assert chosen.fusion.periods == other.fusion.periods


@pytest.mark.parametrize("at", [0, 1])
def test_a_place_beside_the_blocks_is_refused(at: int) -> None:
    held = PLACES[0].model_dump()
    origin = list(held["origin"])
    origin[at] += 30
    with pytest.raises(ValueError, match="past multiples of 480"):
        TripletPlace.model_validate(held | {"origin": tuple(origin)})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"gap": (96, 16)}, "fewest and most days"),
        ({"periods": {"Vercelli_Italy": ("2018-01-02", "2018-01-01")}}, "ends before it begins"),
        ({"coarse": "landsat"}, "a fine and a coarse sensor"),
        ({"coarse": "mcd43a4"}, "names their two sensors"),
    ],
)
def test_a_fusion_entry_that_contradicts_itself_is_refused(
    change: dict[str, Any], text: str
) -> None:
    chosen = load_recipe("landsat-modis")
    assert chosen.fusion is not None
    values = chosen.model_dump()
    values["fusion"] = values["fusion"] | change
    with pytest.raises(ValueError, match=text):
        recipe_of(values)


@pytest.mark.parametrize("name", ["landsat-modis", "demo-fusion"])
def test_triplets_need_an_entry_fusion(name: str) -> None:
    """Of real scenes and of the simulated Earth alike."""
    values = load_recipe(name).model_dump()
    del values["fusion"]
    with pytest.raises(ValueError, match=r"fusion\n +Field required"):
        recipe_of(values)


def test_projected_corners_are_where_the_comments_say() -> None:
    text = (Path(__file__).parents[2] / "catalogs/regions/triplets/places.yaml").read_text()
    for place in PLACES:
        half = place.size * place.gsd / 2
        to = Transformer.from_crs(place.epsg, 4326, always_xy=True)
        lon, lat = to.transform(place.origin[0] + half, place.origin[1] - half)
        said = f"{abs(lat):.3f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.3f}° "
        assert said + ("E" if lon >= 0 else "W") in text, place.name
        assert np.hypot(lat - centre(place)[0], lon - centre(place)[1]) < 1e-9
