"""SHA-256 digests of JSON values, files and decoded arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of ``value``: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


SEAL = "sha256"
"""Key of the digest in a sealed JSON object."""


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the digest of its other keys under ``SEAL``."""
    rest = {key: item for key, item in value.items() if key != SEAL}
    return {**rest, SEAL: sha256_json(rest)}


def is_intact(value: Mapping[str, Any]) -> bool:
    """Return whether a JSON object has the digest that :func:`sealed` gave it."""
    try:
        return SEAL in value and value[SEAL] == sealed(value)[SEAL]
    except (ValueError, RecursionError):
        return False


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ArrayHasher:
    """SHA-256 of named arrays: name, dtype, shape and little-endian bytes in C order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, name: str, array: npt.NDArray[Any]) -> None:
        """Add one array. The digest depends on the order of calls; add in sorted order of names."""
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        head = canonical_json([name, little.dtype.str, list(little.shape)])
        self._hash.update(head.encode())
        self._hash.update(little.reshape(-1).view(np.uint8).data)

    def add_json(self, name: str, value: Any) -> None:
        """Add a JSON value under a name."""
        self._hash.update(canonical_json([name, value]).encode())

    def hexdigest(self) -> str:
        """Return the hex digest of all that was added."""
        return self._hash.hexdigest()
