"""Stores in an icechunk repository: ``PATH``, ``PATH@TAG`` or ``PATH@SNAPSHOT``.

The repository has the same keys and bytes as the Zarr tree. Files that are not part of Zarr (index,
manifests, lock, data card) are arrays of bytes in the group ``_files``; no region can have this
name.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsbench.core.errors import InputError, StoreError, first_line, unknown

if TYPE_CHECKING:
    import zarr

FILES = "_files"
BRANCH = "main"
_MARKS = ("refs", "snapshots")


def load_icechunk(asked: str) -> Any:
    """Import and return icechunk.

    Raises:
        InputError: if it is not installed.
    """
    try:
        import icechunk
    except ImportError as error:
        raise InputError(
            asked, "icechunk is not installed", "Type: pip install 'rsbench[icechunk]'"
        ) from error
    # It warns about several committers at every opening, and logs errors that it also raises.
    icechunk.set_logs_filter("off")
    return icechunk


def repository_of(path: Path) -> tuple[Path, str] | None:
    """Return repository and version of a path (version empty for the newest), or None."""
    if _is_repository(path):
        return path, ""
    head, at, version = str(path).rpartition("@")
    if at and version and not path.exists() and _is_repository(Path(head)):
        return Path(head), version
    return None


def _is_repository(path: Path) -> bool:
    return all((path / mark).is_dir() for mark in _MARKS)


def open_repository(path: Path) -> Any:
    """Open the repository in a folder.

    Raises:
        StoreError: if it is damaged.
    """
    icechunk = load_icechunk(f"opening {path}")
    try:
        return icechunk.Repository.open(icechunk.local_filesystem_storage(str(path)))
    except icechunk.IcechunkError as error:
        raise StoreError(
            f"opening {path}",
            f"it is not a complete icechunk repository ({first_line(error)})",
            "Copy or build it again",
        ) from error


def open_version(path: Path, version: str) -> Snapshot:
    """Open a version by tag or snapshot id, the newest if ``version`` is empty.

    Raises:
        UnknownName: if there is no such version.
        StoreError: if no version is tagged yet.
    """
    icechunk, repository = load_icechunk(f"opening {path}"), open_repository(path)
    tags = sorted(repository.list_tags())
    if not version and not tags:
        raise StoreError(
            f"opening {path}",
            "the build is unfinished: no version has a tag",
            "Run the same build again; it resumes where it stopped",
        )
    try:
        if not version:
            session = repository.readonly_session(branch=BRANCH)
        elif version in tags:
            session = repository.readonly_session(tag=version)
        else:
            session = repository.readonly_session(snapshot_id=version)
    except (icechunk.IcechunkError, ValueError) as error:
        raise unknown(f"version of {path}", version, tags) from error
    where = Path(f"{path}@{version}") if version else path
    return Snapshot(where, session.store)


class Snapshot:
    """A :class:`rsbench.store.tree.Tree` in one snapshot of a repository."""

    def __init__(self, where: Path, store: Any) -> None:
        self.where = where
        self._store = store
        self._keys: dict[str, str] | None = None

    def _key(self, name: str) -> str | None:
        """Return the Zarr key of a file: its name, or the name of the array with its bytes."""
        if self._keys is None:
            keys = _run(_collect(self._store.list()))
            inside = f"{FILES}/"
            self._keys = {key: key for key in keys if not key.startswith(inside)}
            for key in keys:
                if key.startswith(inside) and key.endswith("/c/0"):
                    node = key.removesuffix("/c/0")
                    self._keys[node.removeprefix(inside)] = node
        return self._keys.get(name)

    def names(self) -> list[str]:
        """See :class:`Tree`."""
        self._key("")
        return sorted({name.partition("/")[0] for name in self._keys or {}} - {FILES})

    def files(self, under: str) -> list[str]:
        """See :class:`Tree`."""
        self._key("")
        inside = f"{under}/"
        return sorted(n.removeprefix(inside) for n in self._keys or {} if n.startswith(inside))

    def size(self, name: str) -> int | None:
        """See :class:`Tree`."""
        key = self._key(name)
        if key is None:
            return None
        if key.startswith(f"{FILES}/"):
            return int(self.array(key).shape[0])
        return int(_run(self._store.getsize(key)))

    def read(self, name: str) -> bytes:
        """See :class:`Tree`."""
        key = self._key(name)
        if key is None:
            raise FileNotFoundError(f"{self.where} holds no {name}")
        if key.startswith(f"{FILES}/"):
            try:
                return np.asarray(self.array(key)[...]).tobytes()
            except Exception as error:
                raise OSError(f"{name} cannot be read ({first_line(error)})") from error
        found = _run(self._store.get(key, _prototype()))
        if found is None:
            raise FileNotFoundError(f"{self.where} holds no {name}")
        return bytes(found.to_bytes())

    def sha256(self, name: str) -> str:
        """See :class:`Tree`."""
        return hashlib.sha256(self.read(name)).hexdigest()

    def array(self, name: str) -> zarr.Array[Any]:
        """See :class:`Tree`."""
        import zarr

        return zarr.open_array(self._store, path=name, mode="r", zarr_format=3)


async def _collect(keys: AsyncIterator[str]) -> list[str]:
    return [key async for key in keys]


def _run(coroutine: Any) -> Any:
    from zarr.core.sync import sync

    try:
        return sync(coroutine)
    except load_icechunk("reading").IcechunkError as error:
        raise OSError(f"the repository cannot be read ({first_line(error)})") from error


def _prototype() -> Any:
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype()
