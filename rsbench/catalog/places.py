"""Regions from a GeoJSON file, snapped to the lattice of the MGRS tiles."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rsbench.catalog import tiles
from rsbench.catalog.loaders import load_regions
from rsbench.catalog.models import Region
from rsbench.core.errors import InputError
from rsbench.core.io import read_json
from rsbench.core.names import folder_fault, twice

GUARD_KM = 50.0
EXTENT_M = 10_240
PATTERN = ("train", "test", "train", "test", "train", "val", "train", "test", "train", "test")
"""Splits of a sorted list of regions, in turn: 50 % train, 10 % val, 40 % test."""
_EARTH_KM = 6371.0088


def load_regions_geojson(path: str | Path) -> tuple[Region, ...]:
    """Return one region per feature of a GeoJSON ``FeatureCollection`` in longitude, latitude.

    A region is centred at the point of a feature, or at the centre of its bounding box. The
    property ``name`` is required, ``split`` is optional. Regions without ``split`` get that of the
    catalogue regions within 50 km. Other regions are grouped by distances below 50 km; the groups,
    sorted by the digest of their first name, get splits in turn.

    Raises:
        InputError: if the file is malformed, no tile contains a region, or regions within 50 km
            have different splits.
    """
    path = Path(path)
    places = [_place(path, i, feature) for i, feature in enumerate(_features(path))]
    names = [name for name, _, _ in places]
    if again := twice(names):
        raise _problem(path, f"the name {again!r} is used twice", "Rename one")
    centres = [centre for _, centre, _ in places]
    splits = _splits(path, names, centres, [split for _, _, split in places])
    return tuple(
        _region(path, name, centre, split)
        for name, centre, split in zip(names, centres, splits, strict=True)
    )


def _problem(path: Path, found: str, remedy: str) -> InputError:
    return InputError(f"reading places from {path}", found, remedy)


def _features(path: Path) -> list[Any]:
    features = read_json(path, f"reading places from {path}", "Check the file").get("features")
    if not isinstance(features, list) or not features:
        raise _problem(path, "it has no features", "Write a GeoJSON FeatureCollection")
    return features


def _place(path: Path, i: int, feature: Any) -> tuple[str, tuple[float, float], str | None]:
    """Return name, (latitude, longitude) and the stated split of a feature."""
    properties, geometry = (_part(feature, part) for part in ("properties", "geometry"))
    name, split = properties.get("name"), properties.get("split")
    where = f"feature {i + 1}"
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        remedy = "Give it letters, digits, '_', '.' and '-', as in Delft_Netherlands"
        raise _problem(path, f"{where} has the name {name!r}", remedy)
    if fault := folder_fault(name):
        raise _problem(path, f"{where} has the name {name!r}: {fault}", "Rename it")
    if split not in (None, "train", "val", "test"):
        raise _problem(path, f"{name} has the split {split!r}", "Write train, val or test")
    points = _positions(geometry.get("coordinates"))
    if not points:
        raise _problem(path, f"{name} has no coordinates", "Give it a point or a polygon")
    longitudes = [longitude for longitude, _ in points]
    if max(longitudes) - min(longitudes) > 180.0:
        found = f"{name} spans more than 180° of longitude, or crosses the antimeridian"
        raise _problem(path, found, "Give it a point, or a polygon on one side")
    longitude, latitude = ((min(axis) + max(axis)) / 2 for axis in zip(*points, strict=True))
    if not (-180.0 <= longitude <= 180.0 and -80.0 <= latitude < 84.0):
        found = f"{name} lies at longitude {longitude}, latitude {latitude}"
        raise _problem(path, found, "Write degrees, longitude first, between 80° S and 84° N")
    return name, (latitude, longitude), split


def _part(feature: Any, name: str) -> dict[str, Any]:
    """Return an object inside a feature; empty where there is none."""
    value = feature.get(name) if isinstance(feature, dict) else None
    return value if isinstance(value, dict) else {}


def _positions(value: Any, depth: int = 0) -> list[tuple[float, float]]:
    """Return the finite positions in nested lists, which GeoJSON nests four deep at most."""
    if not isinstance(value, list) or depth > 4:
        return []
    if len(value) >= 2 and all(type(v) in (int, float) for v in value):
        finite = all(abs(v) <= 1e6 for v in value[:2])
        return [(float(value[0]), float(value[1]))] if finite else [(math.inf, math.inf)]
    return [point for part in value for point in _positions(part, depth + 1)]


def _region(path: Path, name: str, centre: tuple[float, float], split: str) -> Region:
    """Return the region in the tile where snapping moves the square least."""
    latitude, longitude = centre
    zone = tiles.zone_of(latitude, longitude)
    easting, northing = _projection(latitude, zone)(longitude, latitude)
    best: tuple[float, str, tuple[int, int]] | None = None
    # A tile overlaps its southern and eastern neighbours by 9.8 km.
    for west, north in ((0, 0), (9_000, 0), (0, 9_000), (9_000, 9_000)):
        try:
            tile = tiles.tile_at(zone, easting - west, northing + north, south=latitude < 0)
            origin = tiles.snap(tile, easting, northing, EXTENT_M)
        except ValueError:
            continue
        moved = math.hypot(origin[0] + EXTENT_M / 2 - easting, origin[1] - EXTENT_M / 2 - northing)
        if tiles.lattice_problem(tile, tiles.tile_epsg(tile), origin, EXTENT_M) is None and (
            best is None or moved < best[0] - 1.0
        ):
            best = moved, tile, origin
    if best is None or best[0] > EXTENT_M:
        raise _problem(path, f"no tile holds a square around {name}", "Move it by a few km")
    _, tile, origin = best
    return Region.model_validate(
        {
            "name": name,
            "epsg": tiles.tile_epsg(tile),
            "tile": tile,
            "origin": origin,
            "split": split,
        }
    )


def _projection(latitude: float, zone: int) -> Callable[[float, float], tuple[float, float]]:
    from pyproj import Transformer

    epsg = (32600 if latitude >= 0 else 32700) + zone
    transform = Transformer.from_crs(4326, epsg, always_xy=True).transform
    return lambda longitude, latitude: transform(longitude, latitude)


def centre(region: Region) -> tuple[float, float]:
    """Return latitude and longitude (degrees) of a region's centre."""
    from pyproj import Transformer

    half = region.size * region.gsd / 2
    x, y = region.origin[0] + half, region.origin[1] - half
    longitude, latitude = Transformer.from_crs(region.epsg, 4326, always_xy=True).transform(x, y)
    return float(latitude), float(longitude)


