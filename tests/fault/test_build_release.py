"""Releases: a flat folder, the same bytes twice, fetched over loopback and never half or forged."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from build_fixtures import random_folder, recipe

from rsbench.build.engine.builder import BuildResult, build
from rsbench.build.importers import release as importers_release
from rsbench.build.importers.release import download
from rsbench.build.plan.plan import Lock
from rsbench.core.digest import sha256_file
from rsbench.core.errors import DiskFull, InputError, UnitFailed
from rsbench.store.export.release import CROISSANT, RELEASE, SUMS, Release, write_release
from rsbench.store.read import open_store


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    folder = random_folder(tmp_path_factory.mktemp("stac"))
    return build(recipe(), tmp_path_factory.mktemp("out") / "handmade.zarr", provider=str(folder))


@pytest.fixture(scope="module")
def released(built: BuildResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of two parts below a folder of releases, as NAME@VERSION."""
    base = tmp_path_factory.mktemp("releases")
    folder = base / f"handmade@{built.digest[:12]}"
    write_release(built.path, folder, parts=1)
    return folder


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importers_release.time, "sleep", lambda seconds: None)


class Handler(SimpleHTTPRequestHandler):
    """Files, with what a callback does to an answer."""

    spoil: Callable[[str, bytes], bytes | str] = staticmethod(lambda path, data: data)
    seen: Counter[str]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        path = Path(self.directory) / name.replace("%40", "@")
        self.seen[path.name] += 1
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        made = type(self).spoil(path.name, data)
        if isinstance(made, str):
            self.send_response(302)
            self.send_header("Location", made)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(made)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(
    folder: Path, spoil: Callable[[str, bytes], bytes | str] | None = None
) -> Iterator[tuple[str, Counter[str]]]:
    seen = Counter[str]()
    names: dict[str, Any] = {"seen": seen}
    if spoil is not None:
        names["spoil"] = staticmethod(spoil)
    handler = type("Spoiled", (Handler,), names)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        server.server_close()


# The folder ----------------------------------------------------------------------------


