"""Whether the outline of an item covers a place, in plane longitude and latitude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rsbench.core.errors import InputError

Point = tuple[float, float]

_POINTS = 9
"""Points along a side at which a place must lie inside an outline."""


def unwrapped(points: Sequence[Point]) -> list[Point]:
    """Return points that lie within 180° of longitude: beyond 180° east of the antimeridian."""
    longitudes = [x for x, _ in points]
    if max(longitudes) - min(longitudes) <= 180:
        return list(points)
    return [(x + 360 if x < 0 else x, y) for x, y in points]


def geometry(points: Sequence[Point]) -> dict[str, Any]:
    """Return an outline as GeoJSON, cut at the antimeridian as RFC 7946 (3.1.9) asks."""
    whole = unwrapped(points)
    longitudes, latitudes = [x for x, _ in whole], [y for _, y in whole]
    if max(longitudes) <= 180:
        return {"type": "Polygon", "coordinates": [[list(point) for point in points]]}
    south, north = min(latitudes), max(latitudes)
    sides = ((min(longitudes), 180.0), (-180.0, max(longitudes) - 360))
    boxes = [[[[w, south], [e, south], [e, north], [w, north], [w, south]]] for w, e in sides]
    return {"type": "MultiPolygon", "coordinates": boxes}


def spread(corners: Sequence[Point]) -> list[Point]:
    """Return points spread over a quadrilateral, its corners among them."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = unwrapped(corners)[:4]
    steps = [i / (_POINTS - 1) for i in range(_POINTS)]
    return [
        (
            (1 - v) * ((1 - u) * ax + u * bx) + v * ((1 - u) * dx + u * cx),
            (1 - v) * ((1 - u) * ay + u * by) + v * ((1 - u) * dy + u * cy),
        )
        for u in steps
        for v in steps
    ]


def covered(points: Iterable[Point], items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every point lies in the outline of some item."""
    return all(any(inside(point, item) for item in items) for point in points)


def inside(point: Point, item: Mapping[str, Any]) -> bool:
    """Whether a point lies in an item's outline; its box where it states no polygon.

    Both may lie at either side of the antimeridian.
    """
    return any(_inside((point[0] + turn, point[1]), item) for turn in (-360, 0, 360))


def _inside(point: Point, item: Mapping[str, Any]) -> bool:
    shape = item.get("geometry") or {}
    if shape.get("type") == "Polygon":
        return _in_ring(point, shape["coordinates"][0])
    if shape.get("type") == "MultiPolygon":
        return any(_in_ring(point, polygon[0]) for polygon in shape["coordinates"])
    box = item.get("bbox")
    if not box:
        raise InputError(
            f"item {item.get('id')}",
            "it states neither a polygon nor a bbox",
            "Correct it, or leave it out of the catalogue",
        )
    half = len(box) // 2
    left, right = box[0], box[half] + (360 if box[0] > box[half] else 0)
    return bool(left <= point[0] <= right and box[1] <= point[1] <= box[half + 1])


def _in_ring(point: Point, ring: Sequence[Sequence[float]]) -> bool:
    x, y = point
    within = False
    ring = unwrapped([(at[0], at[1]) for at in ring])
    for (ax, ay), (bx, by) in pairwise(ring):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            within = not within
    return within
