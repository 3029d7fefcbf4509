"""Whether the outline of an item covers a place, in plane longitude and latitude."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rsbench.core.errors import InputError

Point = tuple[float, float]

_POINTS = 9
"""Points along a side at which a place must lie inside an outline."""


def spread(corners: Sequence[Point]) -> list[Point]:
    """Return points spread over a quadrilateral, its corners among them."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners[:4]
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
    """Whether a point lies in an item's outline; its box where it states no polygon."""
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
    return bool(box[0] <= point[0] <= box[half] and box[1] <= point[1] <= box[half + 1])


def _in_ring(point: Point, ring: Sequence[Sequence[float]]) -> bool:
    x, y = point
    within = False
    for (ax, ay, *_), (bx, by, *_) in pairwise(ring):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            within = not within
    return within
