"""Cache of partial STAC searches, one file per region."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping
from typing import Any

from rsbench.build.plan.lock import LockItem
from rsbench.catalog import Region
from rsbench.core.digest import canonical_json, sha256_json
from rsbench.core.io import read_json, write_atomic
from rsbench.core.paths import cache_dir

Found = Mapping[str, Mapping[int, tuple[LockItem, ...]]]

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
            value = read_json(path)
            return {
                sensor: {int(y): tuple(map(LockItem.from_json, i)) for y, i in by.items()}
                for sensor, by in value.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, region: Region, found: Found) -> None:
        """Keep what was found; a cache that cannot be written only costs a search."""
        value = {
            sensor: {str(year): [i.to_json() for i in items] for year, items in by.items()}
            for sensor, by in found.items()
        }
        path = self._folder / f"{self._name(region)}.json"
        with contextlib.suppress(OSError):
            write_atomic(path, canonical_json(value))

    def remove(self) -> None:
        """Forget a search that is finished."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _name(self, region: Region) -> str:
        return f"{region.name}-{sha256_json(region.model_dump(mode='json'))[:12]}"
