"""The hundred regions keep every rule of their README, checked against independent maps."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import CRS, Transformer

from rsbench.catalog import Region, load_regions, tiles
from rsbench.catalog.places import centre, distance_km

GOLDEN = Path(__file__).parents[1] / "golden"
REGIONS = load_regions()
PUBLISHED = {
    "Istanbul_Turkey",
    "Amazon_Deforestation_Arc_Brazil",
    "Corn_Belt_Iowa_USA",
    "Sahara_Tamanrasset_Algeria",
    "Mekong_Delta_Vietnam",
    "Rio_de_Janeiro_Coast_Brazil",
    "Cairo_Nile_Corridor_Egypt",
}
MAPS: dict[str, Any] = json.loads((GOLDEN / "natural_earth_countries.json").read_text())["regions"]


def outline(region: Region, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of an n × n grid of points that reaches the square's edges."""
    steps = np.linspace(0, region.size * region.gsd, n)
    x, y = np.meshgrid(region.origin[0] + steps, region.origin[1] - steps)
    transform = Transformer.from_crs(region.epsg, 4326, always_xy=True).transform
    longitude, latitude = transform(x.ravel(), y.ravel())
    return np.asarray(longitude), np.asarray(latitude)


def inside(rings: list[list[list[float]]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Even-odd rule over all rings of a polygon."""
    crossings = np.zeros(x.shape, int)
    for ring in rings:
        for (x1, y1), (x2, y2) in itertools.pairwise(ring):
            if y1 != y2:
                spans = (y1 > y) != (y2 > y)
                crossings += spans & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return crossings % 2 == 1


def countries_of(region: Region) -> dict[str, float]:
    """Share of the square that the map gives to each country; the rest is sea."""
    longitude, latitude = outline(region, 41)
    west, south, east, north = MAPS[region.name]["box"]
    assert ((longitude > west) & (longitude < east)).all(), "the map does not reach this far"
    assert ((latitude > south) & (latitude < north)).all(), "the map does not reach this far"
    return {
        country: float(sum(inside(p, longitude, latitude) for p in polygons).mean())
        for country, polygons in MAPS[region.name]["countries"].items()
    }


def test_the_counts_are_as_promised():
    assert len(REGIONS) == 100
    assert Counter(r.split for r in REGIONS) == {"train": 50, "val": 10, "test": 40}
    strata = Counter(r.stratum for r in REGIONS)
    assert len(strata) == 8
    assert min(strata.values()) >= 10
    continents = Counter(r.continent for r in REGIONS)
    assert len(continents) == 6
    assert min(continents.values()) >= 10
    roles = Counter(r.role for r in REGIONS)
    assert roles["change-prone"] >= 40
    assert roles["stable"] >= 20
    assert {r.name for r in REGIONS} >= PUBLISHED


def test_four_pseudo_invariant_deserts_stand_at_the_published_sites():
    # Centres in Cosnefroy et al. 1996.
    sites = {
        "Libya_4_Libya": (28.55, 23.39),
        "Algeria_3_Algeria": (30.32, 7.66),
        "Mauritania_1_Mauritania": (19.40, -9.30),
        "Niger_2_Niger": (21.37, 10.59),
    }
    found = {r.name: r for r in REGIONS if r.pseudo_invariant}
    assert set(found) == set(sites)
    for name, region in found.items():
        assert region.role == "stable"
        assert region.stratum == "desert"
        assert distance_km(centre(region), sites[name]) < 4


def test_few_lie_beyond_sixty_degrees():
    assert sum(abs(centre(r)[0]) > 60 for r in REGIONS) <= 5


def test_water_is_rare_but_on_six_coasts():
    wet = [r for r in REGIONS if r.water > 0.30]
    assert len(wet) <= 6
    assert all(r.stratum == "delta-coast" and r.water <= 0.60 for r in wet)


def test_splits_are_fifty_km_apart():
    half_diagonals = 10.24 * 2**0.5
    for a, b in itertools.combinations(REGIONS, 2):
        if a.split != b.split:
            assert distance_km(centre(a), centre(b)) - half_diagonals >= 50, (a.name, b.name)


def test_the_split_follows_from_the_names():
    pattern = ["train", "test", "train", "test", "train", "val", "train", "test", "train", "test"]
    ranked = sorted(REGIONS, key=lambda r: (r.stratum, hashlib.sha256(r.name.encode()).hexdigest()))
    assert [r.split for r in ranked] == pattern * 10


@pytest.mark.parametrize("region", REGIONS, ids=lambda r: r.name)
def test_the_map_agrees_on_country_land_and_zone(region: Region):
    shares = countries_of(region)
    sea = 1 - sum(shares.values())
    assert {c for c, share in shares.items() if share > 0} == {region.country}
    # Natural Earth draws coasts at 1:10 million, some of them older than the land won since.
    assert sea <= region.water + 0.10
    if region.water <= 0.30 and region.stratum != "delta-coast":
        assert sea == 0
    longitude, latitude = outline(region, 5)
    zone = CRS.from_epsg(region.epsg).area_of_use
    assert zone is not None
    west, south, east, north = zone.bounds
    assert ((longitude >= west) & (longitude <= east)).all()
    assert ((latitude >= south) & (latitude <= north)).all()


@pytest.mark.parametrize("region", REGIONS, ids=lambda r: r.name)
def test_the_square_is_inside_its_tile(region: Region):
    left, top = tiles.tile_origin(region.tile)
    east, south = region.origin[0] - left, top - region.origin[1]
    for start in (east, south):
        assert start % 5120 == 0
        assert start >= 2_000
        assert start + 10_240 <= 109_800 - 2_000
    grid = region.grid()
    assert (grid.height, grid.width) == (1024, 1024)
    assert grid.transform == (10.0, 0.0, region.origin[0], 0.0, -10.0, region.origin[1])


def test_texts_are_there_and_short():
    for region in REGIONS:
        for text in (region.title, region.why, region.change):
            assert 10 <= len(text) <= 110, (region.name, text)
            assert not text.endswith(".")
