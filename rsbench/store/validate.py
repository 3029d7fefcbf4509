"""Check every byte of a store by its path."""

from __future__ import annotations

from pathlib import Path

from rsbench.store.integrity import Finding
from rsbench.store.read import open_store

__all__ = ["Finding", "validate"]


def validate(path: str | Path) -> list[Finding]:
    """Return everything that is not as written; empty means that all is.

    Raises:
        StoreError: if the store cannot be opened at all.
    """
    return open_store(path).validate()
