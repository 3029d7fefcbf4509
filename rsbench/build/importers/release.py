"""Download a published release, verify every byte, and put its store in place when complete.

A release is untrusted until its digests match: only http(s) addresses and folders are opened, a
file that is longer than stated is refused, and only regular files of regions are unpacked. Files
that were fetched completely are kept when a download stops, and the next run resumes.
"""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import re
import shutil
import socket
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.message import Message
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote, urlsplit

from rsbench.build.engine.builder import BuildResult
from rsbench.build.engine.journal import full_disk_is_named
from rsbench.build.plan.href import is_web, redirected
from rsbench.build.plan.patience import FILE, REQUEST, Waiting
from rsbench.core.digest import sha256_file, sha256_json
from rsbench.core.errors import DiskFull, InputError, StoreError
from rsbench.core.file_lock import file_lock
from rsbench.core.io import parse_json, publish_directory, replace_file
from rsbench.store.export.release import RELEASE, VERSION_SIGNS, Release, ReleaseFile
from rsbench.store.layout import require_name
from rsbench.store.read import open_store

Advance = Callable[[str, int, int], None]

SETTING = "RSBENCH_RELEASES"
"""Address or folder below which releases lie as NAME@VERSION."""
MAX_LISTING = 16 << 20
TRIES = 3
TIMEOUT = 60.0
SLOWEST = 2000
"""Bytes a second below which a download is given up, after the limit of time of a file."""
_BLOCK = 1 << 20
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)@([0-9a-f]{8,64})")


def download(
    source: str,
    out: Path | str | None = None,
    *,
    base: str | None = None,
    digest: str | None = None,
    progress: Advance | None = None,
) -> BuildResult:
    """Fetch a release, verify it and put its store in place.

    Args:
        source: ``NAME@VERSION``, or the http(s) address or folder of a release.
        out: folder of the store; ``NAME.zarr`` if None.
        base: where releases lie, for ``NAME@VERSION``; ``$RSBENCH_RELEASES`` if None.
        digest: the store's digest, or its beginning, that must come out.
        progress: called with ``(label, done, total)`` in bytes.

    Raises:
        InputError: if it cannot be reached, is not what was asked for, or is damaged.
        DiskFull: if there is no room for it.
    """
    place, name, wanted = _asked(source, base, digest)
    release = _listing(place)
    if (name and release.name != name) or not release.digest.startswith(wanted):
        raise InputError(
            f"downloading {source}",
            f"{place} holds {release.name}@{release.version}",
            "Check the name, the version and the address",
        )
    target = Path(out) if out is not None else Path(f"{release.name}.zarr")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        return _there(target, release)
    with full_disk_is_named(target):
        _download_into(target, place, release, progress)
    return _result(target)


def _download_into(target: Path, place: str, release: Release, progress: Advance | None) -> None:
    """Fetch and verify a release in a folder beside ``target``, and rename its store to it."""
    work = target.absolute().with_name(f".tmp-{target.name}-{sha256_json(release.to_json())[:12]}")
    work.mkdir(parents=True, exist_ok=True)
    with file_lock(work / "lock", f"downloading into {target}"):
        _require_room(release, work)
        _fetch_all(place, release, work, progress)
        _verify(release, work)
        publish_directory(work / "store", target)
    shutil.rmtree(work, ignore_errors=True)


def _result(target: Path) -> BuildResult:
    store = open_store(target)
    return BuildResult(target, store.digest, store.complete)


def _asked(source: str, base: str | None, digest: str | None) -> tuple[str, str, str]:
    """Return the address or folder of a release, its name if one is asked, and its digest."""
    wanted = (digest or "").removeprefix("sha256:").lower()
    if wanted and not re.fullmatch(r"[0-9a-f]{8,64}", wanted):
        raise InputError("--digest", f"{digest!r} is none", "Give 8 to 64 hexadecimal digits")
    named = _NAMED.fullmatch(source)
    if is_web(source) or (not named and Path(source).exists()):
        return source.removesuffix(RELEASE).rstrip("/"), "", wanted
    if named is None:
        raise InputError(
            f"downloading {source}",
            "it is neither NAME@VERSION, nor an http(s) address, nor a folder that is there",
            f"Write it as s2-yearly@{'0' * VERSION_SIGNS} (the beginning of the digest)",
        )
    below = base or os.environ.get(SETTING)
    if not below:
        raise InputError(
            f"downloading {source}",
            "the address of the releases is not known",
            f"Give --from ADDRESS, or set {SETTING} to an http(s) address or a folder",
        )
    name, version = named.groups()
    if wanted and not (wanted.startswith(version) or version.startswith(wanted)):
        raise InputError("--digest", f"it contradicts {source}", "Leave one of them out")
    folder = f"{name}@{version[:VERSION_SIGNS]}"
    return f"{below.rstrip('/')}/{folder}", name, max(version, wanted, key=len)


