"""Item search over STAC items in memory: the filters and the order, no network."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

from rsbench.core.errors import InputError

Item = Mapping[str, Any]
Point = tuple[float, float]
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_KNOWN = {
    "bbox", "intersects", "datetime", "ids", "collections", "query", "sortby", "limit", "token"
}  # fmt: skip


def _bad(asked: str, found: str, remedy: str) -> InputError:
    return InputError(f"item search: {asked}", found, remedy)


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 instant; a time without an offset is UTC."""
    tidy = re.sub(r"(\.\d{6})\d+", r"\1", text.strip()).replace("z", "Z").replace("Z", "+00:00")
    try:
        value = datetime.fromisoformat(tidy)
    except ValueError as error:
        raise _bad(
            f"datetime {text!r}", "this is no RFC 3339 time", "Write 2020-01-31T00:00:00Z"
        ) from error
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def parse_interval(text: str) -> tuple[datetime, datetime]:
    """Read ``instant``, ``a/b``, ``../b`` or ``a/..`` into inclusive limits."""
    parts = text.split("/")
    if len(parts) > 2:
        raise _bad(f"datetime {text!r}", "there is more than one '/'", "Write from/to")
    if len(parts) == 1:
        instant = parse_instant(parts[0])
        return instant, instant
    low, high = (None if p in ("", "..") else parse_instant(p) for p in parts)
    if low is None and high is None:
        raise _bad(f"datetime {text!r}", "both ends are open", "Give at least one end")
    if low is not None and high is not None and low > high:
        raise _bad(f"datetime {text!r}", "the interval ends before it begins", "Swap the ends")
    return low or _FIRST, high or _LAST


def item_span(item: Item) -> tuple[datetime, datetime]:
    """Return first and last instant of an item; composites have no single ``datetime``."""
    properties = item["properties"]
    moment = properties.get("datetime")
    first = properties.get("start_datetime") or moment
    last = properties.get("end_datetime") or moment
    return parse_instant(first), parse_instant(last)


# How deep a geometry nests its lines; a point is a line of one point.
_DEPTH = {
    "Point": 0, "MultiPoint": 0, "LineString": 1, "MultiLineString": 2, "Polygon": 2,
    "MultiPolygon": 3,
}  # fmt: skip


def _rings(geometry: Mapping[str, Any]) -> list[list[Point]]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        return [ring for part in geometry["geometries"] for ring in _rings(part)]
    depth = _DEPTH.get(str(kind))
    if depth is None or coordinates is None:
        raise _bad("intersects", f"{kind!r} is no GeoJSON geometry", "Give a GeoJSON geometry")
    rings: list[Any] = [coordinates]
    if kind == "Point":
        rings = [[coordinates]]
    elif kind == "MultiPoint":
        rings = [[point] for point in coordinates]
    for _ in range(depth - 1):
        rings = [ring for part in rings for ring in part]
    return [[(float(p[0]), float(p[1])) for p in ring] for ring in rings]


def _inside(point: Point, rings: Sequence[Sequence[Point]]) -> bool:
    """Even–odd rule over all rings, so holes and several polygons need no case of their own."""
    x, y = point
    odd = False
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                odd = not odd
    return odd


