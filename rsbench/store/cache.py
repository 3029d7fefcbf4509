"""The training cache: the decoded arrays of a store as memory-mapped ``.npy`` files.

A cache belongs to a store digest and is in ``RSBENCH_CACHE``. It is written atomically. If sizes or
times of its files differ from those recorded, it is built again.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError, StoreError, unknown
from rsbench.core.grid import Window
from rsbench.core.io import (
    disk_errors,
    publish_directory,
    read_json,
    replace_directory,
    temporary_directory,
    write_npy,
)
from rsbench.core.paths import cache_dir
from rsbench.store.layout import SensorMeta, StoreMeta
from rsbench.store.pixels import require_inside

Array = npt.NDArray[Any]
FORMAT = 1
MARK = "cache.json"
ARRAYS = ("values", "valid")
Progress = Callable[[str, int, int], None]


class Cached(Protocol):
    """The parts of a store that are cached."""

    digest: str
    meta: StoreMeta
    listed: Mapping[str, Mapping[str, Any]]

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions."""

    def sensor(self, name: str) -> SensorMeta:
        """Return a sensor's metadata."""

    def read(self, region: str, sensor: str, *, array: str = "values") -> Array:
        """Return a decoded array."""


@dataclass(frozen=True)
class CacheInfo:
    """Folder of a cache, its size in bytes, and the seconds to build it (None: it existed)."""

    path: Path
    bytes: int
    seconds: float | None


@final
class Cache:
    """Decoded arrays of one store and sensor, memory-mapped and read-only.

    Each process opens its own maps; a pickled cache has the path only.
    """

    def __init__(self, store: Cached, sensor: str, info: CacheInfo) -> None:
        self.store = store
        self.sensor = sensor
        self.info = info
        self._maps: dict[str, tuple[Array, Array]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the open maps."""
        return {**self.__dict__, "_maps": {}}

    @property
    def meta(self) -> SensorMeta:
        """The sensor's metadata."""
        return self.store.sensor(self.sensor)

    def region(self, name: str) -> tuple[Array, Array]:
        """Return stored values ``(T, C, H, W)`` and mask ``(T, H, W)`` of a region as views."""
        found = self._maps.get(name)
        if found is None:
            if name not in self.store.listed:
                raise unknown("region of this store", name, self.store.regions)
            values, valid = (
                np.asarray(_load(self.info.path / f"{name}.{array}.npy")) for array in ARRAYS
            )
            found = self._maps[name] = (values, valid)
        return found

    def patch(
        self, region: str, window: Window, times: slice | Sequence[int]
    ) -> tuple[Array, Array]:
        """Return ``(T, C, h, w)`` stored values and ``(T, h, w)`` bool of a window.

        Args:
            times: a slice or time indices; the results are views if the indices are consecutive.
        """
        values, valid = self.region(region)
        if (
            window.y < 0
            or window.x < 0
            or (
                window.y + window.height > values.shape[2]
                or window.x + window.width > values.shape[3]
            )
        ):
            require_inside(window, values.shape[2], values.shape[3], region)
        rows, columns = window.slices
        chosen = times if isinstance(times, slice) else _as_slice(times, values.shape[0], region)
        return values[chosen, :, rows, columns], valid[chosen, rows, columns]


def _as_slice(times: Sequence[int], count: int, region: str) -> Any:
    first, last = times[0], times[-1]
    if min(times) < 0 or max(times) >= count:
        raise InputError(
            f"dates {min(times)} to {max(times)} of region {region}",
            f"it has {count} dates",
            f"Choose 0 to {count - 1}",
        )
    if last - first + 1 == len(times) and list(times) == list(range(first, last + 1)):
        return slice(first, last + 1)
    return list(times)


def open_cache(
    store: Cached, sensor: str | None = None, *, progress: Progress | None = None
) -> Cache:
    """Open the cache of a store and sensor; build it if it is absent or damaged.

    Several processes may call this at the same time: each builds a copy, and the first is kept.

    Raises:
        DiskFull: if the disk is full.
    """
    name = sensor or next(iter(store.meta.sensors))
    store.sensor(name)
    home = cache_dir("arrays", store.digest)
    target = home / name
    if (size := _intact_bytes(target, store, name)) is not None:
        return Cache(store, name, CacheInfo(target, size, None))
    began = time.perf_counter()
    asked = f"building the cache {home}"
    elsewhere = "set RSBENCH_CACHE to a folder on another device"
    with disk_errors(asked, elsewhere, StoreError), temporary_directory(target) as folder:
        _build(folder, store, name, progress)
        _swap(folder, target, store, name)
    size = _intact_bytes(target, store, name)
    if size is None:
        raise StoreError(
            f"the cache {target}",
            "its files change while they are read",
            "Set RSBENCH_CACHE to a folder that nothing else writes to",
        )
    return Cache(store, name, CacheInfo(target, size, time.perf_counter() - began))


def _intact_bytes(target: Path, store: Cached, sensor: str) -> int | None:
    """Return the size of an intact cache in bytes, None if it is absent or damaged.

    Size and modification time of every file must equal those recorded. Digests are not compared,
    because hashing gigabytes at every start takes too long.
    """
    try:
        mark = read_json(target / MARK)
        if (mark["format"], mark["digest"]) != (FORMAT, store.digest):
            return None
        files: Mapping[str, Any] = mark["files"]
        wanted = {f"{region}.{array}.npy" for region in store.regions for array in ARRAYS}
        if set(files) != wanted or mark["sensor"] != sensor:
            return None
        for name, noted in files.items():
            found = (target / name).stat()
            if [found.st_size, found.st_mtime_ns] != noted:
                return None
        return sum(int(size) for size, _ in files.values())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(folder: Path, store: Cached, sensor: str, progress: Progress | None) -> None:
    files: dict[str, list[int]] = {}
    for done, region in enumerate(store.regions):
        if progress is not None:
            progress("decoding", done, len(store.regions))
        for array in ARRAYS:
            path = folder / f"{region}.{array}.npy"
            data = store.read(region, sensor, array=array)
            write_npy(path, data)
            files[path.name] = [path.stat().st_size, path.stat().st_mtime_ns]
    mark = {"format": FORMAT, "digest": store.digest, "sensor": sensor, "files": files}
    (folder / MARK).write_text(json.dumps(mark), encoding="utf-8")
    if progress is not None:
        progress("decoding", len(store.regions), len(store.regions))


def _swap(folder: Path, target: Path, store: Cached, sensor: str) -> None:
    """Rename the folder to ``target`` unless another process has finished a cache there."""
    for attempt in range(8):
        try:
            if attempt:
                replace_directory(folder, target)
            else:
                publish_directory(folder, target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        if _intact_bytes(target, store, sensor) is not None:
            return


def _load(path: Path) -> Array:
    try:
        loaded: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"reading {path}", f"the cache changed while in use ({error})", "Run again"
        ) from error
    return loaded