def _there(target: Path, release: Release) -> BuildResult:
    with suppress(StoreError):
        if (held := _result(target)).digest == release.digest:
            return held
    raise InputError(
        f"downloading into {target}", "something else is there already", "Choose another --out"
    )


def _listing(place: str) -> Release:
    data = b""
    with _opened(place, RELEASE) as file:
        for block in _blocks(file, f"downloading {RELEASE} from {place}"):
            data += block
            if len(data) > MAX_LISTING:
                break
    if len(data) > MAX_LISTING:
        raise InputError(f"the release {place}", f"its {RELEASE} is too large", "Check the address")
    value = parse_json(data, f"the release {place}", "Check the address", RELEASE)
    return Release.from_json(value, place)


def _require_room(release: Release, work: Path) -> None:
    # Parts are unpacked one by one and removed, so the largest needs its size twice.
    needed = release.bytes + max(file.bytes for file in release.files)
    held = sum(p.stat().st_size for p in work.rglob("*") if p.is_file())
    free = shutil.disk_usage(work).free
    if needed - held > free:
        raise DiskFull(
            f"downloading {release.name}@{release.version}",
            f"it needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free",
            "Free some space or choose another --out",
        )


def _fetch_all(place: str, release: Release, work: Path, progress: Advance | None) -> None:
    store = work / "store"
    store.mkdir(exist_ok=True)
    done = 0
    for file in release.files:
        mark = work / f"{file.name}.done"
        if not mark.exists():
            path = work / file.name

            def told(size: int, before: int = done) -> None:
                if progress is not None:
                    progress("downloading", before + size, release.bytes)

            _fetch(place, file, path, told)
            if file.role == "root":
                path.replace(store / file.name)
            else:
                _unpack(path, store)
            mark.touch()
            path.unlink(missing_ok=True)
        done += file.bytes
        if progress is not None:
            progress("downloading", done, release.bytes)


def _fetch(place: str, file: ReleaseFile, path: Path, told: Callable[[int], None]) -> None:
    """Fetch one file in at most three tries; it is kept only with the stated digest."""
    if path.is_file() and sha256_file(path) == file.sha256:
        return
    part = path.with_name(f"{path.name}.part")
    found = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(0.5 * 2**attempt if is_web(place) else 0.0)
        try:
            size, digest = _copy(place, file, part, told)
        except InputError as error:
            found = error.found
            continue
        if (size, digest) == (file.bytes, file.sha256):
            replace_file(part, path)
            return
        found = (
            f"{size} of {file.bytes} bytes came"
            if size < file.bytes
            else "more bytes came than were stated"
            if size > file.bytes
            else f"its SHA-256 is {digest[:12]}…, the release states {file.sha256[:12]}…"
        )
    part.unlink(missing_ok=True)
    raise InputError(
        f"downloading {file.name} from {place}",
        found,
        "Run the same command again to resume; if it fails again, tell the publisher",
    )


def _copy(
    place: str, file: ReleaseFile, part: Path, told: Callable[[int], None]
) -> tuple[int, str]:
    hasher, size = hashlib.sha256(), 0
    with _opened(place, file.name) as source, part.open("wb") as out:
        for block in _blocks(source, f"downloading {file.name} from {place}"):
            size += len(block)
            if size > file.bytes:
                break
            out.write(block)
            hasher.update(block)
            told(size)
    return size, hasher.hexdigest()


