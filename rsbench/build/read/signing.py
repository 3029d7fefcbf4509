"""Signing of addresses at read time, by the name that a sensor's provider states.

A package adds a way to sign by an entry point in the group ``rsbench.signers`` that names a
:class:`Signer`. Whatever a signer adds is a secret: it stands in the query of an address and
nowhere else, so that the readers can keep it out of files, logs and messages.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from rsbench.core.plugins import PlugIns


class Signer(Protocol):
    """A way to sign addresses; called by many threads at once."""

    def __call__(self, url: str, attempt: int) -> str:
        """Return ``url``, with a query added or as it is.

        Args:
            url: http(s) address without query or credentials.
            attempt: 0 at first; more after a read that failed, so that a token is renewed.
        """


class SigningError(OSError):
    """An address could not be signed; the message holds no part of a token."""


SIGNERS: PlugIns[Signer] = PlugIns("rsbench.signers", "way to sign", "a call", callable)

TIMEOUT_S = 10.0
"""Seconds to wait for the token service."""
PAUSE_S = 60.0
RENEW_S = 60.0
"""Seconds before its end from which a token is renewed."""

_WITHOUT_TOKEN = "ai4edatasetspublicassets.blob.core.windows.net"

_lock = threading.Lock()
_paused: dict[str, float] = {}
"""Address of a token → instant (monotonic) until which it is not asked for."""


def signer(name: str) -> Signer:
    """Return a signer that fails by :class:`SigningError` only, or by an address that is safe.

    Args:
        name: a name of :data:`SIGNERS`, as ``signing`` of a provider in ``catalogs/sensors``.

    Raises:
        UnknownName: if no package registers it; the message has the nearest names.
    """
    chosen = SIGNERS.get(name)

    def sign(url: str, attempt: int) -> str:
        problem = ""
        try:
            signed = chosen(url, attempt)
        except Exception as error:  # noqa: BLE001 - the message of any error may hold a token
            problem = f"it raised {type(error).__name__}"
        else:
            if isinstance(signed, str) and signed.partition("?")[0] == url:
                return signed
            problem = "it returned another address, and may add a query only"
        # Raised outside of `except`: the first error must not show in a traceback.
        raise SigningError(f"{url} cannot be signed by {name}: {problem}")

    return sign


def unsigned(url: str, attempt: int) -> str:
    """Return the address as it is."""
    return url


def planetary_computer(url: str, attempt: int) -> str:
    """Add a token of the Planetary Computer to an address of its storage.

    Raises:
        OSError: if the service gave no token; for ``PAUSE_S`` seconds it is then not asked again.
    """
    sas = _sas()
    # Without the lock every thread would ask for a token of its own.
    with _lock:
        if attempt:
            sas.TOKEN_CACHE.clear()
        host = urlsplit(url).netloc
        if host.endswith(sas.BLOB_STORAGE_DOMAIN) and host != _WITHOUT_TOKEN:
            _ask_token(sas, *sas.parse_blob_url(urlsplit(url)))
        return cast(Callable[[str], str], sas.sign_url)(url)


def _ask_token(sas: Any, account: str, container: str) -> None:
    """Put the token of a container into the library's cache, unless a valid one is there.

    The library itself asks without a timeout, and for minutes where nothing answers.
    """
    from requests import Session
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    settings = sas.Settings.get()
    address = f"{settings.sas_url}/{account}/{container}"
    held = sas.TOKEN_CACHE.get(address)
    if held and held.ttl() >= RENEW_S:
        return
    if time.monotonic() < _paused.get(address, 0.0):
        raise ConnectionError("the service did not answer a moment ago")
    retry = Retry(total=3, connect=1, read=1, backoff_factor=0.5, status_forcelist=[429, 502, 503])
    key = settings.subscription_key
    try:
        with Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            headers = {"Ocp-Apim-Subscription-Key": key} if key else None
            reply = session.get(address, headers=headers, timeout=TIMEOUT_S)
            reply.raise_for_status()
            sas.TOKEN_CACHE[address] = sas.SASToken(**reply.json())
    except OSError:
        _paused[address] = time.monotonic() + PAUSE_S
        raise


@cache
def _sas() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its pydantic classes warn about their own age
        from planetary_computer import sas

    return sas
