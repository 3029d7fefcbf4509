"""The cache folder, and the path of the store built last."""

from __future__ import annotations

import os
from pathlib import Path

from rsbench.core.errors import InputError
from rsbench.core.io import write_atomic


def cache_dir(*parts: str) -> Path:
    """Create and return a folder in ``$RSBENCH_CACHE`` (default: the user's cache folder)."""
    import platformdirs

    root = os.environ.get("RSBENCH_CACHE") or platformdirs.user_cache_dir("rsbench")
    path = Path(root).joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def remember_store(path: Path) -> None:
    """Record the store built last, the default of ``--data``."""
    note = cache_dir() / "last-store"
    write_atomic(note, str(path.resolve()))


def default_store() -> tuple[Path, str]:
    """Return the default of ``--data`` and its origin.

    Raises:
        InputError: if ``RSBENCH_DATA`` is not set and no store was built.
    """
    named = os.environ.get("RSBENCH_DATA")
    if named:
        return Path(named), "RSBENCH_DATA"
    note = cache_dir() / "last-store"
    if note.exists():
        path = Path(note.read_text(encoding="utf-8"))
        repository = Path(str(path).rpartition("@")[0])  # of a version, PATH@TAG
        if path.exists() or (repository.is_dir() and repository.name):
            return path, "the store built last"
    raise InputError(
        "a dataset",
        "no --data was given, RSBENCH_DATA is not set and no store was built before",
        "Give --data PATH, or type: rsbench build-dataset --recipe demo",
    )
