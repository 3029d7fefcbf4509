"""Signing of addresses at read time, by the name that a sensor's provider states.

A package adds a way to sign by an entry point in the group ``rsbench.signers`` that names a
:class:`Signer`. Whatever a signer adds is a secret: it stands in the query of an address and
nowhere else, so that the readers can keep it out of files, logs and messages.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast

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

_lock = threading.Lock()


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
    """Add a token of the Planetary Computer to an address of its storage."""
    sas = _sas()
    # Without the lock every thread would ask for a token of its own.
    with _lock:
        if attempt:
            sas.TOKEN_CACHE.clear()
        return cast(Callable[[str], str], sas.sign_url)(url)


@cache
def _sas() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its pydantic classes warn about their own age
        from planetary_computer import sas

    return sas
