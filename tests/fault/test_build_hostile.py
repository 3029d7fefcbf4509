"""Catalogues that answer with what is no STAC, too late, or never; small limits."""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe
from support.script_server import Handler, drip_headers, landing, scripted, stall, trickle

from rsbench.build.plan import patience
from rsbench.build.plan.items import item_time
from rsbench.build.plan.omissions import LeavingOut
from rsbench.build.plan.plan import make_plan
from rsbench.build.plan.search import ApiCatalogue, Query
from rsbench.build.plan.static import open_catalogue_at
from rsbench.core.errors import InputError

QUERY = Query("c", ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)), (2020, 2020), {})
ITEM = {"type": "Feature", "stac_version": "1.0.0", "id": "a", "links": [], "assets": {},
        "properties": {"datetime": "2020-05-05T00:00:00Z"}}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_CACHE", str(tmp_path / "cache"))


def answer(page: Any) -> Any:
    """A server that knows how to introduce itself, and answers every search with ``page``."""

    def respond(request: Handler) -> None:
        url = f"http://{request.headers['Host']}"
        if request.path.startswith("/search"):
            page(request) if callable(page) else request.send_json(page)
        else:
            request.send_json(landing(url))

    return respond


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b"5", b'"x"', b"{", b"", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000,
     b'{"type": "Catalog"}', b'{"type": "Catalog", "stac_version": 5, "id": [], "links": {}}',
     b'{"type": [], "stac_version": "1.0.0"}', b'{"type":"Catalog","stac_version":"1.0.0","id":"x",'
     b'"description":"x","links":[{"rel":5}],"conformsTo":5}'],
)  # fmt: skip
def test_an_api_that_introduces_itself_with_no_stac_is_refused(body: bytes) -> None:
    with (
        scripted(lambda request: request.send(body)) as (url, _),
        pytest.raises((InputError, OSError), match=r"127\.0\.0\.1"),
    ):
        ApiCatalogue(url).search(QUERY)


@pytest.mark.parametrize(
    "page",
    [
        [], None, 5, {"features": {"a": 1}}, {"features": [None]}, {"features": [[]]},
        {"features": [ITEM], "links": [{}]}, {"features": [ITEM], "links": [{"rel": "next"}]},
        {"features": [ITEM], "links": [{"rel": "next", "href": "http://[::1"}]},
        {"features": [ITEM], "links": [{"rel": "next", "href": 5}]},
        {"features": [ITEM], "numberMatched": "one"},
        {"features": [ITEM], "links": [{"rel": "next", "href": "/search", "method": "POST",
                                        "body": [1]}]},
        {"features": [ITEM | {"id": None}]}, {"features": [ITEM | {"properties": []}]},
        {"features": [ITEM | {"properties": {"datetime": 5}}]},
    ],
)  # fmt: skip
def test_a_page_or_item_that_is_none_is_refused(page: Any) -> None:
    with scripted(answer(page)) as (url, _), pytest.raises(InputError):
        ApiCatalogue(url).search(QUERY)


def test_the_plain_item_is_found() -> None:
    with scripted(answer({"features": [ITEM]})) as (url, _):
        (item,) = ApiCatalogue(url).search(QUERY)
    assert item_time(item).year == 2020


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setenv("RSBENCH_REQUEST_SECONDS", "1")
    monkeypatch.setenv("RSBENCH_SEARCH_SECONDS", "1.5")
    monkeypatch.setattr(patience, "NOTICE", 0.2)
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        yield
        assert time.monotonic() - began < 5


