"""Validation of a store by path."""

from __future__ import annotations

from pathlib import Path

from rsbench.store.integrity import Finding
from rsbench.store.read import open_store

__all__ = ["Finding", "validate"]


def validate(path: str | Path) -> list[Finding]:
    """Return all differences from the manifests and digests; empty for an intact store.

    Raises:
        StoreError: if the store cannot be opened.
    """
    return open_store(path).validate()
