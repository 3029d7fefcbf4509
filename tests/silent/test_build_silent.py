"""Faults that would pass unseen: wrong pixels, leaked tokens, files that nobody asked for."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from build_fixtures import BANDS, ORIGIN, random_folder, recipe, write_raster, write_scene
from support.stac_server import Fault, Request, serve

from rsbench.build.engine.builder import build
from rsbench.build.plan import href as plan_href
from rsbench.build.plan import http as plan_http
from rsbench.build.plan.lock import LockAsset
from rsbench.build.plan.plan import Lock, make_plan
from rsbench.build.plan.search import ApiCatalogue, Query
from rsbench.build.read import raster as source
from rsbench.build.read import remote
from rsbench.build.read.engines import make_engine
from rsbench.build.read.raster import Asked, RasterioEngine, Scene, read_window
from rsbench.core.errors import InputError, UnitFailed
from rsbench.core.grid import Grid
from rsbench.store.read import open_store

GRID = Grid("EPSG:32633", (10.0, 0.0, float(ORIGIN[0]), 0.0, -10.0, float(ORIGIN[1])), 48, 48)
ASKED = Asked(grid=GRID, whole=True, nodata=0)
SECRET = "sv=2024&sig=TOPSECRET%2Btoken&se=2030"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRIES", 0)
    monkeypatch.setattr(remote, "SOCKET_TIMEOUT", (2.0, 2.0))
    monkeypatch.setattr(source.time, "sleep", lambda seconds: None)


def test_a_missing_file_never_becomes_nodata(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac", per_year=1)
    (root / "S2_2021_0" / "B02.tif").unlink()
    with pytest.raises(UnitFailed, match="S2_2021_0"):
        build(recipe(), tmp_path / "out", provider=str(root))
    for engine in ("rasterio", "stackstac"):
        with serve(root) as url, pytest.raises(UnitFailed):
            build(recipe(), tmp_path / engine, provider=url, engine=engine)


@pytest.mark.parametrize("engine", ["rasterio", "stackstac"])
@pytest.mark.parametrize("tag", [None, 0, 65535, 500])
def test_the_nodata_tag_of_a_file_adds_to_that_of_the_sensor(
    tag: float | None, engine: str, tmp_path: Path
) -> None:
    root = tmp_path / "stac"
    values = np.full((96, 96), 500, np.uint16)
    values[:, :5] = 0
    scl = np.full((48, 48), 4, np.uint8)
    folder = write_scene(root, "a", "2021-06-01T10:00:00Z", dict.fromkeys(BANDS, values), scl)
    for band in BANDS:
        write_raster(folder / f"{band}.tif", values, nodata=tag)
    only = recipe(years=(2021, 2021))
    made = build(only, tmp_path / "out", provider=str(root), engine=engine)
    store = open_store(made.path)
    valid = store.read("west", "s2", array="valid")[0]
    assert not valid[:, :5].any()
    assert valid[:, 5:].all() == valid[:, 5:].any() == (tag != 500)
    assert (store.read("west", "s2")[0][:, :, 5:] == (0 if tag == 500 else 500)).all()


def test_a_vrt_cannot_read_local_files(tmp_path: Path) -> None:
    write_raster(tmp_path / "secret.tif", np.full((96, 96), 7, np.uint16))
    a, b, c, d, e, f = GRID.transform
    (tmp_path / "B02.tif").write_text(
        f"""<VRTDataset rasterXSize="96" rasterYSize="96"><SRS>EPSG:32633</SRS>
        <GeoTransform>{c}, {a}, {b}, {f}, {d}, {e}</GeoTransform>
        <VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
        <SourceFilename relativeToVRT="0">{tmp_path}/secret.tif</SourceFilename>
        <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
    )
    import rasterio

    with rasterio.open(tmp_path / "B02.tif") as data:  # without the allow-list it would be read
        assert data.read(1)[0, 0] == 7
    with pytest.raises(rasterio.errors.RasterioIOError):
        read_window(str(tmp_path / "B02.tif"), [1], ASKED, np.uint16)
    with serve(tmp_path) as url:
        file = remote.RemoteFile(f"{url}/files/B02.tif", url, math.inf)
        with pytest.raises(rasterio.errors.RasterioIOError):
            read_window(file, [1], ASKED, np.uint16)
    out = np.zeros((1, 1, GRID.height, GRID.width), np.uint16)
    scene = Scene("a", (("B02", LockAsset("B02.tif", 1)),))
    for engine in ("rasterio", "stackstac"):
        made = make_engine(engine, str(tmp_path), "none")
        with pytest.raises(UnitFailed, match=r"B02|from a on"):
            made.fill(out, [scene], ASKED)
        made.close()
    assert not out.any()


