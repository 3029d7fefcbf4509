"""Requests to a catalogue: checked addresses, JSON objects only, bounds of size and time."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from pystac_client.stac_api_io import StacApiIO
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from rsbench.build.plan.href import require_public, shown
from rsbench.build.plan.items import read_json_text
from rsbench.build.plan.patience import REQUEST, SEARCH, Waiting
from rsbench.core.errors import InputError

MOST = 64 << 20
"""Bytes of one reply, unpacked."""
SOCKET_TIMEOUT = 60.0
"""Seconds without a byte after which a request is tried again."""


class SearchState(threading.local):
    """Of the search in this thread: when it must end, and why a request was not made.

    The client reports only that a request failed.
    """

    end: float = math.inf
    refused: InputError | None = None

    def begin(self) -> None:
        """Start the time of a search."""
        self.end, self.refused = time.monotonic() + SEARCH.seconds, None

    def require_time(self, what: str) -> None:
        """Refuse a search that takes too long."""
        if time.monotonic() >= self.end:
            raise SEARCH.passed(what)


class Guarded(HTTPAdapter):
    """Send the requests of one catalogue, including redirects and links to next pages."""

    def __init__(self, catalogue: str, state: SearchState) -> None:
        super().__init__(max_retries=_Retry.usual())
        self._catalogue, self._state = catalogue, state

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Return the reply with its whole body.

        Raises:
            InputError: if the address is private and the catalogue's is not, the body too large,
                or the answer too late.
        """
        what = f"an answer of {shown(request.url or '')}"

        def whole() -> Response:
            require_public(request.url or "", self._catalogue)
            response = HTTPAdapter.send(self, request, *args, **options)
            # `Response.content` returns this once the body is marked as consumed.
            response._content = _body(response)
            response._content_consumed = True  # type: ignore[attr-defined]
            return response

        try:
            self._state.require_time(what)
            left = self._state.end - time.monotonic()
            limit = SEARCH if left < REQUEST.seconds else REQUEST
            return Waiting(limit, what, whole).result(left)
        except InputError as error:
            self._state.refused = error
            raise


class CheckedIO(StacApiIO):
    """The input of pystac-client, through :class:`Guarded`; answers must be JSON objects."""

    def __init__(self, catalogue: str, state: SearchState) -> None:
        super().__init__(timeout=SOCKET_TIMEOUT)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, Guarded(catalogue, state))
        self._asked = f"an answer of {shown(catalogue)}"

    def json_loads(self, txt: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the JSON object in an answer."""
        value = read_json_text(txt, self._asked)
        if not isinstance(value, dict):
            raise InputError(self._asked, "it is no JSON object", "Give the address of a STAC API")
        return value


class _Retry(Retry):
    """Retries that refuse to wait longer than a request may take."""

    @classmethod
    def usual(cls) -> _Retry:
        return cls(
            total=5,
            connect=2,  # an unreachable host is reported within seconds
            backoff_factor=0.5,
            status_forcelist=[429, 500, 502, 503, 504],
            allowed_methods=None,
            respect_retry_after_header=True,
        )

    def get_retry_after(self, response: Any) -> float | None:
        seconds = super().get_retry_after(response)
        if seconds is not None and seconds > REQUEST.seconds:
            raise InputError(
                "searching the catalogue",
                f"it asks to wait {seconds:.0f} s (status {response.status})",
                f"Try again later, or wait longer: {REQUEST.setting}={seconds + 60:.0f}",
            )
        return seconds


def _body(response: Response) -> bytes:
    body = bytearray()
    for part in response.iter_content(1 << 16):  # decompressed, whatever length the header states
        body += part
        if len(body) > MOST:
            response.close()
            raise InputError(
                f"searching {shown(response.url)}",
                f"a reply is larger than {MOST >> 20} MiB",
                "Check the address: this is not a page of items",
            )
    return bytes(body)
