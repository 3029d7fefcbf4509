"""Requests to a catalogue, watched: where each one goes, and how much may come back."""

from __future__ import annotations

from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from rsbench.build.plan.href import require_public
from rsbench.core.errors import InputError

MOST = 64 << 20
"""Bytes of one reply, unpacked."""


class Guarded(HTTPAdapter):
    """Sends requests of one catalogue; redirects and links to next pages pass here too.

    ``refused`` keeps why a request was not made, since the client above tells only that it failed.
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
            # The place where `Response.content` keeps a body that was read.
            response._content = _body(response)
            response._content_consumed = True  # type: ignore[attr-defined]
        except InputError as error:
            self.refused = error
            raise
        return response


def _body(response: Response) -> bytes:
    body = bytearray()
    for part in response.iter_content(1 << 16):  # unpacked already, whatever was announced
        body += part
        if len(body) > MOST:
            response.close()
            raise InputError(
                f"searching {response.url.partition('?')[0]}",
                f"a reply is larger than {MOST >> 20} MiB",
                "This is no page of items; check the address",
            )
    return bytes(body)
