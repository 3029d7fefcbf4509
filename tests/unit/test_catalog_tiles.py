"""Tile squares and corners against GeoTrans and against corners that real images have."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pyproj import Transformer

from rsbench.catalog import tiles

GOLDEN = Path(__file__).parents[1] / "golden"
POINTS = [
    line.split(",")
    for line in (GOLDEN / "mgrs_points.csv").read_text().splitlines()
    if not line.startswith("#")
]
# Upper-left corners written in the metadata of Sentinel-2 images.
CORNERS = {
    "06VVN": (32606, 399_960, 6_800_040),
    "24XWR": (32624, 499_980, 9_100_020),
    "35XQA": (32635, 699_960, 8_100_000),
    "53NKG": (32653, 199_980, 700_020),
    "58UFE": (32658, 600_000, 6_000_000),
    "59ULA": (32659, 300_000, 6_100_020),
    "24MVV": (32724, 399_960, 9_500_020),
}
# Squares cut by the edge of a latitude band, by the name that image products carry.
CUT = {"28PCC": "28QCC", "50HMK": "50JMK", "36KUU": "36JUU", "31UCP": "31TCP", "12VVH": "12UVH"}


def test_points_lie_in_the_square_that_geotrans_names():
    renamed = 0
    for latitude, longitude, square in POINTS:
        lat, lon = float(latitude), float(longitude)
        zone = tiles.zone_of(lat, lon)
        epsg = (32600 if lat >= 0 else 32700) + zone
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
        left, bottom = tiles.tile_square(square)
        assert left <= x < left + 100_000, square
        assert bottom <= y < bottom + 100_000, square
        assert tiles.tile_epsg(square) == epsg
        tile = tiles.tile_at(zone, x, y, south=lat < 0)
        assert (tile[:2], tile[3:]) == (square[:2], square[3:])
        assert tiles.tile_square(tile) == (left, bottom)
        renamed += tile != square
    # One square in about twelve is cut, and half of its points have the other band.
    assert renamed < 0.08 * len(POINTS)


@pytest.mark.parametrize("tile", CORNERS)
def test_corners_are_those_of_real_images(tile: str):
    assert (tiles.tile_epsg(tile), *tiles.tile_origin(tile)) == CORNERS[tile]


@pytest.mark.parametrize("tile", CUT)
def test_a_cut_square_has_the_name_that_products_carry(tile: str):
    left, bottom = tiles.tile_square(tile)
    assert tiles.tile_square(CUT[tile]) == (left, bottom)
    assert tiles.tile_at(int(tile[:2]), left, bottom, south=tile[2] < "N") == tile
    x, y = tiles.snap(tile, left + 50_000, bottom + 50_000, 10_240)
    epsg = tiles.tile_epsg(tile)
    assert tiles.lattice_problem(tile, epsg, (x, y), 10_240) is None
    assert tile in str(tiles.lattice_problem(CUT[tile], epsg, (x, y), 10_240))


def test_snapping_stays_on_the_lattice_and_inside():
    left, top = tiles.tile_origin("32TPS")
    for dx in range(0, 110_000, 7_777):
        for dy in range(0, 110_000, 7_777):
            origin = tiles.snap("32TPS", left + dx, top - dy, 10_240)
            assert tiles.lattice_problem("32TPS", 32632, origin, 10_240) is None
            if 10_000 < dx < 98_000:
                assert abs(origin[0] + 5_120 - (left + dx)) <= 2_560


def test_a_square_off_its_tile_is_told_apart():
    left, top = tiles.tile_origin("32TPS")
    good = (left + 5_120, top - 5_120)
    assert "EPSG:32632" in str(tiles.lattice_problem("32TPS", 32633, good, 10_240))
    assert "lattice" in str(tiles.lattice_problem("32TPS", 32632, (good[0] + 10, good[1]), 10_240))
    assert "inside" in str(tiles.lattice_problem("32TPS", 32632, (left, top), 10_240))
    assert "no tile" in str(tiles.lattice_problem("32TIS", 32632, good, 10_240))


@pytest.mark.parametrize(
    ("latitude", "longitude", "zone"),
    [(60.4, 5.3, 32), (78.2, 15.6, 33), (78.0, 22.0, 35), (0.0, 0.0, 31), (-18.0, 179.9, 60)],
)
def test_zones_with_the_exceptions_of_the_north(latitude: float, longitude: float, zone: int):
    assert tiles.zone_of(latitude, longitude) == zone


def items() -> list[tuple[str, tuple[float, ...]]]:
    root = os.environ.get("RSBENCH_TEST_DATA")
    if root is None:
        pytest.skip("RSBENCH_TEST_DATA is not set")
    found = []
    for path in Path(root, "dev/stac").rglob("*.json"):
        value = json.loads(path.read_text())
        for item in value.get("features", [value]) if isinstance(value, dict) else []:
            properties = item.get("properties", {})
            tile = properties.get("s2:mgrs_tile") or properties.get("grid:code", "")[5:]
            assets = item.get("assets", {})
            asset = assets.get("B02") or assets.get("blue") or {}
            if tile and asset.get("proj:transform") and asset["proj:transform"][0] == 10:
                found.append((tile, tuple(asset["proj:transform"])))
    return found


def test_corners_are_those_of_every_recorded_item():
    found = items()
    assert len(found) > 30
    for tile, transform in found:
        assert tiles.tile_origin(tile) == (transform[2], transform[5]), tile