def drip(request: Handler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    trickle(request)


@pytest.mark.parametrize("late", [stall, drip, drip_headers])
def test_an_answer_that_does_not_end_is_given_up(
    late: Any, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        scripted(answer(late)) as (url, _),
        pytest.raises(InputError, match="RSBENCH_REQUEST_SECONDS=2") as raised,
    ):
        ApiCatalogue(url).search(QUERY)
    assert "no complete answer came within" in str(raised.value)
    assert "waiting for an answer of http://127.0.0.1" in caplog.text
    assert "RSBENCH_REQUEST_SECONDS=SECONDS changes this" in caplog.text


def test_a_request_to_wait_an_hour_is_refused_at_once(hasty: None) -> None:
    def later(request: Handler) -> None:
        request.send(b"", 429, Retry_After="3600")

    with (
        scripted(answer(later)) as (url, paths),
        pytest.raises(InputError, match=r"asks to wait 3600 s \(status 429\)"),
    ):
        ApiCatalogue(url).search(QUERY)
    assert len(paths) == 2


def test_endless_pages_of_one_item_end(hasty: None) -> None:
    def page(request: Handler) -> None:
        number = int(request.path.partition("=")[2] or 0)
        link = {"rel": "next", "href": f"http://{request.headers['Host']}/search?n={number + 1}"}
        request.send_json({"features": [ITEM | {"id": str(number)}], "links": [link]})

    with (
        scripted(answer(page)) as (url, _),
        pytest.raises(InputError, match=r"RSBENCH_SEARCH_SECONDS=3"),
    ):
        ApiCatalogue(url).search(QUERY)


def test_a_compressed_bomb_is_refused() -> None:
    bomb = gzip.compress(b" " * (80 << 20), 9)

    def page(request: Handler) -> None:
        request.send(bomb, Content_Encoding="gzip", Content_Type="application/json")

    with scripted(answer(page)) as (url, _), pytest.raises(InputError, match="larger than 64 MiB"):
        ApiCatalogue(url).search(QUERY)


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf", "1e9"])
def test_a_limit_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSBENCH_REQUEST_SECONDS", text)
    with pytest.raises(InputError, match="RSBENCH_REQUEST_SECONDS"):
        _ = patience.REQUEST.seconds


def test_a_reason_of_one_search_is_not_told_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = iter((b"x" * (65 << 20), b"", b"", b""))

    def page(request: Handler) -> None:
        request.send(next(turn), 200 if request.server.paths[-1] == "" else 400)  # type: ignore[attr-defined]

    with scripted(answer(page)) as (url, _):
        catalogue = ApiCatalogue(url)
        with pytest.raises(InputError, match="larger than"):
            catalogue.search(QUERY)
        with pytest.raises(OSError, match="cannot be searched"):
            catalogue.search(QUERY)


def test_a_malformed_item_ends_a_plan_by_name() -> None:
    item = json.loads(json.dumps(ITEM)) | {"id": "S2_X", "geometry": {"type": "Polygon"}}
    with (
        scripted(answer({"features": [item]})) as (url, _),
        pytest.raises(InputError, match=r"S2_X.*geometry.Polygon.coordinates"),
    ):
        make_plan(recipe(), provider=url)


def test_a_malformed_item_can_be_left_out(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac")
    path = sorted(root.rglob("item.json"))[0]
    item = json.loads(path.read_text())
    path.write_text(json.dumps(item | {"assets": [1]}))
    broken = answer({"features": [item | {"assets": [1]}]})
    with scripted(broken) as (url, _), pytest.raises(InputError, match=f"--exclude {item['id']}"):
        make_plan(recipe(), provider=url)
    with pytest.raises(InputError, match=f"assets is a list.*--exclude {item['id']}"):
        make_plan(recipe(), provider=str(root))
    for leaving in (LeavingOut(frozenset({item["id"]})), LeavingOut(incomplete=True)):
        lock = make_plan(recipe(), provider=str(root), leaving=leaving)
        left = {name for some in lock.left.values() for one in some for name in one.items}
        assert item["id"] in left


def test_a_static_catalogue_without_end_ends(hasty: None) -> None:
    def chain(request: Handler) -> None:
        number = int(request.path.strip("/").partition(".")[0] or 0)
        time.sleep(0.05)
        link = {"rel": "child", "href": f"/{number + 1}.json"}
        request.send_json({"type": "Catalog", "stac_version": "1.0.0", "id": "c", "links": [link]})

    with scripted(chain) as (url, _), pytest.raises(InputError, match="RSBENCH_SEARCH_SECONDS=3"):
        open_catalogue_at(f"{url}/0.json").search(QUERY)
