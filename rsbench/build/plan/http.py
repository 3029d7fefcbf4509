"""HTTP adapter for catalogues: checks the address of every request and the size of replies."""

from __future__ import annotations

from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from rsbench.build.plan.href import require_public
from rsbench.core.errors import InputError

MOST = 64 << 20
"""Bytes of one reply, unpacked."""


class Guarded(HTTPAdapter):
    """Send the requests of one catalogue, including redirects and links to next pages.

    ``refused`` keeps the reason of a request that was not made; the client reports only a failure.
    """

    def __init__(self, catalogue: str, **options: Any) -> None:
        super().__init__(**options)
        self._catalogue = catalogue
        self.refused: InputError | None = None

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Return the reply with its whole body.

        Raises:
            InputError: if the address is private and the catalogue's is not, or the body too large.
        """
        try:
            require_public(request.url or "", self._catalogue)
            response = super().send(request, *args, **options)
            # `Response.content` returns this once the body is marked as consumed.
            response._content = _body(response)
            response._content_consumed = True  # type: ignore[attr-defined]
        except InputError as error:
            self.refused = error
            raise
        return response


def _body(response: Response) -> bytes:
    body = bytearray()
    for part in response.iter_content(1 << 16):  # decompressed, whatever length the header states
        body += part
        if len(body) > MOST:
            response.close()
            raise InputError(
                f"searching {response.url.partition('?')[0]}",
                f"a reply is larger than {MOST >> 20} MiB",
                "Check the address: this is not a page of items",
            )
    return bytes(body)
