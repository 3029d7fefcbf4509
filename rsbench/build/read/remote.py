"""Files behind http(s) addresses, read by ranges.

Every request and every redirect is made and checked here, not in GDAL, which follows a redirect to
any host and scheme. Ranges that came are kept until the file is closed, so that GDAL and the check
of the compressed bytes read them once.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import time
from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

from rsbench.build.plan.checksum import require_checksum
from rsbench.build.plan.href import redirected, require_public, shown
from rsbench.build.plan.patience import FILE, Waiting
from rsbench.core.errors import InputError

CHUNK = 32 << 10
"""Bytes of the smallest range; the header of most files fits in."""
MOST = 1 << 30
"""Bytes of the largest range."""
REDIRECTS = 5
RETRIES = 4
RETRY_DELAY = 0.5
SOCKET_TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and without a byte."""
_AGAIN = frozenset({429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

Range = tuple[int, int]
"""First byte and number of bytes."""


class RemoteError(OSError):
    """A range could not be read; the message holds no query of an address."""


class RemoteFile:
    """A file at a signed address.

    Args:
        url: with the query of its signature.
        catalogue: whose private network the file may lie in.
        end: when it must be read, by :func:`time.monotonic`.
        stated: bytes of the file as the catalogue states them; 0 if it does not.
        checksum: its multihash as the catalogue states it; empty if it does not.
    """

    def __init__(
        self, url: str, catalogue: str, end: float, stated: int = 0, checksum: str = ""
    ) -> None:
        self._url, self._catalogue, self._end = url, catalogue, end
        self._stated, self._checksum = stated, checksum
        self._held: list[tuple[int, bytes]] = []
        self._version: tuple[int, str | None] | None = None
        self._lock = threading.Lock()
        self.problem: Exception | None = None

    @property
    def size(self) -> int:
        """Bytes of the file."""
        if self._version is None:
            self.fetch([(0, CHUNK)])
        return self._version[0] if self._version else 0

    def open(self, path: str, mode: str = "rb", **_: Any) -> _Handle:
        """Return a new handle; the ``opener`` of rasterio."""
        return _Handle(self)

    def at(self, start: int, count: int) -> bytes:
        """Return bytes, fewer at the end of the file; those that are not held are fetched."""
        parts = []
        count = min(count, self.size - start)
        while count > 0:
            part = self._have(start, count)
            if not part:
                self.fetch([(start, min(max(count, CHUNK), self.size - start))])
                continue
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return b"".join(parts)

    def fetch(self, ranges: Sequence[Range]) -> None:
        """Fetch ranges that are not held, all at a time.

        Raises:
            RemoteError: if one cannot be read.
            InputError: if a redirect leads to where nothing is read, or the time is over.
        """
        missing = [r for r in ranges if len(self._have(*r)) < r[1]]
        what = f"the file {shown(self._url)}"
        asked = [Waiting(FILE, what, partial(self._ranged, *r)) for r in missing]
        for (start, _), waiting in zip(missing, asked, strict=True):
            body = waiting.result(self._end - time.monotonic())
            with self._lock:
                self._held.append((start, body))

    def require_checksum(self) -> None:
        """Compare the checksum, where one is stated, if the whole file was fetched.

        Raises:
            InputError: if it differs.
        """
        if not self._checksum:
            return
        parts: list[bytes] = []
        while (at := sum(map(len, parts))) < self.size:
            if not (part := self._have(at, self.size - at)):
                return
            parts.append(part)
        require_checksum(io.BytesIO(b"".join(parts)), self._checksum)

    def _have(self, start: int, count: int) -> bytes:
        for first, held in self._held:
            if first <= start < first + len(held):
                return held[start - first : start - first + count]
        return b""

    def _ranged(self, start: int, count: int) -> bytes:
        """Return one range; a request that fails is repeated while there is time."""
        problem: Exception = RemoteError("the time is over")
        for attempt in range(RETRIES + 1):
            try:
                return self._requested(start, count)
            except _AgainError as error:
                wait = max(error.wait, RETRY_DELAY * 2**attempt)
                problem = RemoteError(str(error))
                if attempt == RETRIES or time.monotonic() + wait > self._end:
                    break
                time.sleep(wait)
        raise problem

    def _requested(self, start: int, count: int) -> bytes:
        """Return one range, after redirects that are checked."""
        if count > MOST:
            raise RemoteError(f"a range of {count} bytes is larger than {MOST >> 20} MiB")
        url = self._url
        require_public(url, self._catalogue)
        for _ in range(REDIRECTS + 1):
            status, headers, body = _get(url, start, count)
            if status in _MOVED:
                url = redirected(url, str(headers.get("Location", "")), self._catalogue)
                continue
            if status in _AGAIN:
                raise _AgainError(f"HTTP response code: {status}", headers.get("Retry-After"))
            if status != 206:
                said = ", the whole file in place of a range" if status == 200 else ""
                raise RemoteError(f"HTTP response code: {status}{said}")
            self._url = url
            return self._whole(start, count, headers, body)
        raise RemoteError(f"more than {REDIRECTS} redirects")

    def _whole(self, start: int, count: int, headers: Any, body: bytes) -> bytes:
        """Return a body that is all of a range, of the version of the file that came first."""
        found = _RANGE.fullmatch(str(headers.get("Content-Range", "")).strip())
        if found is None or headers.get("Content-Encoding", "identity") != "identity":
            raise RemoteError("the server's answer is no plain range")
        first, _, total = map(int, found.groups())
        if first != start or len(body) != min(count, total - start):
            raise _AgainError(f"{len(body)} of {min(count, total - start)} bytes came", None)
        if self._stated:
            require_size(total, self._stated)
        version = (total, headers.get("ETag"))
        with self._lock:
            self._version = self._version or version
        if version != self._version:
            raise RemoteError("the file changed while it was read")
        return body


def require_size(found: int, stated: int) -> None:
    """Refuse a file that is shorter or longer than its catalogue states.

    Raises:
        InputError: if so.
    """
    if found != stated:
        raise InputError(
            "reading a file",
            f"it has {found} bytes, its catalogue states file:size {stated}",
            "It was changed or cut short: search again, or tell its provider",
        )


class _AgainError(Exception):
    """A request that may be made again."""

    def __init__(self, problem: str, wait: str | None) -> None:
        super().__init__(problem)
        self.wait = float(wait) if wait and wait.isdigit() else 0.0


class _Handle(io.RawIOBase):
    """What GDAL reads; it drops exceptions, so the file keeps the first."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        try:
            self._at = (self._file.size if base is None else base) + offset
        except (OSError, InputError) as error:
            self._file.problem = self._file.problem or error
            raise
        return self._at

    def read(self, size: int = -1) -> bytes:
        try:
            held = self._file.at(self._at, self._file.size - self._at if size < 0 else size)
        except (OSError, InputError) as error:
            self._file.problem = self._file.problem or error
            raise
        self._at += len(held)
        return held


def _get(url: str, start: int, count: int) -> tuple[int, Any, bytes]:
    """Return status, headers and body of a request for a range; a body is no longer than asked."""
    from requests import Request
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    adapter, options = _adapter(), _options(*urlsplit(url)[:2])
    headers = {
        "Range": f"bytes={start}-{start + count - 1}",
        "Accept-Encoding": "identity",
        "User-Agent": "rsbench",
    }
    try:
        request = Request("GET", url, headers=headers).prepare()
        with adapter.send(request, stream=True, timeout=SOCKET_TIMEOUT, **options) as response:
            whole = response.status_code == 206
            body = response.raw.read(count + 1, decode_content=False) if whole else b""
            return response.status_code, response.headers, body
    except (RequestException, HTTPError, OSError) as error:
        # Its text may hold the query of the address.
        raise _AgainError(f"the connection failed ({type(error).__name__})", None) from None


@cache
def _adapter() -> Any:
    from requests.adapters import HTTPAdapter

    # Its connections log addresses with their queries.
    logging.getLogger("urllib3.connectionpool").addFilter(_without_query)
    return HTTPAdapter(pool_connections=32, pool_maxsize=64, max_retries=0)


@cache
def _options(scheme: str, host: str) -> dict[str, Any]:
    """Return proxies and certificates that the environment states for a host."""
    from requests import Session

    with Session() as session:
        found = session.merge_environment_settings(f"{scheme}://{host}/", {}, None, None, None)
    return {name: found[name] for name in ("proxies", "verify", "cert")}


def without_queries(text: str) -> str:
    """Return a message without the query strings of addresses, which hold the tokens."""
    return re.sub(r"\?[^\s'\"<>)]*", "", text)


def _without_query(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_queries(record.getMessage()), ()
    return True