def distance_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the great-circle distance in km of two points (latitude, longitude) in degrees."""
    (p, q), (r, s) = ((math.radians(v) for v in place) for place in (a, b))
    h = math.sin((r - p) / 2) ** 2 + math.cos(p) * math.cos(r) * math.sin((s - q) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(h)))


def _splits(
    path: Path,
    names: Sequence[str],
    centres: Sequence[tuple[float, float]],
    stated: Sequence[str | None],
) -> list[str]:
    # The diagonal is added because squares may be nearest at their corners.
    reach = GUARD_KM + EXTENT_M * math.sqrt(2) / 1000
    anchors = [(centre(region), str(region.split)) for region in load_regions()]
    groups = _groups(centres, reach)
    fixed: dict[int, str] = {}
    for k, group in enumerate(groups):
        known = {stated[i] for i in group} - {None}
        near = {s for c, s in anchors for i in group if distance_km(c, centres[i]) < reach}
        if len(known | near) > 1:
            found = (
                f"{', '.join(names[i] for i in group)} and the catalogue's regions within "
                f"{GUARD_KM:.0f} km are in different splits"
            )
            raise _problem(path, found, "Give neighbours the same split, or none")
        fixed.update((i, str(s)) for i in group for s in known | near)
        groups[k] = [] if known | near else group
    free = sorted((g for g in groups if g), key=lambda g: _digest(min(names[i] for i in g)))
    for k, group in enumerate(free):
        fixed.update((i, PATTERN[k % len(PATTERN)]) for i in group)
    return [fixed[i] for i in range(len(names))]


def _groups(centres: Sequence[tuple[float, float]], reach: float) -> list[list[int]]:
    """Return groups of indices, linked by distances below ``reach`` km."""
    groups: list[list[int]] = []
    for i, place in enumerate(centres):
        linked = [g for g in groups if any(distance_km(place, centres[j]) < reach for j in g)]
        groups = [g for g in groups if g not in linked]
        groups.append([*(j for g in linked for j in g), i])
    return groups


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
