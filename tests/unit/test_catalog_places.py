"""Your own places: snapped to the lattice, and never split against their neighbours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsbench.catalog import load_region, load_regions_geojson, tiles
from rsbench.catalog.places import centre, distance_km
from rsbench.core.errors import InputError


def feature(name: Any, longitude: float, latitude: float, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"name": name, **properties},
        "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
    }


def written(tmp_path: Path, *features: Any) -> Path:
    path = tmp_path / "places.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


PLACES = [
    ("Delft_Netherlands", 4.36, 52.01),
    ("Bergen_Norway", 5.40, 60.30),
    ("Quito_Ecuador", -78.45, -0.20),
    ("Perth_Australia", 115.95, -31.95),
    ("Dunedin_New_Zealand", 170.40, -45.85),
    ("Saint_Louis_Senegal", -16.40, 15.99),
    ("Zone_Edge_Poland", 18.02, 50.50),
]


@pytest.mark.parametrize(("name", "longitude", "latitude"), PLACES, ids=[p[0] for p in PLACES])
def test_a_place_becomes_a_square_on_the_lattice(
    tmp_path: Path, name: str, longitude: float, latitude: float
):
    (region,) = load_regions_geojson(written(tmp_path, feature(name, longitude, latitude)))
    assert tiles.lattice_problem(region.tile, region.epsg, region.origin, 10_240) is None
    assert distance_km(centre(region), (latitude, longitude)) < 5.5


def test_a_polygon_stands_for_the_middle_of_its_box(tmp_path: Path):
    ring = [[4.3, 52.0], [4.4, 52.0], [4.4, 52.1], [4.3, 52.1], [4.3, 52.0]]
    shape = feature("Delft", 0, 0)
    shape["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    (region,) = load_regions_geojson(written(tmp_path, shape))
    assert distance_km(centre(region), (52.05, 4.35)) < 5.5


def test_neighbours_share_a_split_and_the_catalogue_decides(tmp_path: Path):
    beauce = load_region("Beauce_France")
    latitude, longitude = centre(beauce)
    features = [
        feature("near", longitude, latitude + 0.4),
        feature("linked", longitude, latitude + 0.9),
        feature("far", longitude, latitude + 3.0),
    ]
    near, linked, far = load_regions_geojson(written(tmp_path, *features))
    assert near.split == linked.split == beauce.split
    assert far.split == "train"
    other = "test" if beauce.split != "test" else "train"
    features[1]["properties"]["split"] = other
    with pytest.raises(InputError, match="different splits"):
        load_regions_geojson(written(tmp_path, *features))


def test_splits_do_not_depend_on_the_order_of_features(tmp_path: Path):
    features = [feature(f"p{i}", -40 + 2.0 * i, 47.0) for i in range(10)]
    first = {r.name: r.split for r in load_regions_geojson(written(tmp_path, *features))}
    again = {r.name: r.split for r in load_regions_geojson(written(tmp_path, *features[::-1]))}
    assert first == again
    assert sorted(first.values()) == ["test"] * 4 + ["train"] * 5 + ["val"]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ([], "no features"),
        ([feature("a b", 4, 52)], "has the name 'a b'"),
        ([feature(None, 4, 52)], "has the name None"),
        ([feature("a", 4, 52), feature("a", 5, 52)], "is used twice"),
        ([feature("a", 52, 104)], "latitude 104"),
        ([feature("a", 4, 52, split="dev")], "split 'dev'"),
        ([{"properties": {"name": "a"}, "geometry": None}], "no coordinates"),
    ],
)
def test_a_place_that_cannot_be_used_is_told(tmp_path: Path, features: list[Any], words: str):
    with pytest.raises(InputError, match=words):
        load_regions_geojson(written(tmp_path, *features))


def test_a_file_that_is_no_json_is_told(tmp_path: Path):
    path = tmp_path / "places.geojson"
    path.write_text("{")
    with pytest.raises(InputError, match="is cut short or not JSON"):
        load_regions_geojson(path)