def test_a_release_is_flat_listed_and_the_same_twice(
    built: BuildResult, released: Path, tmp_path: Path
) -> None:
    made = Release.from_json(json.loads((released / RELEASE).read_text()), "here")
    assert made.digest == built.digest
    held = {path.name: path for path in released.iterdir()}
    assert all(path.is_file() for path in held.values())
    assert {f.name for f in made.files} | {RELEASE, CROISSANT, SUMS} == set(held)
    assert sum(file.role == "part" for file in made.files) == 2
    for line in (released / SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert sha256_file(held[name]) == digest
    copy = tmp_path / "moved.zarr"
    shutil.copytree(built.path, copy)
    write_release(copy, tmp_path / "again", parts=1)
    for name, path in held.items():
        assert (tmp_path / "again" / name).read_bytes() == path.read_bytes(), name


def test_a_release_has_the_same_bytes_after_a_resume_and_from_a_lock(tmp_path: Path) -> None:
    stac = random_folder(tmp_path / "stac", per_year=1)
    whole = build(recipe(), tmp_path / "whole.zarr", provider=str(stac))
    file = next(stac.rglob("*B03.tif"))
    held = file.read_bytes()
    file.write_bytes(held[:10])
    for options in ({}, {"lock": Lock.load(whole.path / "lock.json.gz")}):
        with pytest.raises(UnitFailed):
            build(recipe(), tmp_path / f"again{len(options)}", provider=str(stac), **options)
    file.write_bytes(held)
    made = [write_release(whole.path, tmp_path / "release")]
    for number in (0, 1):
        again = build(recipe(), tmp_path / f"again{number}", provider=str(stac))
        made.append(write_release(again.path, tmp_path / f"release{number}"))
    assert made[0] == made[1] == made[2]
    card = (tmp_path / "release" / "README.md").read_text()
    assert 'xr.open_zarr("handmade.zarr"' in card  # what `download` calls it


def test_the_croissant_names_what_is_there(built: BuildResult, released: Path) -> None:
    value = json.loads((released / CROISSANT).read_text())
    assert value["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    objects = {entry["@id"]: entry for entry in value["distribution"]}
    for name, entry in objects.items():
        assert entry["sha256"] == sha256_file(released / name)
        assert entry["contentSize"] == f"{(released / name).stat().st_size} B"
    records = {entry["@id"]: entry for entry in value["recordSet"]}
    fields = {field["@id"] for entry in records.values() for field in entry["field"]}
    for field in records["regions"]["field"]:
        assert field["source"]["fileObject"]["@id"] in objects
        key = field["source"]["extract"]["jsonPath"].removeprefix("$.regions[*].")
        assert all(key in r for r in json.loads((released / "index.json").read_text())["regions"])
        if "references" in field:
            assert field["references"]["field"]["@id"] in fields
    assert {entry["key"]["@id"] for entry in records.values()} <= fields
    assert value["license"]
    assert "Copernicus" in value["creditText"]


def test_a_release_overwrites_nothing(built: BuildResult, released: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="something is there already"):
        write_release(built.path, tmp_path)
    assert write_release(built.path, released).digest == built.digest  # this very one: kept
    assert not list(tmp_path.parent.glob(".tmp-*"))


# Fetching ------------------------------------------------------------------------------


def test_a_release_is_fetched_by_name_address_and_folder(
    built: BuildResult, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = released.name
    with served(released.parent) as (url, _):
        for number, (source, base) in enumerate(
            [(named, url), (f"{url}/{named}", None), (f"{url}/{named}/{RELEASE}", None)]
        ):
            told: list[tuple[str, int, int]] = []
            result = download(
                source,
                tmp_path / f"{number}.zarr",
                base=base,
                progress=lambda *report, told=told: told.append(report),
            )
            assert result.digest == built.digest
            assert open_store(result.path).validate() == []
            assert told[-1][1] == told[-1][2] > 0
        with pytest.raises(InputError, match="404"):
            download("handmade@0123456789ab", tmp_path / "x", base=url)
    monkeypatch.setenv("RSBENCH_RELEASES", str(released.parent))
    assert download(named, tmp_path / "d.zarr").digest == built.digest
    assert download(named, tmp_path / "d.zarr").digest == built.digest  # is there: nothing to do
    assert download(str(released), tmp_path / "e.zarr").digest == built.digest
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_name_without_place_and_a_wrong_digest_are_told(
    built: BuildResult, released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RSBENCH_RELEASES", raising=False)
    with pytest.raises(InputError, match="RSBENCH_RELEASES"):
        download(released.name)
    with pytest.raises(InputError, match="neither NAME@VERSION"):
        download("handmade")
    for refused in ("ftp://example.org/x", "file:///etc", "s3://bucket/x"):
        with pytest.raises(InputError, match="neither NAME@VERSION"):
            download(refused)
    with pytest.raises(InputError, match="credentials"):
        download("https://me:secret@example.org/x")
    with pytest.raises(InputError, match=f"holds handmade@{built.digest[:12]}"):
        download(str(released), tmp_path / "x", digest="0" * 64)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").touch()
    with pytest.raises(InputError, match="something else is there"):
        download(str(released), tmp_path / "x")


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda data: data[:-100], "bytes came"),
        (lambda data: data[:600] + bytes([data[600] ^ 1]) + data[601:], "SHA-256"),
        (lambda data: b"", "0 of"),
    ],
    ids=["cut", "flipped", "empty"],
)
def test_a_damaged_part_leaves_no_store_and_the_next_try_goes_on(
    spoil: Callable[[bytes], bytes],
    cause: str,
    built: BuildResult,
    released: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out.zarr"
    last = sorted(released.glob("*.tar"))[-1].name

    def bad(name: str, data: bytes) -> bytes:
        return spoil(data) if name == last else data

    with served(released, bad) as (url, seen):
        with pytest.raises(InputError, match=cause) as caught:
            download(url, out)
        assert last in str(caught.value)
        assert seen[last] == importers_release.TRIES
        assert not out.exists()
    with served(released) as (url, seen):
        assert download(url, out).digest == built.digest
    assert seen == {RELEASE: 1, last: 1}  # what had come whole was kept
    assert not list(tmp_path.glob(".tmp-*"))


def test_more_bytes_than_stated_are_not_taken(released: Path, tmp_path: Path) -> None:
    copy = tmp_path / "release"
    shutil.copytree(released, copy)
    value = json.loads((copy / RELEASE).read_text())
    value["files"][-1]["bytes"] = 10
    (copy / RELEASE).write_text(json.dumps(value))
    with pytest.raises(InputError, match="more bytes came"):
        download(str(copy), tmp_path / "out")
    value["files"][-1]["bytes"] = 1 << 60
    (copy / RELEASE).write_text(json.dumps(value))
    with pytest.raises(DiskFull, match="GB are free"):
        download(str(copy), tmp_path / "out")


@pytest.mark.parametrize(
    "goal", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/token"]
)
def test_redirects_to_elsewhere_are_not_followed(goal: str, released: Path, tmp_path: Path) -> None:
    with (
        served(released, lambda name, data: goal) as (url, _),
        pytest.raises(InputError, match=r"it redirects to|is not allowed"),
    ):
        download(url, tmp_path / "out")


# Forged --------------------------------------------------------------------------------


def forge(released: Path, folder: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    """A release whose first part is another tar, with digests that agree."""
    shutil.copytree(released, folder)
    path = sorted(folder.glob("*.tar"))[0]
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    value = json.loads((folder / RELEASE).read_text())
    for file in value["files"]:
        if file["name"] == path.name:
            file |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    (folder / RELEASE).write_text(json.dumps(value))
    return folder


def link(name: str, goal: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, goal
    return info


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped", b"x"),
        ("west/../../escaped", b"x"),
        ("/tmp/escaped-from-a-tar", b"x"),
        ("west/..\\escaped", b"x"),
        (".hidden/escaped", b"x"),
        ("index.json", b"{}"),
        link("west/link", "/etc", tarfile.SYMTYPE),
        link("west/link", "../../x", tarfile.LNKTYPE),
        link("west/pipe", "", tarfile.FIFOTYPE),
    ],
    ids=lambda m: m[0] if isinstance(m, tuple) else m.type.decode(),
)
def test_a_tar_that_leads_out_is_refused(
    member: tarfile.TarInfo | tuple[str, bytes], released: Path, tmp_path: Path
) -> None:
    forged = forge(released, tmp_path / "forged", member)
    with pytest.raises(InputError, match="Do not use this release"):
        download(str(forged), tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists()
    assert not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/escaped-from-a-tar").exists()


def test_a_store_that_is_not_the_stated_one_is_thrown_away(released: Path, tmp_path: Path) -> None:
    forged = forge(released, tmp_path / "forged", ("east/zarr.json", b"{}"))
    with pytest.raises(InputError, match=r"verifying handmade@"):
        download(str(forged), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"schema": 9}, "its schema is 9"),
        ({"name": "../x"}, "name or digest"),
        ({"version": "0" * 12}, "does not begin its digest"),
        ({"digest": "xyz"}, "name or digest"),
        ({"files": []}, "lists no file"),
        (
            {"files": [{"name": "../x", "role": "part", "bytes": 1, "sha256": "0" * 64}]},
            "malformed",
        ),
        ({"files": [{"name": "x.py", "role": "root", "bytes": 1, "sha256": "0" * 64}]}, "store"),
        (
            {"files": [{"name": "x.tar", "role": "part", "bytes": -1, "sha256": "0" * 64}]},
            "size or role",
        ),
        ({"files": [{"name": "x.tar"}]}, "cannot be read"),
        ({"files": 7}, "cannot be read"),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(
    change: dict[str, Any], cause: str, released: Path, tmp_path: Path
) -> None:
    value = json.loads((released / RELEASE).read_text()) | change
    (tmp_path / RELEASE).write_text(json.dumps(value))
    with pytest.raises(InputError, match=cause):
        download(str(tmp_path), tmp_path / "out")