def test_a_side_file_changes_nothing(tmp_path: Path) -> None:
    write_raster(tmp_path / "B02.tif", np.full((96, 96), 7, np.uint16))
    (tmp_path / "B02.tif.aux.xml").write_text(
        "<PAMDataset><GeoTransform>0, 10, 0, 0, 0, -10</GeoTransform></PAMDataset>"
    )
    path = str(tmp_path / "B02.tif")
    assert (read_window(path, [1], ASKED, np.uint16) == 7).all()


def test_a_lock_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac", per_year=1)
    make_plan(recipe(), provider=str(root)).save(tmp_path / "lock.json")
    text = (tmp_path / "lock.json").read_text()
    for evil in ("../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "s3://bucket/x.tif"):
        value = json.loads(text)
        value["regions"]["west"]["s2"]["2021"][0]["assets"]["B02"][0] = evil
        (tmp_path / "evil.json").write_text(json.dumps(value))
        with pytest.raises(InputError, match="leads out of its catalogue"):
            Lock.load(tmp_path / "evil.json")


def test_a_query_in_a_folder_is_cut(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac", per_year=1)
    wanted = make_plan(recipe(), provider=str(root))
    for path in root.rglob("item.json"):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] += f"?{SECRET}"
        path.write_text(json.dumps(item))
    assert make_plan(recipe(), provider=str(root)) == wanted


def test_a_link_inside_the_folder_that_points_outside_is_refused(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac", per_year=1)
    write_raster(tmp_path / "outside.tif", np.full((96, 96), 7, np.uint16))
    target = root / "S2_2021_0" / "B02.tif"
    target.unlink()
    target.symlink_to(tmp_path / "outside.tif")
    with pytest.raises(InputError, match="leads out"):
        make_plan(recipe(), provider=str(root))


# Addresses ------------------------------------------------------------------------------


@contextmanager
def replies(answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]
            ) -> Iterator[tuple[str, list[str]]]:  # fmt: skip
    """A server on loopback whose every reply a test makes; lists the paths that were asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["file://{}", "ftp://127.0.0.1{}", "/vsizip/{}", "gopher://x{}"])
def test_a_redirect_to_another_scheme_is_not_followed(scheme: str, tmp_path: Path) -> None:
    write_raster(tmp_path / "B02.tif", np.full((96, 96), 7, np.uint16))
    goal = scheme.format(tmp_path / "B02.tif")
    with replies(lambda _: (302, {"Location": goal}, b"")) as (url, asked):
        file = remote.RemoteFile(f"{url}/files/B02.tif", url, math.inf)
        with pytest.raises((InputError, remote.RemoteError), match="redirects"):
            read_window(file, [1], ASKED, np.uint16)
        assert asked  # a path of its own is asked of the same server, in vain
        with pytest.raises((OSError, InputError), match="cannot be searched"):
            make_plan(recipe(), provider=url)


QUERY = Query("c", ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0)), (2020, 2020), {})


def landing(url: str) -> dict[str, Any]:
    conforms = [
        "https://api.stacspec.org/v1.0.0/core",
        "https://api.stacspec.org/v1.0.0/item-search",
    ]
    kind = {"type": "application/geo+json", "method": "POST"}
    links = [
        {"rel": rel, "href": f"{url}{path}", **kind}
        for rel, path in (("self", "/"), ("root", "/"), ("search", "/search"))
    ]
    return {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "",
            "conformsTo": conforms, "links": links}  # fmt: skip


def test_a_reply_without_end_is_cut_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed a thousandfold: what is counted is what it unpacks to."""
    monkeypatch.setattr(plan_http, "MOST", 1 << 20)
    bomb = gzip.compress(b'{"features": [' + b" " * (4 << 20))

    def answer(ask: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if ask.path == "/search":
            return 200, {"Content-Encoding": "gzip"}, bomb
        return 200, {}, json.dumps(landing(f"http://{ask.headers['Host']}")).encode()

    with replies(answer) as (url, _), pytest.raises(InputError, match="larger than 1 MiB"):
        ApiCatalogue(url).search(QUERY)


@pytest.mark.parametrize("way", ["next page", "redirect"])
def test_a_catalogue_cannot_send_its_reader_into_a_private_network(way: str) -> None:
    secret = "http://169.254.169.254/latest/meta-data?sig=SECRET"

    def answer(ask: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if ask.path != "/search":
            return 200, {}, json.dumps(landing(f"http://{ask.headers['Host']}")).encode()
        if way == "redirect":
            return 307, {"Location": secret}, b""
        feature = {"type": "Feature", "id": "a", "properties": {}, "links": []}
        page = {"features": [feature], "links": [{"rel": "next", "href": secret}]}
        return 200, {}, json.dumps({"type": "FeatureCollection", **page}).encode()

    with replies(answer) as (url, _), pytest.raises(InputError, match="private network") as caught:
        ApiCatalogue(url).search(QUERY)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("engine", ["rasterio", "stackstac"])
def test_a_name_that_leads_into_a_private_network_is_not_asked(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number it is refused already in the lock; a name shows where it leads only when asked."""
    hosts = {"stac.example.org": "93.184.215.14", "inside.example.org": "10.0.0.8",
             "stac.corp.example": "10.0.0.7"}  # fmt: skip

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(None, None, 0, "", (hosts[host], 0))]

    monkeypatch.setattr(plan_href.socket, "getaddrinfo", resolve)
    plan_href._leads_inside.cache_clear()
    asset = LockAsset("https://inside.example.org/B02.tif")
    made = make_engine(engine, "https://stac.example.org", "none")
    out = np.zeros((1, 1, GRID.height, GRID.width), np.uint16)
    with pytest.raises((InputError, UnitFailed), match="its name leads into a private network"):
        made.fill(out, [Scene("a", (("B02", asset),))], ASKED)
    made.close()
    # A catalogue of the same house may name its neighbours.
    plan_href.require_public("https://inside.example.org/B02.tif", "https://stac.corp.example")
    plan_href._leads_inside.cache_clear()


# Tokens --------------------------------------------------------------------------------


@contextmanager
def token_server() -> Iterator[tuple[str, list[str]]]:
    """A signing service on loopback; lists what it was asked for."""
    count = itertools.count(1)

    def answer(_: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        token = f"{SECRET}&n={next(count)}"
        body = json.dumps({"msft:expiry": "2099-01-01T00:00:00Z", "token": token})
        return 200, {}, body.encode()

    with replies(answer) as (url, asked):
        yield url, asked


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Sign addresses of a made-up blob store, and read them from loopback."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from planetary_computer import sas
        from planetary_computer.settings import Settings

    sas.TOKEN_CACHE.clear()
    with token_server() as (url, given):
        monkeypatch.setenv("PC_SDK_SAS_URL", url)
        Settings.get.cache_clear()
        yield given
    sas.TOKEN_CACHE.clear()
    Settings.get.cache_clear()


def test_addresses_are_signed_when_read_and_again_after_an_error(signing: list[str]) -> None:
    sign = source.signer("planetary-computer")
    href = "https://acct.blob.core.windows.net/container/x.tif"
    first, again, fresh = sign(href, 0), sign(href, 0), sign(href, 1)
    assert first == again == f"{href}?{SECRET}&n=1"
    assert fresh == f"{href}?{SECRET}&n=2"
    assert len(signing) == 2
    assert sign("http://127.0.0.1/x.tif", 0) == "http://127.0.0.1/x.tif"


def test_no_token_in_lock_store_log_or_traceback(
    signing: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = random_folder(tmp_path / "stac", per_year=1)

    def signed(url: str, attempt: int) -> str:
        return f"{url}?{SECRET}"

    monkeypatch.setattr(source, "signer", lambda kind: signed)

    def broken(request: Request) -> Fault | None:
        return Fault(status=403) if "S2_2022_0/B03" in request.path else None

    caplog.set_level(logging.DEBUG)
    with serve(root, fault=broken) as url:
        lock = make_plan(recipe(), provider=url)
        lock.save(tmp_path / "lock.json")
        try:
            build(recipe(), tmp_path / "out", lock=lock)
        except UnitFailed as error:
            shown = "".join(traceback.format_exception(error)) + repr(error)
        else:
            pytest.fail("the fault did not show")
        build(recipe(), tmp_path / "out", lock=lock, allow_incomplete=True)
    out = capfd.readouterr()
    log = "\n".join(r.getMessage() for r in caplog.records)
    assert "rasterio" in {r.name.partition(".")[0] for r in caplog.records}
    for text in (shown, out.out, out.err, log):
        assert "TOPSECRET" not in text
    written = [p for p in (tmp_path / "lock.json", *(tmp_path / "out").rglob("*")) if p.is_file()]
    assert len(written) > 10
    for path in written:
        assert b"TOPSECRET" not in path.read_bytes(), path


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    from rsbench.build.engine import journal
    from rsbench.core.digest import sha256_file

    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    digest = sha256_file(tmp_path / "x.npy")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        journal._load(tmp_path / "x.npy", digest)


def test_a_read_that_fails_leaves_no_pixels_behind(tmp_path: Path) -> None:
    out = np.full((1, 1, 48, 48), 123, np.uint16)
    engine = RasterioEngine(str(tmp_path))
    with pytest.raises(UnitFailed):
        engine.fill(
            out,
            [Scene("x", (("B02", LockAsset("no.tif")),))],
            ASKED,
        )
    engine.close()
    assert (out == 123).all()
