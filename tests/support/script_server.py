"""A server on the loopback address whose every reply is written by a function of the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request; ``respond`` of the server writes the reply."""

    protocol_version = "HTTP/1.1"
    timeout = 20

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        server: Any = self.server
        server.paths.append(self.path)
        try:
            server.respond(self)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_HEAD = answer  # noqa: N815

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Reply with a body; ``_`` in a header's name stands for a hyphen."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, value: Any) -> None:
        self.send(json.dumps(value).encode(), Content_Type="application/json")

    def redirect(self, to: str, status: int = 302) -> None:
        self.send(b"", status, Location=to)

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Write nothing: clients that give up close their connections."""


@contextmanager
def scripted(respond: Respond) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server, and the paths that were asked for."""
    server = _Quiet(("127.0.0.1", 0), Handler)
    paths: list[str] = []
    server.respond, server.paths = respond, paths  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", paths
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def stall(request: Handler) -> None:
    """Send nothing for 8 s."""
    time.sleep(8)


def trickle(request: Handler) -> None:
    """Send a body of 200 bytes in 10 s."""
    for _ in range(200):
        request.wfile.write(b"I")
        request.wfile.flush()
        time.sleep(0.05)


def drip_headers(request: Handler) -> None:
    """Send 200 headers in 10 s."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for n in range(200):
        request.wfile.write(f"X-{n}: 1\r\n".encode())
        request.wfile.flush()
        time.sleep(0.05)


def landing(url: str) -> dict[str, Any]:
    """The first document of a STAC API that can be searched."""
    core, search = (
        "https://api.stacspec.org/v1.0.0/core",
        "https://api.stacspec.org/v1.0.0/item-search",
    )
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "scripted",
        "description": "scripted",
        "conformsTo": [core, search, f"{search}#query"],
        "links": [
            {"rel": "self", "href": url},
            {"rel": "root", "href": url},
            {"rel": "search", "href": f"{url}/search", "method": "POST"},
        ],
    }
