"""Pixels behind an address: ranges, redirects, limits of time, and what a file must not do."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_fixtures import EPSG, ORIGIN, random_folder, recipe, write_raster
from support.script_server import Handler, drip_headers, scripted, stall, trickle

from rsbench.build.engine.builder import build
from rsbench.build.plan import href as plan_href
from rsbench.build.plan import patience
from rsbench.build.plan.checksum import comparable, require_checksum
from rsbench.build.plan.lock import Lock, LockAsset, diff
from rsbench.build.plan.plan import make_plan
from rsbench.build.read import remote
from rsbench.build.read.engines import make_engine
from rsbench.build.read.opened import open_raster
from rsbench.build.read.raster import Asked, RasterioEngine, Scene, read_window
from rsbench.build.read.remote import RemoteError, RemoteFile
from rsbench.core.errors import InputError, UnitFailed
from rsbench.core.grid import Grid

SIZE = 512
GRID = Grid(f"EPSG:{EPSG}", (10.0, 0.0, float(ORIGIN[0]), 0.0, -10.0, float(ORIGIN[1])), SIZE, SIZE)
ASKED = Asked(grid=GRID, whole=True, nodata=0)
Range = tuple[int, int]


@pytest.fixture(scope="module")
def values() -> Any:
    return np.random.default_rng(1).integers(1, 4000, (SIZE, SIZE)).astype(np.uint16)


@pytest.fixture(scope="module")
def raw(values: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("raster") / "a.tif"
    write_raster(path, values, blockxsize=128, blockysize=128)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAY", 0.01)
    monkeypatch.setattr("rsbench.build.read.raster.TRIES", 2)


def asked_of(request: Handler) -> Range:
    first, last = request.headers["Range"].removeprefix("bytes=").split("-")
    return int(first), int(last)


def part(request: Handler, body: bytes, **headers: str) -> None:
    """Reply with the range that was asked for."""
    first, last = asked_of(request)
    held = body[first : last + 1]
    span = f"bytes {first}-{first + len(held) - 1}/{len(body)}"
    request.send(held, 206, Content_Range=span, **headers)


def file_at(url: str, seconds: float = math.inf) -> RemoteFile:
    return RemoteFile(f"{url}/a.tif?sig=SECRET", url, time.monotonic() + seconds)


def fill(engine: str, url: str, size: int = 0, checksum: str = "") -> Any:
    made = make_engine(engine, url, "none")
    out = np.zeros((1, 1, SIZE, SIZE), np.uint16)
    try:
        made.fill(out, [Scene("a", (("B02", LockAsset("a.tif", 1, size, checksum)),))], ASKED)
    finally:
        made.close()
    return out[0, 0]


@pytest.mark.parametrize("engine", ["rasterio", "stackstac"])
def test_a_file_is_read_by_a_few_ranges(engine: str, raw: bytes, values: Any) -> None:
    with scripted(lambda request: part(request, raw)) as (url, paths):
        assert np.array_equal(fill(engine, url), values)
    assert len(paths) == 2  # the header, and all blocks, which lie beside each other


def test_only_the_blocks_of_a_window_are_fetched(raw: bytes, values: Any) -> None:
    from rasterio.windows import Window

    seen: list[Range] = []

    def respond(request: Handler) -> None:
        seen.append(asked_of(request))
        part(request, raw)

    with scripted(respond) as (url, _), open_raster(file_at(url)) as raster:
        got = raster.read([1], Window(140, 140, 200, 200))
    assert np.array_equal(got[0], values[140:340, 140:340])
    assert len(seen) == 3  # header, two rows of blocks
    assert sum(last - first for first, last in seen) < len(raw) / 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_inside_the_catalogues_network_is_followed_once(
    status: int, raw: bytes, values: Any
) -> None:
    def respond(request: Handler) -> None:
        if request.path.startswith("/a.tif"):
            request.redirect("/b.tif?sig=OTHER", status)
        else:
            part(request, raw)

    with scripted(respond) as (url, paths):
        assert np.array_equal(fill("rasterio", url), values)
    assert [path.partition("?")[0] for path in paths] == ["/a.tif", "/b.tif", "/b.tif"]


HOSTS = {
    "stac.example.org": "93.184.215.14",
    "inside.example.org": "10.0.0.8",
    "six.example.org": "::1",
    "mapped.example.org": "::ffff:169.254.169.254",
}


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:9/b.tif", "http://[::1]/b.tif", "http://2130706433/b.tif",
        "http://169.254.169.254/latest/meta-data", "http://inside.example.org/b.tif",
        "http://six.example.org/b.tif", "http://mapped.example.org/b.tif",
        "http://localhost/b.tif", "http://u:p@stac.example.org/b.tif",
        "ftp://stac.example.org/b.tif", "file:///etc/passwd", "gopher://h/x", "", "http://[",
    ],
)  # fmt: skip
def test_a_redirect_elsewhere_is_not_followed(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue is a public one; the first request is answered by the test."""
    asked: list[str] = []

    def get(url: str, start: int, count: int) -> tuple[int, Any, bytes]:
        asked.append(url)
        return 302, {"Location": f"{to}?sig=SECRET" if to else ""}, b""

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(None, None, 0, "", (HOSTS[host], 0))]

    monkeypatch.setattr(remote, "_get", get)
    monkeypatch.setattr(plan_href.socket, "getaddrinfo", resolve)
    plan_href._leads_inside.cache_clear()
    engine = RasterioEngine("http://stac.example.org")
    with pytest.raises(UnitFailed) as raised:
        engine.attempt(
            "a", "B02", LockAsset("a.tif"), lambda file: read_window(file, [1], ASKED, "u2")
        )
    engine.close()
    plan_href._leads_inside.cache_clear()
    said = str(raised.value)
    assert "it redirects to" in said
    assert "SECRET" not in said
    assert asked == ["http://stac.example.org/a.tif"]


