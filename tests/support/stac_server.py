"""A small STAC API and file server on the loopback interface.

It serves a folder that holds a static STAC catalogue with relative asset links, so that the
simulated Earth and the tests are searched and read through the very path a provider is. Faults
can be injected per request. It is no server for the open network.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, ClassVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from rsbench.core.errors import InputError, RsbenchError

from . import stac_search
from .stac_documents import CONFORMANCE, Catalogue, link_to

DEFAULT_LIMIT = 100
OLDER = "/files/"
"""Where the server of older versions offered the folder's files; their locks name it."""
MAX_LIMIT = 1000
_CHUNK = 1 << 20
_TYPES = {".tif": "image/tiff; application=geotiff", ".json": "application/json"}


@dataclass(frozen=True)
class Request:
    """What a fault callback sees. ``number`` counts all requests of the server from 1."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one reply; the parts add up.

    ``latency``: seconds before the reply. ``status``: replaces the reply by this error.
    ``truncate``: bytes of the body after which the connection closes. ``stall``: seconds of
    silence in the middle of the body, then the connection closes. ``corrupt``: every n-th byte
    of the body has its bits flipped.
    """

    latency: float = 0.0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    truncate: int | None = None
    stall: float | None = None
    corrupt: int | None = None


FaultCallback = Callable[[Request], Fault | None]


