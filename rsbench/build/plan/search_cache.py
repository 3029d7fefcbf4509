"""Cache of partial STAC searches, one file per region."""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import Any

from rsbench.build.plan.lock import Found, found_json, found_of
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

    def load(self, region: Region) -> Found | None:
        """Return what was found for a region; None if nothing, damaged or too old."""
        path = self._folder / f"{self._name(region)}.json"
        try:
            if time.time() - path.stat().st_mtime > MAX_AGE:
                return None
            return found_of(read_json(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, region: Region, found: Found) -> None:
        """Save what was found; write errors are ignored, since they cost only another search."""
        path = self._folder / f"{self._name(region)}.json"
        with contextlib.suppress(OSError):
            write_atomic(path, canonical_json(found_json(found)))

    def remove(self) -> None:
        """Delete the answers of a finished search."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _name(self, region: Region) -> str:
        return f"{region.name}-{sha256_json(region.model_dump(mode='json'))[:12]}"
