"""The cache folder, and the path of the store built last."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from rsbench.core.errors import InputError, RsbenchError
from rsbench.core.io import disk_errors, write_atomic


def cache_dir(*parts: str) -> Path:
    """Return a folder in ``$RSBENCH_CACHE`` (default: the user's cache folder).

    It may be absent: the first writer makes it, so that reading needs no permission to write.
    """
    import platformdirs

    root = os.environ.get("RSBENCH_CACHE") or platformdirs.user_cache_dir("rsbench")
    return Path(root).joinpath(*parts)


def cache_errors(path: Path) -> AbstractContextManager[None]:
    """Convert operating system errors while a file of the cache is written."""
    return disk_errors(f"writing the cache {path}", "set RSBENCH_CACHE to another folder")


def remember_store(path: Path, note: Callable[[str], None] | None = None) -> None:
    """Record the store built last, the default of ``--data``.

    Args:
        note: takes the reason if that fails; where None, the error is raised.
    """
    try:
        last = cache_dir() / "last-store"
        with cache_errors(last):
            write_atomic(last, str(path.resolve()))
    except RsbenchError as error:
        if note is None:
            raise
        note(f"{path} is whole, but it is not recorded as the default of --data: {error}")


def default_store() -> tuple[Path, str]:
    """Return the default of ``--data`` and its origin.

    Raises:
        InputError: if ``RSBENCH_DATA`` is not set and no store was built.
    """
    named = os.environ.get("RSBENCH_DATA")
    if named:
        return Path(named), "RSBENCH_DATA"
    with suppress(OSError, ValueError):  # it may be damaged
        path = Path((cache_dir() / "last-store").read_text(encoding="utf-8"))
        repository = Path(str(path).rpartition("@")[0])  # of a version, PATH@TAG
        if path.exists() or (repository.is_dir() and repository.name):
            return path, "the store built last"
    raise InputError(
        "a dataset",
        "no --data was given, RSBENCH_DATA is not set and no store was built before",
        "Give --data PATH, or type: rsbench build-dataset --recipe demo",
    )