def _blocks(source: IO[bytes], what: str) -> Iterator[bytes]:
    """Yield the content of a file as it comes.

    Raises:
        InputError: if less than ``SLOWEST`` bytes a second came within the limit of a file.
    """
    began, size = time.monotonic(), 0
    # Unlike `read`, `read1` returns what is there.
    while block := cast(io.BufferedReader, source).read1(_BLOCK):
        yield block
        size += len(block)
        seconds = time.monotonic() - began
        if seconds > FILE.seconds and size < SLOWEST * seconds:
            raise FILE.passed(what)


_NETWORK = (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, socket.gaierror)


@contextmanager
def _opened(place: str, name: str) -> Iterator[IO[bytes]]:
    if not is_web(place):
        try:
            file: IO[bytes] = (Path(place) / name).open("rb")
        except OSError as error:
            raise InputError(
                f"the release {place}",
                f"{name} cannot be read ({error.strerror})",
                "Name a folder that --release wrote",
            ) from error
        with file:
            yield file
        return
    parts = urlsplit(place)
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        raise InputError(
            f"the release {parts.scheme}://{parts.hostname or ''}{parts.path}",
            "its address carries credentials or a query",
            "Give the plain address of the release's folder",
        )
    url = f"{place}/{quote(name)}"
    opener = urllib.request.build_opener(_Redirects(place))
    try:
        asked = Waiting(REQUEST, f"an answer of {url}", lambda: opener.open(url, timeout=TIMEOUT))
        with closing(asked.result()) as answer:
            yield answer
    except _NETWORK as error:
        raise _unreachable(place, name, error) from error


def _unreachable(place: str, name: str, error: Exception) -> InputError:
    said = getattr(error, "reason", None) or str(error) or type(error).__name__
    code = getattr(error, "code", None)
    return InputError(
        f"downloading {name} from {place}",
        f"it cannot be reached ({f'{code} ' if code else ''}{said})",
        "Check the address, or run the same command later to resume",
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects over http(s) only, never to plain http or into a private network."""

    def __init__(self, home: str) -> None:
        self._home = home

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: Message, newurl: str,
    ) -> Any:  # fmt: skip
        """Refuse redirects to other schemes, from https to http, and into private networks."""
        redirected(req.full_url, newurl, self._home)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _unpack(path: Path, store: Path) -> None:
    """Unpack the regular files of regions; any other member of the tar is an error."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                target = _inside(member, store, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                if source is None:
                    raise _unsafe(path, member.name, "is no plain file")
                with source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, _BLOCK)
    except tarfile.TarError as error:
        raise _unsafe(path, "its content", f"cannot be read ({error})") from error


def _inside(member: tarfile.TarInfo, store: Path, path: Path) -> Path:
    name = member.name
    plain = name == posixpath.normpath(name) and not name.startswith(("/", "../", ".."))
    pieces = name.split("/")
    if not member.isreg() or member.issparse():
        raise _unsafe(path, name, "is no plain file")
    if not plain or len(pieces) < 2 or "\\" in name or ":" in name or "\0" in name:
        raise _unsafe(path, name, "leads out of its region")
    try:
        require_name("region", pieces[0])
    except InputError as error:
        raise _unsafe(path, name, "lies in no region") from error
    return store.joinpath(*pieces)


def _unsafe(path: Path, name: str, problem: str) -> InputError:
    return InputError(f"unpacking {path.name}", f"{name} {problem}", "Do not use this release")


def _verify(release: Release, work: Path) -> None:
    """Open what was unpacked and check every file and pixel against the digests.

    Raises:
        InputError: if it is not the store that the release states; it is then deleted.
    """
    folder, problem = work / "store", ""
    try:
        store = open_store(folder)
        findings = store.validate()
        if store.digest != release.digest:
            problem = f"it holds the store {store.digest[:12]}, not {release.digest[:12]}"
        elif findings:
            problem = f"validation has {len(findings)} findings, first: {findings[0]}"
    except StoreError as error:
        problem = error.found
    if problem:
        shutil.rmtree(folder, ignore_errors=True)
        for mark in work.glob("*.done"):
            mark.unlink()
        raise InputError(
            f"verifying {release.name}@{release.version}", problem, "Tell the publisher"
        )
