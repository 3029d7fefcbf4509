"""The loopback server answers the real client, keeps connections in step, and stays in its root."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pystac_client import Client
from pystac_client.exceptions import APIError
from support import stac_server as server
from support.stac_search import intersects, search
from support.stac_server import Fault, Request, serve

from rsbench.core.errors import InputError

DATA = bytes(range(256)) * 40


def make_item(i: int) -> dict[str, Any]:
    west = float(i)
    ring = [[west, 0.0], [west + 0.5, 0.0], [west + 0.5, 0.5], [west, 0.5], [west, 0.0]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"item-{i:02d}",
        "collection": "things" if i % 3 else "others",
        "bbox": [west, 0.0, west + 0.5, 0.5],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": f"2020-{i + 1:02d}-15T10:00:00Z", "eo:cloud_cover": 10.0 * i},
        "links": [],
        "assets": {"data": {"href": "./data.tif"}},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("served")
    root = base / "root"
    for name in ("things", "others"):
        (root / name).mkdir(parents=True)
        collection = {
            "type": "Collection", "stac_version": "1.0.0", "id": name, "description": name,
            "license": "CC0-1.0", "links": [],
            "extent": {"spatial": {"bbox": [[0, 0, 12, 1]]},
                       "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}},
        }  # fmt: skip
        (root / name / "collection.json").write_text(json.dumps(collection))
    for i in range(12):
        item = make_item(i)
        place = root / item["collection"] / item["id"]
        place.mkdir()
        (place / f"{item['id']}.json").write_text(json.dumps(item))
        (place / "data.tif").write_bytes(DATA)
    (root / "empty.bin").write_bytes(b"")
    (base / "secret.txt").write_text("secret")
    (root / "link.txt").symlink_to(base / "secret.txt")
    return root


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serve(folder) as base:
        yield base


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)


def ask(
    link: http.client.HTTPConnection,
    method: str,
    path: str,
    body: str | None = None,
    **headers: str,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    link.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    reply = link.getresponse()
    return reply.status, reply.headers, reply.read()


def found(url: str, method: str = "POST", **query: Any) -> list[str]:
    return [item.id for item in Client.open(url).search(method=method, **query).items()]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"collections": ["others"]}, [9, 6, 3, 0]),
        ({"bbox": [1.6, 0.1, 4.2, 0.2]}, [4, 3, 2]),
        ({"datetime": "2020-03"}, [2]),
        ({"datetime": "2020-03-15T10:00:00Z"}, [2]),
        ({"datetime": "2020-11-01/.."}, [11, 10]),
        ({"datetime": "../2020-02-20"}, [1, 0]),
        ({"ids": ["item-05", "item-07", "nobody"]}, [7, 5]),
        ({"query": {"eo:cloud_cover": {"gte": 30, "lt": 60}}}, [5, 4, 3]),
        ({"bbox": [0, 0, 2.2, 1], "sortby": "+properties.eo:cloud_cover"}, [0, 1, 2]),
        ({"bbox": [0, 0, 2.2, 1], "sortby": "-id"}, [2, 1, 0]),
        ({"intersects": {"type": "Point", "coordinates": [3.25, 0.25]}}, [3]),
        (
            {
                "intersects": {
                    "type": "Polygon",
                    # a triangle whose box covers item 6, but which does not touch it
                    "coordinates": [[[4.9, -1.0], [6.6, -1.0], [4.9, 0.7], [4.9, -1.0]]],
                }
            },
            [5],
        ),
    ],
)
def test_search_by_the_real_client(
    url: str, method: str, query: dict[str, Any], wanted: list[int]
) -> None:
    assert found(url, method, **query) == [f"item-{i:02d}" for i in wanted]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_link_to_the_next(url: str, method: str) -> None:
    search_ = Client.open(url).search(method=method, limit=5, query={"eo:cloud_cover": {"lt": 115}})
    pages = [[i.id for i in page] for page in search_.pages()]
    assert [len(page) for page in pages] == [5, 5, 2]
    assert len({name for page in pages for name in page}) == 12
    assert search_.matched() == 12


def test_collections_and_items_have_addresses(url: str) -> None:
    client = Client.open(url)
    assert {c.id for c in client.get_collections()} == {"things", "others"}
    collection = client.get_collection("things")
    assert collection.get_item("item-04") is not None
    assert collection.get_item("item-04").assets["data"].href.startswith(f"{url}/things/")
    link = connect(url)
    status, _, body = ask(link, "GET", "/collections/others/items?limit=2")
    assert status == 200
    assert [f["id"] for f in json.loads(body)["features"]] == ["item-09", "item-06"]


@pytest.mark.parametrize(
    "request_",
    [
        {"filter": {"op": "="}},
        {"query": {"eo:cloud_cover": {"near": 3}}},
        {"bbox": [1, 2, 3]},
        {"datetime": "yesterday"},
        {"datetime": "2020-02-01/2020-01-01"},
        {"intersects": {"type": "Circle"}},
        {"token": "elsewhere"},
    ],
)
def test_what_is_not_understood_is_refused(url: str, request_: dict[str, Any]) -> None:
    link = connect(url)
    status, _, body = ask(link, "POST", "/search", json.dumps(request_))
    assert status == 400
    assert json.loads(body)["description"]
    assert ask(link, "GET", "/conformance")[0] == 200


def test_composites_without_datetime_are_found_by_their_span() -> None:
    item = make_item(0)
    item["properties"] = {
        "datetime": None,
        "start_datetime": "2020-01-01T00:00:00Z",
        "end_datetime": "2020-01-08T23:59:59Z",
    }
    assert search([item], {"datetime": "2020-01-08T00:00:00Z/2020-02-01T00:00:00Z"}) == [item]
    assert search([item], {"datetime": "2020-01-09T00:00:00Z/.."}) == []


def test_a_hole_is_outside_and_a_box_over_the_date_line_wraps() -> None:
    outer = [[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]
    hole = [[3, 3], [6, 3], [6, 6], [3, 6], [3, 3]]
    ring = {"type": "Polygon", "coordinates": [outer, hole]}
    assert not intersects(ring, {"type": "Point", "coordinates": [4.5, 4.5]})
    assert intersects(ring, {"type": "LineString", "coordinates": [[4, 4], [8, 4]]})
    item = {**make_item(0), "bbox": [179.0, 0.0, 179.5, 0.5]}
    assert search([item], {"bbox": [178.0, 0.0, -178.0, 1.0]}) == [item]


def test_ranges(url: str) -> None:
    link, path = connect(url), "/files/things/item-01/data.tif"
    status, headers, body = ask(link, "GET", path, Range="bytes=10-19")
    assert (status, body) == (206, DATA[10:20])
    assert headers["Content-Range"] == f"bytes 10-19/{len(DATA)}"
    assert ask(link, "GET", path, Range="bytes=10230-")[2] == DATA[10230:]
    assert ask(link, "GET", path, Range="bytes=-7")[2] == DATA[-7:]
    assert ask(link, "GET", path, Range="bytes=0-999999")[2] == DATA
    status, headers, _ = ask(link, "GET", path, Range="bytes=999999-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    status, headers, body = ask(link, "HEAD", path)
    assert (status, headers["Content-Length"], body) == (200, str(len(DATA)), b"")
    assert ask(link, "GET", "/files/empty.bin")[2] == b""
    assert ask(link, "GET", path)[2] == DATA


def test_errors_leave_the_connection_in_step(url: str) -> None:
    link = connect(url)
    for method, path in [
        ("HEAD", "/files/nothing.tif"),
        ("HEAD", "/collections/nobody"),
        ("GET", "/files/nothing.tif"),
        ("POST", "/conformance"),
    ]:
        assert ask(link, method, path, "x" * 99 if method == "POST" else None)[0] in (404, 405)
        port = link.sock.getsockname()[1]
        assert ask(link, "GET", "/conformance")[0] == 200
        assert link.sock.getsockname()[1] == port  # one connection served it all


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "link.txt", "things/../../secret.txt",
     "%00", "/etc/passwd", "things"],
)  # fmt: skip
def test_nothing_outside_the_root_is_served(url: str, path: str) -> None:
    status, _, body = ask(connect(url), "GET", f"/files/{path}")
    assert status == 404
    assert b"secret" not in body


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"), serve(tmp_path / "no"):
        pass


def test_faults_do_what_they_say(folder: Path) -> None:
    path, plan, seen = "/files/things/item-01/data.tif", [Fault()], list[Request]()

    def fault(request: Request) -> Fault | None:
        seen.append(request)
        return plan[0]

    with serve(folder, fault=fault) as url:
        plan[0] = Fault(status=429, headers={"Retry-After": "1"})
        status, headers, _ = ask(connect(url), "GET", path, Range="bytes=0-9")
        assert (status, headers["Retry-After"]) == (429, "1")
        assert (seen[-1].number, seen[-1].path, seen[-1].headers["range"]) == (1, path, "bytes=0-9")
        plan[0] = Fault(truncate=100)
        with pytest.raises(http.client.IncompleteRead) as cut:
            ask(connect(url), "GET", path)
        assert cut.value.partial == DATA[:100]
        plan[0] = Fault(corrupt=1000)
        body = ask(connect(url), "GET", path)[2]
        assert [i for i, (a, b) in enumerate(zip(body, DATA, strict=True)) if a != b] == list(
            range(999, len(DATA), 1000)
        )
        plan[0] = Fault(latency=0.2)
        begin = time.perf_counter()
        assert ask(connect(url), "GET", path)[2] == DATA
        assert time.perf_counter() - begin >= 0.2
        plan[0] = Fault(stall=0.2)
        with pytest.raises(http.client.IncompleteRead):
            ask(connect(url), "GET", path)
        plan[0] = Fault(status=503)
        with pytest.raises(APIError):
            Client.open(url)


def test_stopping_does_not_wait_for_a_stalled_reply(folder: Path) -> None:
    begin = time.perf_counter()
    with serve(folder, fault=lambda _: Fault(stall=60)) as url:
        link = connect(url)
        link.request("GET", "/files/things/item-01/data.tif")
        time.sleep(0.05)
    assert time.perf_counter() - begin < 10


def test_a_port_is_never_given_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(folder) as first:
        port = urlsplit(first).port
    bind, asked = server._Server.server_bind, []

    def as_the_system_may(self: server._Server) -> None:
        if not asked:
            self.server_address = ("127.0.0.1", port)
        asked.append(port)
        bind(self)

    monkeypatch.setattr(server._Server, "server_bind", as_the_system_may)
    with serve(folder) as second:
        assert urlsplit(second).port != port
        assert Client.open(second)
    assert len(asked) == 2
