"""Checksums of the STAC file extension: multihashes in hex, e.g. ``1220`` and a SHA-256.

Source: https://github.com/stac-extensions/file and https://multiformats.io/multihash.
"""

from __future__ import annotations

import hashlib
from io import BufferedIOBase

from rsbench.core.errors import InputError

_PREFIXES = {
    **{"1114": "sha1", "1220": "sha256", "1340": "sha512", "2030": "sha384", "d50110": "md5"},
    **{"1440": "sha3_512", "1530": "sha3_384", "1620": "sha3_256", "171c": "sha3_224"},
}
"""Code and length of a multihash → name of hashlib."""
_LENGTHS = {name: 2 * hashlib.new(name, usedforsecurity=False).digest_size
            for name in _PREFIXES.values()}  # fmt: skip
"""Hex digits of a digest."""


def comparable(stated: str) -> str:
    """Return a stated checksum in lower case; empty if it is none that is compared.

    These are multihashes of MD5, SHA-1, SHA-2 and SHA-3. A bare digest does not say which it is.
    """
    return text if stated and _parts(text := stated.lower()) else ""


def require_checksum(file: BufferedIOBase, stated: str) -> None:
    """Refuse a file whose bytes are not those that its catalogue states.

    Raises:
        InputError: if so.
    """
    parts = _parts(stated)
    if parts is None:
        return
    name, wanted = parts
    found = hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()
    if found != wanted:
        raise InputError(
            "reading a file",
            f"its {name} is {found[:12]}…, its catalogue states file:checksum {wanted[:12]}…",
            "It was changed or damaged: search again, or tell its provider",
        )


def _parts(text: str) -> tuple[str, str] | None:
    """Return algorithm and digest of a multihash."""
    for prefix, name in _PREFIXES.items():
        digest = text.removeprefix(prefix)
        if (
            digest != text
            and len(digest) == _LENGTHS[name]
            and not set(digest) - set("0123456789abcdef")
        ):
            return name, digest
    return None
