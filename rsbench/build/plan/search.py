"""Search a catalogue: a STAC API through pystac-client, or a folder of static STAC JSON.

A search that loses or repeats a page is repeated, and refused if it fails again: a lock made from
it would hold too few scenes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rsbench.build.plan.omissions import NOTHING, LeavingOut, Omissions
from rsbench.build.plan.outline import geometry, unwrapped
from rsbench.catalog import Recipe, Region, Sensor
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

Item = dict[str, Any]

PAGE = 250
TRIES = 3
TIMEOUT = 60.0
_MAX_ITEMS = 50_000
_MAX_JSON = 64 << 20


@dataclass(frozen=True, slots=True)
class Query:
    """One search: collection, region outline (WGS84), years, further conditions.

    Items of the ids in ``exclude`` are returned unchecked, so that they can be counted. With
    ``repeats``, items that came twice are returned and marked by the key ``_twice``.
    """

    collection: str
    outline: tuple[tuple[float, float], ...]
    years: tuple[int, int]
    conditions: Mapping[str, Any]
    exclude: frozenset[str] = frozenset()
    repeats: bool = False


def outline(grid: Grid) -> tuple[tuple[float, float], ...]:
    """Return the corners of a grid as longitude and latitude, anticlockwise and closed."""
    from pyproj import Transformer

    a, _, c, _, e, f = grid.transform
    right, bottom = c + a * grid.width, f + e * grid.height
    corners = ((c, bottom), (right, bottom), (right, f), (c, f), (c, bottom))
    to_wgs84 = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    points = (to_wgs84.transform(x, y) for x, y in corners)
    return tuple((round(float(lon), 7), round(float(lat), 7)) for lon, lat in points)


def item_time(item: Mapping[str, Any]) -> datetime:
    """Return an item's time in UTC; of a composite, which has none, its start."""
    properties = item.get("properties", {})
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        value = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError as error:
        raise InputError(
            f"the time of item {item.get('id')}",
            f"neither datetime nor start_datetime can be read ({text!r})",
            f"Leave it out with --exclude {item.get('id')}",
        ) from error
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class ApiCatalogue:
    """A STAC API, reached with retries that cover POST, 429 and 503 with Retry-After."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client: Any = None
        self._guard: Any = None
        self._opening = threading.Lock()

    def search(self, query: Query) -> list[Item]:
        """Return all items of a query, sorted by id, each with the address to resolve links."""
        for attempt in range(1, TRIES + 1):
            found = self._pages(query)
            if found.problem is None or (attempt == TRIES and found.counted):
                return [found.items[key] for key in sorted(found.items)]
            if attempt == TRIES and query.repeats and found.only_repeats:
                marks = {key: {"_twice": True} for key in found.twice}
                return [found.items[k] | marks.get(k, {}) for k in sorted(found.items)]
        raise InputError(
            f"searching {query.collection} at {self.url}",
            f"{found.problem}, {TRIES} times",
            "Try again later; an incomplete search is never used. Items that come twice can be "
            "left out with --exclude ITEM_ID or --allow-incomplete",
        )

    def _pages(self, query: Query) -> _Found:
        from pystac_client.exceptions import APIError
        from requests.exceptions import RequestException

        found = _Found(query.exclude)
        try:
            search = self._open().search(
                collections=[query.collection],
                intersects=geometry(query.outline),
                datetime=f"{query.years[0]}-01-01T00:00:00Z/{query.years[1]}-12-31T23:59:59Z",
                query=dict(query.conditions) or None,
                limit=PAGE,
            )
            for page in search.pages_as_dicts():
                if not found.add(page, self.url):
                    break
        except InputError:
            raise
        except (APIError, RequestException, ValueError, KeyError, TypeError) as error:
            refused = self._guard and self._guard.refused
            raise refused or _unreachable(self.url, error) from None
        found.close()
        return found

    def _open(self) -> Any:
        with self._opening:
            if self._client is None:
                self._client = self._opened()
            return self._client

    def _opened(self) -> Any:
        from pystac_client import Client
        from pystac_client.stac_api_io import StacApiIO
        from urllib3 import Retry

        from rsbench.build.plan.http import Guarded

        retry = Retry(
            total=5,
            connect=2,  # an unreachable host is reported within seconds
            backoff_factor=0.5,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            respect_retry_after_header=True,
        )
        self._guard = Guarded(self.url, max_retries=retry)
        stac_io = StacApiIO(timeout=TIMEOUT)
        for scheme in ("http://", "https://"):
            stac_io.session.mount(scheme, self._guard)
        return Client.open(self.url, stac_io=stac_io)


class _Found:
    """Items of one paged search, and the problem with its pages.

    ``exclude``: ids of items that may come twice, since they are left out.
    """

    def __init__(self, exclude: frozenset[str] = frozenset()) -> None:
        self._exclude = exclude
        self._spare = 0
        self.twice: set[str] = set()
        self.only_repeats = False
        self.items: dict[str, Item] = {}
        self.problem: str | None = None
        self.counted = False
        self._matched: int | None = None
        self._cut = False

    def add(self, page: Mapping[str, Any], url: str) -> bool:
        """Add one page; return False if it holds nothing new, which ends a loop of pages."""
        matched = page.get("numberMatched", page.get("context", {}).get("matched"))
        if matched is not None:
            self._matched = int(matched)
        before = len(self.items)
        features = page.get("features", ())
        links = [link.get("rel") for link in page.get("links", ())]
        self._cut = len(features) >= PAGE and "next" not in links
        for item in features:
            if item["id"] in self.items:
                self._spare += item["id"] in self._exclude
                self.twice |= {item["id"]} - self._exclude
            self.items[item["id"]] = {**item, "_url": _self_link(item) or url}
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


def _self_link(item: Mapping[str, Any]) -> str | None:
    for link in item.get("links", ()):
        if link.get("rel") == "self":
            return str(link.get("href"))
    return None


def _unreachable(url: str, error: Exception) -> OSError:
    # The error's text may hold a signed address, so the message has its type only.
    shown = urlsplit(url)
    status = getattr(error, "status_code", None)
    return OSError(
        f"the catalogue {shown.scheme}://{shown.netloc}{shown.path} cannot be searched: "
        f"{type(error).__name__}{f' {status}' if status else ''}"
    )


class FolderCatalogue:
    """A folder of static STAC JSON; links that lead out of the folder are refused."""

    what = "the folder"

    def __init__(self, root: Path) -> None:
        self.url = str(root)
        self._root = root.resolve()
        self._items: list[Item] | None = None

    def search(self, query: Query) -> list[Item]:
        """Return the items of a query, sorted by id; its conditions are not applied."""
        found: dict[str, Item] = {}
        for item in self._all():
            if item.get("collection") not in (None, query.collection):
                continue
            if item.get("id") in query.exclude:
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
        while queue:
            path = queue.pop(0)
            if path in seen:
                continue
            seen.add(path)
            document = self._read(path)
            if document.get("type") == "Feature" and "stac_version" in document:
                yield {**document, "_url": str(path)}
            for link in document.get("links") or ():
                if link.get("rel") in ("child", "item"):
                    queue.append(self._follow(path, str(link["href"])))

    def _follow(self, base: Path, href: str) -> Path:
        target = (base.parent / href).resolve()
        if not target.is_file():
            target = (base.parent / unquote(href)).resolve()
        if "://" in href or not target.is_relative_to(self._root) or not target.is_file():
            raise InputError(
                f"the link {href} in {base.relative_to(self._root)}",
                "it leads to no file inside the folder",
                "Keep the whole catalogue in one folder",
            )
        return target

    def _read(self, path: Path) -> Item:
        if path.stat().st_size > _MAX_JSON:
            raise InputError(f"reading {path}", "it is larger than 64 MiB", "Split the catalogue")
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"reading {path}", "it is no JSON", "Repair or remove it") from error
        return value if isinstance(value, dict) else {}


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