class _RefusedError(Exception):
    """An HTTP error reply."""

    def __init__(self, status: int, problem: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem)
        self.status = status
        self.headers = headers or {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # A builder opens dozens of connections at once; the default queue of 5 resets some of them.
    request_queue_size = 256
    _taken: ClassVar[set[int]] = set()

    def __init__(self, root: Path, fault: FaultCallback | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self._bind_anew()
        self.root = root.resolve()
        self.fault = fault
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.catalogue = Catalogue(self.root, self.base)
        self.stopping = threading.Event()
        self._count = 0
        self._lock = threading.Lock()

    def _bind_anew(self) -> None:
        """Listen on a port that this process never had.

        GDAL remembers for the whole process what an address held; on a port used twice it would
        show files of the server before.
        """
        held = []
        try:
            while True:
                self.server_bind()
                if self.server_address[1] not in self._taken:
                    break
                held.append(self.socket)  # kept open, so that another port comes next
                self.socket = socket.socket(self.address_family, self.socket_type)
                self.server_address = ("127.0.0.1", 0)
            self._taken.add(self.server_address[1])
            self.server_activate()
        except OSError:
            self.server_close()
            raise
        finally:
            for one in held:
                one.close()

    def next_number(self) -> int:
        with self._lock:
            self._count += 1
            return self._count

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Readers close connections as soon as they have what they need.
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    server: _Server

    def do_GET(self) -> None:
        self._reply()

    def do_HEAD(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        self._reply()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay quiet: progress belongs to the command, not to the server."""

    def _reply(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        # The body is read before anything can fail, or the next request would start inside it.
        body = self._body()
        fault = self._fault(url.path, query) or Fault()
        if fault.latency:
            self.server.stopping.wait(fault.latency)
        try:
            if fault.status is not None:
                raise _RefusedError(fault.status, "injected fault", fault.headers)
            if url.path.startswith(OLDER) or url.path.endswith(".tif"):
                self._file(unquote(url.path.removeprefix(OLDER).removeprefix("/")), fault)
            else:
                self._send_json(self._document(url.path, query, body), fault)
        except _RefusedError as refused:
            self._send_error(refused)
        except RsbenchError as error:
            self._send_error(_RefusedError(400, str(error)))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            return b""
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(int(length)) if length.isdigit() else b""

    def _fault(self, path: str, query: Mapping[str, str]) -> Fault | None:
        number = self.server.next_number()
        if self.server.fault is None:
            return None
        headers = {name.lower(): value for name, value in self.headers.items()}
        return self.server.fault(Request(number, self.command, path, query, headers))

    # STAC ------------------------------------------------------------------------------

    def _document(self, path: str, query: dict[str, str], body: bytes) -> dict[str, Any]:
        catalogue = self.server.catalogue
        parts = [unquote(part) for part in path.strip("/").split("/") if part]
        if self.command == "POST" and parts != ["search"]:
            raise _RefusedError(405, "only /search takes POST", {"Allow": "GET, HEAD"})
        match parts:
            case []:
                return catalogue.landing()
            case ["conformance"]:
                return {"conformsTo": list(CONFORMANCE)}
            case ["collections"]:
                links = [link_to("self", f"{catalogue.base}/collections")]
                return {"collections": list(catalogue.collections.values()), "links": links}
            case ["collections", name] if name in catalogue.collections:
                return catalogue.collections[name]
            case ["collections", name, "items"] if name in catalogue.collections:
                return self._search({**_from_query(query), "collections": [name]}, path, query)
            case ["collections", name, "items", key] if (name, key) in catalogue.by_id:
                return catalogue.by_id[name, key]
            case ["search"] if self.command == "POST":
                return self._search(_from_body(body), path, None)
            case ["search"]:
                return self._search(_from_query(query), path, query)
        raise _RefusedError(404, f"nothing is at {path}")

    def _search(
        self, request: dict[str, Any], path: str, query: dict[str, str] | None
    ) -> dict[str, Any]:
        catalogue = self.server.catalogue
        found = stac_search.search(catalogue.items, request)
        start = _offset(request.get("token"))
        limit = max(1, min(int(request.get("limit") or DEFAULT_LIMIT), MAX_LIMIT))
        page = found[start : start + limit]
        links = [link_to("root", f"{catalogue.base}/")]
        if start + limit < len(found):
            token = f"next:{start + limit}"
            link = link_to("next", f"{catalogue.base}{path}", kind="application/geo+json")
            if query is None:
                link |= {"method": "POST", "body": {**request, "token": token}, "merge": False}
            else:
                link |= {"method": "GET", "href": f"{link['href']}?{_with_token(query, token)}"}
            links.append(link)
        return {
            "type": "FeatureCollection",
            "features": page,
            "links": links,
            "numberMatched": len(found),
            "numberReturned": len(page),
        }

    # Replies ---------------------------------------------------------------------------

    def _send_json(self, document: Mapping[str, Any], fault: Fault) -> None:
        payload = json.dumps(document).encode()
        kind = "application/geo+json" if "features" in document else "application/json"
        self._head(200, {"Content-Type": kind, "Content-Length": str(len(payload))})
        self._write(payload, fault)

    def _send_error(self, refused: _RefusedError) -> None:
        payload = json.dumps({"code": str(refused.status), "description": str(refused)}).encode()
        # A body after HEAD would be read as the beginning of the next reply.
        payload = b"" if self.command == "HEAD" else payload
        self._head(
            refused.status,
            {
                "Content-Type": "application/json",
                "Content-Length": str(len(payload)),
                **refused.headers,
            },
        )
        self.wfile.write(payload)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _file(self, relative: str, fault: Fault) -> None:
        if self.command == "POST":
            raise _RefusedError(405, "files take GET and HEAD", {"Allow": "GET, HEAD"})
        path = _safe_path(self.server.root, relative)
        with path.open("rb") as file:
            size = path.stat().st_size
            first, last, status = _byte_range(self.headers.get("Range"), size)
            headers = {
                "Content-Type": _TYPES.get(path.suffix, "application/octet-stream"),
                "Content-Length": str(last - first + 1),
                "Accept-Ranges": "bytes",
                "Last-Modified": self.date_time_string(path.stat().st_mtime),
            }
            if status == 206:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            self._head(status, headers)
            if self.command == "GET":
                self._send_range(file, first, last, fault)

    def _send_range(self, file: BinaryIO, first: int, last: int, fault: Fault) -> None:
        file.seek(first)
        left = last - first + 1
        faulty = (fault.truncate, fault.stall, fault.corrupt) != (None, None, None)
        while left > 0:
            block = file.read(left if faulty else min(left, _CHUNK))
            if not block:
                self.close_connection = True
                return
            self._write(block, fault)
            left -= len(block)

    def _write(self, payload: bytes, fault: Fault) -> None:
        if self.command == "HEAD":
            return
        if fault.corrupt:
            damaged = bytearray(payload)
            for at in range(fault.corrupt - 1, len(damaged), fault.corrupt):
                damaged[at] ^= 0xFF
            payload = bytes(damaged)
        if fault.truncate is not None:
            self.wfile.write(payload[: fault.truncate])
            self.close_connection = True
        elif fault.stall is not None:
            self.wfile.write(payload[: len(payload) // 2])
            self.wfile.flush()
            self.server.stopping.wait(fault.stall)
            self.close_connection = True
        else:
            self.wfile.write(payload)


def _safe_path(root: Path, relative: str) -> Path:
    """Return a file below ``root``; links and dots that lead outside are not found."""
    if "\0" in relative:
        raise _RefusedError(404, "no such file")
    path = (root / relative.lstrip("/")).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise _RefusedError(404, "no such file")
    return path


def _byte_range(header: str | None, size: int) -> tuple[int, int, int]:
    """Return first byte, last byte and status for a Range header; several ranges give it all."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if not found or found.groups() == ("", ""):
        return 0, size - 1, 200
    low, high = found.groups()
    first = int(low) if low else max(0, size - int(high))
    last = min(int(high), size - 1) if low and high else size - 1
    if first > last or (not low and int(high) == 0):
        raise _RefusedError(
            416, "the range lies outside the file", {"Content-Range": f"bytes */{size}"}
        )
    return first, last, 206


def _from_body(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError as error:
        raise _RefusedError(400, f"the body is no JSON: {error}") from error
    if not isinstance(request, dict):
        raise _RefusedError(400, "the body is no JSON object")
    return request


def _from_query(query: Mapping[str, str]) -> dict[str, Any]:
    """Bring GET parameters into the form of a POST body."""
    request: dict[str, Any] = dict(query)
    try:
        for name in ("ids", "collections"):
            if name in query:
                request[name] = query[name].split(",")
        if "bbox" in query:
            request["bbox"] = [float(v) for v in query["bbox"].split(",")]
        for name in ("intersects", "query"):
            if name in query:
                request[name] = json.loads(query[name])
    except ValueError as error:
        raise _RefusedError(400, f"a parameter cannot be read: {error}") from error
    if "sortby" in query:
        request["sortby"] = [
            {"field": name.lstrip("+- "), "direction": "desc" if name.startswith("-") else "asc"}
            for name in query["sortby"].split(",")
        ]
    return request


def _with_token(query: Mapping[str, str], token: str) -> str:
    return urlencode({**query, "token": token})


def _offset(token: Any) -> int:
    if token is None:
        return 0
    found = re.fullmatch(r"next:(\d+)", str(token))
    if not found:
        raise _RefusedError(400, f"the paging token {token!r} is not ours")
    return int(found[1])


@contextmanager
def serve(root: Path | str, *, fault: FaultCallback | None = None) -> Iterator[str]:
    """Serve a folder with a static STAC catalogue and yield the base URL.

    Args:
        root: folder; its STAC documents are read once, its rasters are served below the address,
            as in the folder, and all files below ``/files/``.
        fault: asked before every reply what shall go wrong with it; for tests.
    """
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"serving {folder}", "there is no such folder", "Give an existing folder")
    server = _Server(folder, fault)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
    )
    thread.start()
    try:
        yield server.base
    finally:
        server.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