def test_a_redirect_from_https_to_http_is_not_followed() -> None:
    with pytest.raises(InputError, match="none from https to http"):
        plan_href.redirected("https://93.184.215.14/x", "http://93.184.215.14/x", "")
    secure = plan_href.redirected("http://93.184.215.14/x", "https://93.184.215.14/y", "")
    assert secure == "https://93.184.215.14/y"


def test_redirects_in_a_circle_end() -> None:
    with (
        scripted(lambda request: request.redirect("/a.tif")) as (url, paths),
        pytest.raises(RemoteError, match="more than 5 redirects"),
    ):
        _ = file_at(url).size
    assert len(paths) == 6


def drip(request: Handler) -> None:
    request.send_response(206)
    request.send_header("Content-Range", "bytes 0-32767/100000")
    request.send_header("Content-Length", "32768")
    request.end_headers()
    trickle(request)


def later(request: Handler) -> None:
    request.send(b"", 429, Retry_After="3600")


@pytest.mark.parametrize("late", [stall, drip, drip_headers])
def test_a_file_that_does_not_come_is_given_up(
    late: Callable[[Handler], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("RSBENCH_FILE_SECONDS", "1")
    monkeypatch.setattr(patience, "NOTICE", 0.2)
    began = time.monotonic()
    with (
        scripted(late) as (url, _),
        caplog.at_level(logging.WARNING),
        pytest.raises(UnitFailed, match="RSBENCH_FILE_SECONDS=2"),
    ):
        fill("rasterio", url)
    assert time.monotonic() - began < 5
    assert "RSBENCH_FILE_SECONDS=SECONDS changes this" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_server_that_asks_to_wait_an_hour_is_not_waited_for() -> None:
    began = time.monotonic()
    with (
        scripted(later) as (url, paths),
        pytest.raises(UnitFailed, match="HTTP response code: 429"),
    ):
        fill("rasterio", url)
    assert time.monotonic() - began < 5
    assert len(paths) == 2


def test_a_passing_error_is_asked_again(raw: bytes, values: Any) -> None:
    count = iter(range(100))

    def respond(request: Handler) -> None:
        if next(count) < 3:
            request.send(b"", 503)
        else:
            part(request, raw)

    with scripted(respond) as (url, _):
        assert np.array_equal(fill("rasterio", url), values)


def test_a_file_that_changes_is_no_file(raw: bytes) -> None:
    tags = iter("abcdefgh")
    with (
        scripted(lambda request: part(request, raw, ETag=next(tags))) as (url, _),
        pytest.raises(UnitFailed, match="changed while it was read"),
    ):
        fill("rasterio", url)


def whole(request: Handler, raw: bytes) -> None:
    request.send(raw)


def packed(request: Handler, raw: bytes) -> None:
    part(request, gzip.compress(bytes(20 << 20)), Content_Encoding="gzip")


def shorter(request: Handler, raw: bytes) -> None:
    first, last = asked_of(request)
    span = f"bytes {first}-{last}/{len(raw)}"
    request.send(raw[first : first + 100], 206, Content_Range=span)


def elsewhere(request: Handler, raw: bytes) -> None:
    first, last = asked_of(request)
    span = f"bytes {first + 1}-{last + 1}/{len(raw)}"
    request.send(raw[first : last + 1], 206, Content_Range=span)


def unnamed(request: Handler, raw: bytes) -> None:
    request.send(raw[:100], 206)


def endless(request: Handler, raw: bytes) -> None:
    first, last = asked_of(request)
    request.send(bytes(4 << 20), 206, Content_Range=f"bytes {first}-{last}/{len(raw)}")


@pytest.mark.parametrize("answer", [whole, packed, shorter, elsewhere, unnamed, endless])
def test_an_answer_that_is_not_the_range_is_refused(
    answer: Callable[[Handler, bytes], None], raw: bytes
) -> None:
    with (
        scripted(lambda request: answer(request, raw)) as (url, _),
        pytest.raises(UnitFailed, match="reading B02 of item a"),
    ):
        fill("rasterio", url)


def test_a_damaged_block_behind_an_address_is_an_error(raw: bytes, tmp_path: Path) -> None:
    import rasterio

    (tmp_path / "a.tif").write_bytes(raw)
    with rasterio.open(tmp_path / "a.tif") as data:
        start, count = (
            int(data.get_tag_item(f"BLOCK_{n}_1_1", "TIFF", bidx=1)) for n in ("OFFSET", "SIZE")
        )
    broken = bytearray(raw)
    broken[start + count // 2 : start + count] = bytes(count - count // 2)
    with (
        scripted(lambda request: part(request, bytes(broken))) as (url, _),
        pytest.raises(UnitFailed, match=r"DamagedBlockError|RasterioIOError"),
    ):
        fill("rasterio", url)


def test_no_query_in_logs(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted(lambda request: part(request, raw)) as (url, _):
        assert file_at(url).size == len(raw)
    assert "SECRET" not in caplog.text


def test_a_download_is_not_redirected_into_a_private_network_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import urllib.request
    from email.message import Message

    from rsbench.build.importers.release import _Redirects

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(None, None, 0, "", (HOSTS[host], 0))]

    monkeypatch.setattr(plan_href.socket, "getaddrinfo", resolve)
    plan_href._leads_inside.cache_clear()
    home = "http://stac.example.org/release"
    request = urllib.request.Request(f"{home}/release.json")
    goal = "http://inside.example.org/x?sig=SECRET"
    with pytest.raises(InputError, match="its name leads into a private network") as raised:
        _Redirects(home).redirect_request(request, None, 302, "", Message(), goal)  # type: ignore[arg-type]
    plan_href._leads_inside.cache_clear()
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("engine", ["rasterio", "stackstac"])
def test_a_file_of_another_size_than_its_catalogue_states_is_refused(
    engine: str, raw: bytes, values: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.tif").write_bytes(raw)
    with scripted(lambda request: part(request, raw)) as (url, _):
        for place in (url, str(tmp_path)):
            assert np.array_equal(fill(engine, place, len(raw)), values)
            with pytest.raises(UnitFailed, match=f"{len(raw)} bytes, its catalogue states"):
                fill(engine, place, len(raw) + 1)


def multihash(body: bytes) -> str:
    return "1220" + hashlib.sha256(body).hexdigest()


def test_a_file_of_another_checksum_than_its_catalogue_states_is_refused(
    raw: bytes, values: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.tif").write_bytes(raw)
    other = multihash(raw + b" ")
    for engine in ("rasterio", "stackstac"):
        assert np.array_equal(fill(engine, str(tmp_path), checksum=multihash(raw)), values)
        with pytest.raises(UnitFailed, match="its catalogue states file:checksum"):
            fill(engine, str(tmp_path), checksum=other)
    (tmp_path / "a.tif").write_bytes(changed := raw + b"!")
    with pytest.raises(UnitFailed, match="its catalogue states file:checksum"):
        fill("rasterio", str(tmp_path), checksum=multihash(raw))
    fill("rasterio", str(tmp_path), checksum=multihash(changed))


def test_a_checksum_of_a_remote_file_is_compared_where_all_of_it_came(
    raw: bytes, values: Any
) -> None:
    from rasterio.windows import Window

    other = multihash(raw + b" ")
    with scripted(lambda request: part(request, raw)) as (url, _):
        whole = RemoteFile(f"{url}/a.tif", url, math.inf, checksum=other)
        whole.at(0, len(raw))
        with pytest.raises(InputError, match="file:checksum"):
            whole.require_checksum()
        some = RemoteFile(f"{url}/a.tif", url, math.inf, checksum=other)
        with open_raster(some) as raster:
            raster.read([1], Window(0, 0, 8, 8))
        good = RemoteFile(f"{url}/a.tif", url, math.inf, checksum=multihash(raw))
        with pytest.raises(InputError, match="file:checksum"), open_raster(whole):
            pass
        with open_raster(good):
            good.at(0, len(raw))


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("d50110", "md5"), ("1114", "sha1"), ("1220", "sha256"), ("1340", "sha512"),
     ("2030", "sha384"), ("1620", "sha3_256")],
)  # fmt: skip
def test_multihashes_are_compared_and_other_texts_are_not(prefix: str, name: str) -> None:
    stated = prefix + hashlib.new(name, b"bytes").hexdigest()
    assert comparable(stated.upper()) == stated
    require_checksum(io.BytesIO(b"bytes"), stated)
    with pytest.raises(InputError, match=f"its {name} is"):
        require_checksum(io.BytesIO(b"other"), stated)
    for bare in (stated[len(prefix) :], stated[:-1], stated[:-1] + "g", ""):
        assert comparable(bare) == ""


def state_files(root: Path) -> None:
    """State size and checksum of every file in the items of a folder."""
    for path in root.rglob("item.json"):
        item = json.loads(path.read_text())
        for name, asset in item["assets"].items():
            body = (path.parent / f"{name}.tif").read_bytes()
            asset |= {"file:size": len(body), "file:checksum": multihash(body)}
        path.write_text(json.dumps(item))


def test_a_lock_keeps_sizes_and_checksums_outside_of_its_digest(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac")
    before = make_plan(recipe(), provider=str(root))
    state_files(root)
    lock = make_plan(recipe(), provider=str(root))
    lock.save(tmp_path / "lock.json")
    kept = Lock.load(tmp_path / "lock.json")
    assert kept == lock
    assert kept.digest == before.digest
    assert diff(before, kept) == ()
    item = kept.items("west", "s2", 2021)[0]
    files = [*item.assets.values(), *item.masks.values()]
    assert all(a.size and a.checksum for a in files)
    cut = root / item.assets["B02"].href
    body = cut.read_bytes()
    cut.write_bytes(body[:-1])
    with pytest.raises(UnitFailed, match=f"(?s){item.id}.*file:size"):
        build(recipe(), tmp_path / "out", lock=kept)
    cut.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(UnitFailed, match=f"(?s){item.id}.*file:checksum"):
        build(recipe(), tmp_path / "out", lock=kept)


def test_a_lock_with_a_broken_checksum_is_refused(tmp_path: Path) -> None:
    root = random_folder(tmp_path / "stac")
    state_files(root)
    make_plan(recipe(), provider=str(root)).save(tmp_path / "lock.json")
    text = (tmp_path / "lock.json").read_text()
    for broken in (text.replace('"1220', '"12', 1), text.replace('"1220', '5,"1220', 1)):
        (tmp_path / "lock.json").write_text(broken)
        with pytest.raises(InputError, match="cannot be read"):
            Lock.load(tmp_path / "lock.json")


def test_a_download_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rsbench.build.importers import release

    def respond(request: Handler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        for _ in range(160):
            request.wfile.write(b" ")
            request.wfile.flush()
            time.sleep(0.05)

    monkeypatch.setenv("RSBENCH_FILE_SECONDS", "0.3")
    monkeypatch.setenv("RSBENCH_REQUEST_SECONDS", "0.5")
    with scripted(respond) as (url, _), pytest.raises(InputError, match="RSBENCH_FILE_SECONDS"):
        release.download(url, tmp_path / "out")
    with scripted(stall) as (url, _), pytest.raises(InputError, match="RSBENCH_REQUEST_SECONDS"):
        release.download(url, tmp_path / "out")