def _side(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    overlap = all(
        max(min(a[i], b[i]), min(c[i], d[i])) <= min(max(a[i], b[i]), max(c[i], d[i]))
        for i in (0, 1)
    )
    return overlap and _side(a, b, c) * _side(a, b, d) <= 0 and _side(c, d, a) * _side(c, d, b) <= 0


def intersects(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two GeoJSON geometries meet, in plane longitude and latitude."""
    a, b = _rings(one), _rings(other)
    if any(_inside(ring[0], b) for ring in a) or any(_inside(ring[0], a) for ring in b):
        return True
    edges = [list(zip(r, r[1:] or r, strict=False)) for r in b]
    return any(
        _cross(p, q, u, v)
        for ring in a
        for p, q in zip(ring, ring[1:] or ring, strict=False)
        for other_ring in edges
        for u, v in other_ring
    )


def _box_overlap(item: Item, box: Sequence[float]) -> bool:
    west, south, east, north = box
    w, s, e, n = _flat(item["bbox"])
    if north < s or south > n:
        return False
    if west > east:  # the box crosses the antimeridian
        return e >= west or w <= east
    return w <= east and e >= west


def _flat(box: Sequence[float]) -> tuple[float, float, float, float]:
    if len(box) not in (4, 6):
        raise _bad("bbox", f"{len(box)} numbers", "Give west,south,east,north")
    half = len(box) // 2
    west, south, east, north = float(box[0]), float(box[1]), float(box[half]), float(box[half + 1])
    if south > north:
        raise _bad("bbox", "south lies north of north", "Give west,south,east,north")
    return west, south, east, north


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "in": lambda a, b: a in b,
    "startsWith": lambda a, b: str(a).startswith(b),
    "endsWith": lambda a, b: str(a).endswith(b),
    "contains": lambda a, b: b in str(a),
}


def _satisfies(item: Item, query: Mapping[str, Any]) -> bool:
    for name, conditions in query.items():
        value = item["properties"].get(name.removeprefix("properties."))
        for operator, wanted in conditions.items():
            if operator not in _OPERATORS:
                raise _bad(
                    f"query on {name}",
                    f"the operator {operator!r} is not known",
                    f"Known: {', '.join(_OPERATORS)}",
                )
            # An item without the property answers no condition but "is not".
            if value is None and operator != "neq":
                return False
            try:
                if not _OPERATORS[operator](value, wanted):
                    return False
            except TypeError:
                return False
    return True


def _sort_key(field: str, item: Item) -> tuple[bool, Any]:
    if field in ("id", "collection"):
        return False, item[field]
    value = item["properties"].get(field.removeprefix("properties."))
    return value is None, value if value is not None else ""


def _ordered(items: Iterable[Item], sortby: Sequence[Mapping[str, str]]) -> list[Item]:
    found = sorted(items, key=lambda item: item["id"])
    rules = sortby or [{"field": "datetime", "direction": "desc"}]
    for rule in reversed(rules):  # stable sorts, last rule first
        down = rule.get("direction", "asc") == "desc"
        found.sort(key=partial(_sort_key, rule["field"]), reverse=down)
    return found


def search(items: Sequence[Item], request: Mapping[str, Any]) -> list[Item]:
    """Return all items that a STAC item-search request (POST form) asks for, in order.

    Understood: bbox, intersects, datetime, ids, collections, query, sortby. What is not
    understood is refused: a filter that is silently ignored gives wrong data.
    """
    unknown = sorted(set(request) - _KNOWN)
    if unknown:
        raise _bad(", ".join(unknown), "not understood here", f"Known: {', '.join(sorted(_KNOWN))}")
    if request.get("bbox") and request.get("intersects"):
        raise _bad("bbox and intersects", "both are given", "Give one of them")
    tests: list[Callable[[Item], bool]] = []
    if request.get("ids"):
        wanted_ids = set(request["ids"])
        tests.append(lambda item: item["id"] in wanted_ids)
    if request.get("collections"):
        wanted = set(request["collections"])
        tests.append(lambda item: item["collection"] in wanted)
    if request.get("datetime"):
        low, high = parse_interval(request["datetime"])
        tests.append(lambda item: item_span(item)[0] <= high and item_span(item)[1] >= low)
    if request.get("bbox"):
        box = _flat(request["bbox"])
        tests.append(lambda item: _box_overlap(item, box))
    if request.get("intersects"):
        shape = request["intersects"]
        _rings(shape)
        tests.append(lambda item: intersects(item["geometry"], shape))
    if request.get("query"):
        query = request["query"]
        tests.append(lambda item: _satisfies(item, query))
    return _ordered((i for i in items if all(t(i) for t in tests)), request.get("sortby") or ())
