"""Cache of partial STAC searches, one file per region.

The files are spread over 256 folders: a write looks through its folder for what it may leave.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsbench.build.plan.lock import Found, found_json, found_of
from rsbench.build.plan.omissions import Omission
from rsbench.catalog import Region
from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.io import read_json, write_atomic
from rsbench.core.paths import cache_dir

__all__ = ["Found", "KeptSearch"]

MAX_AGE = 24 * 3600.0
"""Seconds after which an answer is asked for again: catalogues grow and are corrected."""


class KeptSearch:
    """The answers of one unfinished search; they hold unsigned links only, as a lock does."""

    def __init__(self, identity: Any) -> None:
        self._folder = cache_dir("searches") / sha256_json(identity)[:24]

    def load(self, region: Region) -> tuple[Found, tuple[Omission, ...]] | None:
        """Return what was found and left out in a region; None if nothing, damaged or too old."""
        path = self._path(region)
        try:
            if time.time() - path.stat().st_mtime > MAX_AGE:
                return None
            value = read_json(path)
            left = tuple(map(Omission.from_json, value["left"]))
            return found_of(value["found"]), left
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, region: Region, found: Found, left: Sequence[Omission] = ()) -> None:
        """Save what was found and left out; a write error costs only another search."""
        path = self._path(region)
        with contextlib.suppress(OSError):
            value = {"found": found_json(found), "left": [one.to_json() for one in left]}
            write_atomic(path, canonical_json(value))

    def remove(self) -> None:
        """Delete the answers of a finished search."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, region: Region) -> Path:
        key = sha256_json(region.model_dump(mode="json"))[:12]
        return self._folder / key[:2] / f"{region.name}-{key}.json"
