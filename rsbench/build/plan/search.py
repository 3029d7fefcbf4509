"""Search a catalogue: a STAC API through pystac-client, or a folder of static STAC JSON.

A search that loses or repeats a page is repeated, and refused if it fails again: a lock made from
it would hold too few scenes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rsbench.build.plan.href import shown
from rsbench.build.plan.items import (
    Item,
    item_time,
    links_of,
    read_item,
    read_json_text,
    read_page,
)
from rsbench.build.plan.omissions import EXCLUDED, NOTHING, LeavingOut, Omissions
from rsbench.build.plan.outline import geometry, unwrapped
from rsbench.catalog import Recipe, Region, Sensor
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

if TYPE_CHECKING:
    from rsbench.build.plan.http import SearchState

__all__ = [
    "ApiCatalogue",
    "Catalogue",
    "FolderCatalogue",
    "Item",
    "Query",
    "RegionSearch",
    "item_time",
    "outline",
]

PAGE = 250
TRIES = 3
_MAX_ITEMS = 50_000
_MAX_JSON = 64 << 20


@dataclass(frozen=True, slots=True)
class Query:
    """One search: collection, region outline (WGS84), years, further conditions."""

    collection: str
    outline: tuple[tuple[float, float], ...]
    years: tuple[int, int]
    conditions: Mapping[str, Any]


def outline(grid: Grid) -> tuple[tuple[float, float], ...]:
    """Return the corners of a grid as longitude and latitude, anticlockwise and closed."""
    a, _, c, _, e, f = grid.transform
    right, bottom = c + a * grid.width, f + e * grid.height
    corners = ((c, bottom), (right, bottom), (right, f), (c, f), (c, bottom))
    points = (_to_wgs84(grid.crs).transform(x, y) for x, y in corners)
    return tuple((round(float(lon), 7), round(float(lat), 7)) for lon, lat in points)


@cache
def _to_wgs84(crs: str) -> Any:
    from pyproj import Transformer

    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


class ApiCatalogue:
    """A STAC API, reached with retries that cover POST, 429 and 503 with Retry-After.

    ``leaving``: which of its items may be left out.
    """

    def __init__(self, url: str, leaving: LeavingOut = NOTHING) -> None:
        self.url = url
        self._leaving = leaving
        self._client: Any = None
        self._state: SearchState | None = None
        self._opening = threading.Lock()

    def search(self, query: Query) -> list[Item]:
        """Return all items of a query, sorted by id, each with the address to resolve links.

        Items that are left out are among them, as :func:`left_out` returns them.

        Raises:
            OSError: if the catalogue cannot be reached.
            InputError: if it answers too late, or with what is no STAC.
        """
        from rsbench.build.plan.http import SearchState

        with self._opening:
            self._state = self._state or SearchState()
        self._state.begin()
        for attempt in range(1, TRIES + 1):
            found = self._pages(query, self._state)
            if found.problem is None or (attempt == TRIES and found.counted):
                return [found.items[key] for key in sorted(found.items)]
            if attempt == TRIES and self._leaving.incomplete and found.only_repeats:
                reason = "it came twice in the answer"
                return [
                    left_out(found.items[key], reason) if key in found.twice else found.items[key]
                    for key in sorted(found.items)
                ]
        raise InputError(
            f"searching {query.collection} at {self.url}",
            f"{found.problem}, {TRIES} times",
            "Try again later; an incomplete search is never used. Items that come twice can be "
            "left out with --exclude ITEM_ID or --allow-incomplete",
        )

    def _pages(self, query: Query, state: SearchState) -> _Found:
        from pystac_client.exceptions import APIError
        from requests.exceptions import RequestException

        found = _Found(self._leaving)
        try:
            for page in self._open(state).search(**_parameters(query)).pages_as_dicts():
                state.require_time(f"searching {query.collection} at {shown(self.url)}")
                if not found.add(page, self.url):
                    break
        except InputError:
            raise
        except (APIError, RequestException) as error:
            raise state.refused or _unreachable(self.url, error) from None
        except Exception as error:  # noqa: BLE001 - pystac raises any type where STAC is malformed
            raise state.refused or InputError(
                f"searching {query.collection}",
                f"the catalogue {shown(self.url)} cannot be searched: its answer is no STAC "
                f"({type(error).__name__})",
                "Try again later, or give the address of a STAC API",
            ) from None
        found.close()
        return found

    def _open(self, state: SearchState) -> Any:
        with self._opening:
            if self._client is None:
                from pystac_client import Client

                from rsbench.build.plan.http import CheckedIO

                self._client = Client.open(self.url, stac_io=CheckedIO(self.url, state))
            return self._client


def _parameters(query: Query) -> dict[str, Any]:
    """Return the parameters of a search for pystac-client."""
    return {
        "collections": [query.collection],
        "intersects": geometry(query.outline),
        "datetime": f"{query.years[0]}-01-01T00:00:00Z/{query.years[1]}-12-31T23:59:59Z",
        "query": dict(query.conditions) or None,
        "limit": PAGE,
    }


class _Found:
    """Items of one paged search, and the problem with its pages.

    Excluded items may come twice.
    """

    def __init__(self, leaving: LeavingOut = NOTHING) -> None:
        self._leaving = leaving
        self._spare = 0
        self.twice: set[str] = set()
        self.only_repeats = False
        self.items: dict[str, Item] = {}
        self.problem: str | None = None
        self.counted = False
        self._matched: int | None = None
        self._cut = False

    def add(self, page: Any, url: str) -> bool:
        """Add one page; return False if it holds nothing new, which ends a loop of pages."""
        features, matched, follows = read_page(page, url)
        if matched is not None:
            self._matched = matched
        before = len(self.items)
        self._cut = len(features) >= PAGE and not follows
        for document in features:
            item = read_or_leave(document, url, self._leaving)
            if item["id"] in self.items:
                self._spare += item["id"] in self._leaving.exclude
                self.twice |= {item["id"]} - self._leaving.exclude
            self.items[item["id"]] = item
        if features and len(self.items) == before:
            self.problem = "a page came a second time"
            return False
        if len(self.items) > _MAX_ITEMS:
            raise InputError(
                f"searching {url}", f"more than {_MAX_ITEMS} items for one region", "Ask for less"
            )
        return True

    def close(self) -> None:
        count = len(self.items)
        if self._matched is not None and self._matched not in (count, count + self._spare):
            self.problem = f"the catalogue counts {self._matched} items and gave {count}"
        elif self._cut and self._matched is None:
            self.problem = f"a full page of {PAGE} items names no next one, so some may be missing"
        elif self.twice and self.problem is None:
            self.only_repeats = True
            self.problem = f"{len(self.twice)} items came twice ({min(self.twice)} first)"
            # Complete by the catalogue's own count.
            self.counted = self._matched == count


def _unreachable(url: str, error: Exception) -> OSError:
    # The error's text may hold a signed address, so the message has its type only.
    status = getattr(error, "status_code", None)
    return OSError(
        f"the catalogue {shown(url)} cannot be searched: "
        f"{type(error).__name__}{f' {status}' if status else ''}"
    )


class FolderCatalogue:
    """A folder of static STAC JSON; links that lead out of the folder are refused.

    ``leaving``: which of its items may be left out.
    """

    what = "the folder"

    def __init__(self, root: Path, leaving: LeavingOut = NOTHING) -> None:
        self.url = str(root)
        self._leaving = leaving
        self._root = root.resolve()
        self._items: list[Item] | None = None

    def search(self, query: Query) -> list[Item]:
        """Return the items of a query, sorted by id; its conditions are not applied.

        Items that are left out are among them, as :func:`left_out` returns them.
        """
        found: dict[str, Item] = {}
        for item in self._all():
            if item.get("collection") not in (None, query.collection):
                continue
            if "_left" in item:
                found[item["id"]] = item
            elif query.years[0] <= item_time(item).year <= query.years[1] and _meets(item, query):
                if item["id"] in found:
                    raise InputError(
                        f"{self.what} {self.url}",
                        f"two items have the id {item['id']}",
                        "Keep one of them",
                    )
                found[item["id"]] = item
        return [found[key] for key in sorted(found)]

    def _all(self) -> list[Item]:
        if self._items is None:
            self._items = list(self._walk())
            if not self._items:
                raise InputError(
                    f"{self.what} {self.url}", "it holds no STAC items", "Give another --provider"
                )
        return self._items

    def _walk(self) -> Iterator[Item]:
        starts = [p for n in ("catalog.json", "collection.json") if (p := self._root / n).is_file()]
        yield from self._walk_from(starts[:1] or sorted(self._root.rglob("*.json")))

    def _walk_from(self, queue: list[Path]) -> Iterator[Item]:
        seen: set[Path] = set()
        items: set[Path] = set()
        while queue:
            path = queue.pop(0)
            if path in seen:
                continue
            seen.add(path)
            document = self._read(path)
            if document.get("type") == "Feature" and "stac_version" in document:
                yield read_or_leave(document, str(path), self._leaving)
            elif path in items:
                raise InputError(f"reading {path}", "it is no STAC item", "Repair the link to it")
            for rel, href in links_of(document, f"reading {path}"):
                if rel in ("child", "item"):
                    queue.append(self._follow(path, href))
                    items.update(queue[-1:] if rel == "item" else ())

    def _follow(self, base: Path, href: str) -> Path:
        try:
            target = (base.parent / href).resolve()
            if not target.is_file():
                target = (base.parent / unquote(href)).resolve()
            inside = target.is_relative_to(self._root) and target.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = False
        if "://" in href or not inside:
            raise InputError(
                f"the link {shown(href)} in {base.relative_to(self._root)}",
                "it leads to no file inside the folder",
                "Keep the whole catalogue in one folder",
            )
        return target

    def _read(self, path: Path) -> dict[str, Any]:
        asked = f"reading {path}"
        try:
            if path.stat().st_size > _MAX_JSON:
                raise InputError(asked, "it is larger than 64 MiB", "Split the catalogue")
            value = read_json_text(path.read_bytes(), asked)
        except OSError as error:
            raise InputError(asked, f"it cannot be read ({error.strerror})", "Repair it") from error
        return value if isinstance(value, dict) else {}


def read_or_leave(document: Any, url: str, leaving: LeavingOut) -> Item:
    """Return a checked item, or what stands for one that is left out: see :func:`left_out`.

    Raises:
        InputError: if it is malformed and may not be left out.
    """
    name = document.get("id") if isinstance(document, Mapping) else None
    if isinstance(name, str) and name in leaving.exclude:
        return left_out(document, EXCLUDED)
    try:
        return read_item(document, url)
    except InputError as error:
        if not (isinstance(name, str) and name and name.isprintable()):
            raise
        if leaving.incomplete:
            return left_out(document, error.found)
        raise InputError(
            error.asked, error.found, f"{error.remedy}; or leave it out: --exclude {name}"
        ) from error


def left_out(document: Mapping[str, Any], reason: str) -> Item:
    """Return what stands for an item that is left out: id, collection, reason under ``_left``.

    The collection is absent where the item states none that is text.
    """
    kept = {"id": document["id"], "_left": reason}
    collection = document.get("collection")
    return {**kept, "collection": collection} if isinstance(collection, str) else kept


def without_left(items: Iterable[Item], name: str, omitted: Omissions) -> list[Item]:
    """Return items without those that are left out, which are counted in ``omitted``.

    Args:
        items: as a catalogue returns them.
        name: the sensor or label set that they are of.
        omitted: of the region that is searched.
    """
    kept = []
    for item in items:
        if "_left" in item:
            omitted.add(name, item["_left"], [item["id"]])
        else:
            kept.append(item)
    return kept


Catalogue = ApiCatalogue | FolderCatalogue


@dataclass(frozen=True, slots=True)
class RegionSearch:
    """The search of one region for a recipe.

    ``key``: name of the sensors' provider entry. ``catalogues``: sensor → where its items are.
    ``leaving``: what may be left out; ``omitted`` collects what is.
    """

    recipe: Recipe
    region: Region
    sensors: Sequence[Sensor]
    key: str
    catalogues: Mapping[str, Catalogue]
    leaving: LeavingOut = NOTHING
    omitted: Omissions = field(default_factory=Omissions)

    def sensor(self, name: str) -> Sensor:
        """Return one of the sensors."""
        return next(sensor for sensor in self.sensors if sensor.name == name)


def _meets(item: Mapping[str, Any], query: Query) -> bool:
    box = item.get("bbox")
    if not box:
        return True
    half = len(box) // 2
    left, right = box[0], box[half]
    if left > right:  # the box crosses the antimeridian
        right += 360
    place = unwrapped(query.outline)
    west, east = _span(place, 0)
    south, north = _span(place, 1)
    beside = any(left + turn <= east and right + turn >= west for turn in (-360, 0, 360))
    return bool(beside and box[1] <= north and box[half + 1] >= south)


def _span(points: Sequence[tuple[float, float]], axis: int) -> tuple[float, float]:
    values = [point[axis] for point in points]
    return min(values), max(values)
