"""STAC with a wrong value anywhere: refused by name, or read; never another error."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import TILE, random_folder, recipe
from hypothesis import given, settings
from hypothesis import strategies as st

from rsbench.build.kinds.series.search import search_series
from rsbench.build.plan.items import MAX_DEPTH, Item, item_time, read_item, read_page
from rsbench.build.plan.lock import Lock, found_json
from rsbench.build.plan.omissions import LeavingOut
from rsbench.build.plan.outline import inside
from rsbench.build.plan.plan import make_plan
from rsbench.build.plan.search import Query, RegionSearch, _meets, read_or_leave
from rsbench.catalog import Recipe, Sensor, recipe_sensors
from rsbench.core.digest import canonical_json
from rsbench.core.errors import InputError

URL = "https://stac.example.org/v1"
Path_ = tuple[str | int, ...]

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 5, 1e300, 10**30, math.nan, math.inf, -math.inf,
    "", "x", "12", "\ud800", "\0", "a\nb", "http://[::1", "http://h:99999/a", "ftp://h/a",
    "http://" + "a" * 80 + ".org/x", "//", "http:///x", "../../../etc/passwd", "y" * 9000,
    "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2021-13-45",
    [], [None], [[]], [1, 2], ["a"], [math.nan] * 4, [200, 100, -200, -100], [9, 9, 1, 1],
    {}, {"a": None}, {"type": "Polygon"}, {"type": "Polygon", "coordinates": [[1]]},
    {"type": "Polygon", "coordinates": [[["a", "b"]] * 4]}, {"type": []}, [{"rel": 5}],
)  # fmt: skip


def band(name: str) -> dict[str, Any]:
    return {
        "href": f"https://files.example.org/{name}.tif",
        "type": "image/tiff",
        "roles": ["data"],
        "gsd": 10,
        "proj:shape": [10980, 10980],
        "proj:transform": [10, 0, 500000, 0, -10, 5000020],
        "proj:bbox": [500000, 4890220, 609800, 5000020],
        "file:size": 1000,
        "file:checksum": "1220" + "0f" * 32,
        "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": 0}],
    }


def valid() -> dict[str, Any]:
    """An item with every field that is read, as providers write it."""
    ring = [[14.9, 45.1], [15.1, 45.1], [15.1, 45.2], [14.9, 45.2], [14.9, 45.1]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2A_MSIL2A_20210601T100031",
        "collection": "sentinel-2-l2a",
        "bbox": [14.9, 45.1, 15.1, 45.2],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": "2021-06-01T10:00:31.024000Z",
            "start_datetime": "2021-06-01T10:00:31Z",
            "end_datetime": "2021-06-01T10:00:31Z",
            "created": "2021-06-02T00:00:00Z",
            "platform": "Sentinel-2A",
            "eo:cloud_cover": 3.2,
            "proj:epsg": 32633,
            "proj:code": "EPSG:32633",
            "s2:mgrs_tile": TILE,
            "s2:processing_baseline": "03.00",
            "s2:datatake_id": "GS2A_20210601T100031_031043_N03.00",
            "s2:generation_time": "2021-06-02T00:00:00Z",
        },
        "assets": {name: band(name) for name in ("B02", "B03", "SCL")},
        "links": [{"rel": "self", "href": f"{URL}/items/1"}],
    }


def paths(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    if at:
        yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*at, key))


def changed(path: Path_, value: Any) -> dict[str, Any]:
    document = valid()
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = copy.deepcopy(value)
    return document


class One:
    """A catalogue of one document that is checked like those of a provider."""

    url = URL

    def __init__(self, document: Any) -> None:
        self._document = document

    def search(self, query: Query) -> list[Item]:
        item = read_or_leave(self._document, self.url, LeavingOut(frozenset({"x"})))
        return [item] if "_left" in item or _meets(item, query) else []


@cache
def parts() -> tuple[Recipe, tuple[Sensor, ...]]:
    return recipe(), tuple(recipe_sensors(recipe()))


def plan(document: Any) -> None:
    """Search, lock and write what a series makes of the document."""
    asked, sensors = parts()
    catalogues: Any = {"s2": One(document)}
    place: Any = asked.regions[0]
    search = RegionSearch(asked, place, sensors, "planetary-computer", catalogues)
    found = search_series(search, sensors[0])
    canonical_json(found_json({"s2": found})).encode()
    item = read_item(document, URL)
    inside((15.0, 45.15), item)
    item_time(item)


def problem(document: Any) -> str:
    """Return why a document is refused; empty if it is read."""
    try:
        plan(document)
    except InputError as error:
        return str(error)
    return ""


def test_the_item_itself_is_read() -> None:
    plan(valid())
    item = read_item(valid(), URL)
    with pytest.raises(TypeError):
        item["properties"]["datetime"] = ""


def test_a_wrong_value_at_every_place_is_refused_by_name_or_read() -> None:
    refused = 0
    for path in paths(valid()):
        twin = path[:2] in (("assets", "B03"), ("assets", "SCL")) and len(path) > 2
        if twin or any(isinstance(key, int) and key > 1 for key in path):
            continue  # as those of B02, and as the first two of a list
        for value in WRONG:
            said = problem(changed(path, value))
            refused += bool(said)
            assert said.isprintable(), said
    assert refused > 800


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("id",), 5, "id is 5; text is needed"),
        (("properties",), [], "properties is a list; an object is needed"),
        (("assets", "B02", "href"), None, "assets.B02.href is None"),
        (("assets", "B02"), {}, "it has no assets.B02.href"),
        (("assets", "B02", "raster:bands"), "x", "assets.B02.raster:bands is 'x'; a list"),
        (("assets", "B02", "raster:bands", 0, "scale"), "x", "scale is 'x'; a number"),
        (("assets", "B02", "href"), "http://[::1", "assets.B02.href is 'http://[::1'; an address"),
        (("links",), {}, "links is an object; a list is needed"),
        (("bbox",), [9, 9, 1, 1], "the south before the north"),
        (("geometry", "coordinates"), [[1]], "geometry.Polygon.coordinates"),
        (("properties", "eo:cloud_cover"), "3", "properties.eo:cloud_cover is '3'; a number"),
        (("properties", "eo:cloud_cover"), math.nan, "properties.eo:cloud_cover is nan"),
        (("properties", "proj:epsg"), "x", "properties.proj:epsg is 'x'; a whole number"),
        (("properties", "datetime"), "0001-01-01T00:00:00Z", "a date from 1950"),
        (("properties", "datetime"), "9999-12-31T23:59:59Z", "a date from 1950"),
        (("properties", "platform"), "\ud800", "properties.platform is '\\ud800'; Unicode"),
    ],
)
def test_the_message_names_item_field_and_value(path: Path_, value: Any, said: str) -> None:
    with pytest.raises(InputError) as raised:
        plan(changed(path, value))
    assert said in str(raised.value)
    assert path == ("id",) or "S2A_MSIL2A" in str(raised.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_random_json_at_random_places_is_refused_by_name_or_read(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(paths(valid()))))
    assert problem(changed(path, data.draw(JSON))).isprintable()


@pytest.mark.parametrize(
    "page",
    [
        [], None, 5, "x", {"features": {}}, {"features": [None]}, {"features": ["x"]},
        {"features": [], "links": {}}, {"features": [], "links": [None]},
        {"links": [{"rel": "next"}]},
        {"features": [], "numberMatched": "5"}, {"features": [], "context": []},
        {"features": [], "links": [{"rel": "next", "href": URL, "body": []}]},
    ],
)  # fmt: skip
def test_a_page_that_is_none_is_refused(page: Any) -> None:
    with pytest.raises(InputError):
        read_page(page, URL)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", "null", "{", "\xff", '{"type": "Feature", "stac_version": "1.0.0"}',
     '{"type": "Feature", "stac_version": "1.0.0", "id": "\\ud800"}',
     '{"type": "Feature", "stac_version": "1.0.0", "id": ' + "9" * 5000 + "}",
     '{"type": "Feature", "stac_version": "1.0.0", "id": "a", "properties": '
     + '{"a": ' * (MAX_DEPTH + 2) + "1" + "}" * (MAX_DEPTH + 3)],
)  # fmt: skip
def test_a_malformed_file_of_a_folder_is_refused(text: str, tmp_path: Path) -> None:
    root = random_folder(tmp_path)
    victim = sorted(root.rglob("item.json"))[0]
    victim.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as raised:
        make_plan(recipe(), provider=str(root))
    assert "item" in str(raised.value)


def test_links_of_a_folder_that_are_none_are_refused(tmp_path: Path) -> None:
    root = random_folder(tmp_path)
    path = root / "collection.json"
    held = json.loads(path.read_text())
    hrefs = ("a" * 300, "a\0", "./collection.json", "../x.json")
    named = [[{"rel": "item", "href": href}] for href in hrefs]
    for links in (5, [5], [{"rel": "item"}], *named):
        path.write_text(json.dumps(held | {"links": links}))
        with pytest.raises(InputError):
            make_plan(recipe(), provider=str(root))


def test_a_checked_plan_is_the_same_lock(tmp_path: Path) -> None:
    """The check changes nothing: a lock written from checked items reads back as itself."""
    root = random_folder(tmp_path)
    lock = make_plan(recipe(), provider=str(root))
    lock.save(tmp_path / "lock.json")
    assert Lock.load(tmp_path / "lock.json").digest == lock.digest
