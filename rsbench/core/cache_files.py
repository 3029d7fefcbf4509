"""What the cache folder holds, and removing what commands make again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rsbench.core.errors import InputError
from rsbench.core.io import disk_errors
from rsbench.core.paths import cache_dir

PARTS = {
    "arrays": "decoded pixels of stores",
    "predictions": "predictions of scored models",
    "simulated": "scenes of simulated recipes",
    "searches": "pages of catalogues, of unfinished searches",
    "fitted": "fitted parameters",
    "references": "scores of reference models",
    "checkpoints": "trained weights",
    "weights": "weight files of metrics",
}
"""Folder in the cache → what is in it."""
REMADE = ("arrays", "predictions", "simulated", "searches", "fitted", "references")
"""Those that commands make again where they are absent. Training and downloads take longer."""
DAY_S = 86_400.0


@dataclass(frozen=True)
class Entry:
    """One file or folder of the cache.

    Args:
        part: folder in the cache, one of ``PARTS``.
        path: the file or folder.
        bytes: its size on disk, without links.
        used: time of the last write or read of a file in it, in seconds since 1970. Some file
            systems do not record reads.
    """

    part: str
    path: Path
    bytes: int
    used: float


def cache_entries() -> list[Entry]:
    """Return the files and folders of the known parts of the cache, sorted by path.

    Raises:
        OSError: if a folder cannot be read.
    """
    found = []
    for part in PARTS:
        folder = cache_dir(part)
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        found += [_entry(part, path) for path in inside if not path.is_symlink()]
    return found


def _entry(part: str, path: Path) -> Entry:
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file() and not file.is_symlink()]
    used = max((max(s.st_atime, s.st_mtime) for s in stats), default=path.stat().st_mtime)
    return Entry(part, path, sum(s.st_size for s in stats), used)


def prunable(entries: Sequence[Entry], days: float) -> list[Entry]:
    """Return the entries that are made again where absent and were not used for so many days.

    Args:
        entries: those of :func:`cache_entries`.
        days: days without use; 0 for all.

    Raises:
        InputError: if ``days`` is negative.
    """
    if not days >= 0:
        raise InputError(f"--older-than {days:g}", "it is negative", "Give days, 0 for all")
    before = time.time() - days * DAY_S
    return [entry for entry in entries if entry.part in REMADE and entry.used <= before]


def prune(entries: Sequence[Entry]) -> None:
    """Remove entries of the cache.

    Args:
        entries: those of :func:`prunable`.

    Raises:
        InputError: if one may not be removed.
    """
    for entry in entries:
        with disk_errors(f"removing {entry.path}", "set RSBENCH_CACHE to a folder of yours"):
            if entry.path.is_dir():
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink(missing_ok=True)
