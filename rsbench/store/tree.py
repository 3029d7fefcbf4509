"""Access to the files of a store in a folder or in a version of a repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError
from rsbench.core.io import MAX_JSON, parse_json
from rsbench.store.layout import REBUILD, ROOT_KEY
from rsbench.store.manifest import as_store_error

if TYPE_CHECKING:
    import zarr


class Tree(Protocol):
    """The files of a store by name, e.g. ``region/sensor/array/c/0/0/0/0``."""

    where: Path

    def names(self) -> list[str]:
        """Return the sorted names at the root."""

    def files(self, under: str) -> list[str]:
        """Return the sorted names of all files below ``under``, relative to it."""

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it is absent."""

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            OSError: if it is absent or cannot be read.
        """

    def sha256(self, name: str) -> str:
        """Return the hex SHA-256 of a file."""

    def array(self, name: str) -> zarr.Array[Any]:
        """Open a Zarr array for reading."""


def tree_json(tree: Tree, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of a store.

    Raises:
        StoreError: if the file is absent, truncated or not a JSON object.
    """
    asked = f"reading {tree.where / name}"
    with as_store_error():
        try:
            size = tree.size(name)
            if size is None:
                raise InputError(asked, "it is absent", REBUILD)
            if size > MAX_JSON:
                raise InputError(asked, f"it is larger than {MAX_JSON >> 20} MiB", REBUILD)
            data = tree.read(name)
        except OSError as error:
            raise InputError(asked, f"it cannot be read ({error})", REBUILD) from error
        return parse_json(data, asked, REBUILD)


def provenance(tree: Tree, region: str) -> dict[str, Any]:
    """Return the provenance of a region; empty if it has none."""
    attributes = tree_json(tree, f"{region}/zarr.json")["attributes"]
    return dict(attributes.get(ROOT_KEY, {}).get("provenance", {}))


class Folder:
    """A store in a folder."""

    def __init__(self, where: Path) -> None:
        self.where = where

    def names(self) -> list[str]:
        """See :class:`Tree`."""
        return sorted(path.name for path in self.where.iterdir())

    def files(self, under: str) -> list[str]:
        """See :class:`Tree`."""
        folder = self.where / under
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    def size(self, name: str) -> int | None:
        """See :class:`Tree`."""
        path = self.where / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str) -> bytes:
        """See :class:`Tree`."""
        return (self.where / name).read_bytes()

    def sha256(self, name: str) -> str:
        """See :class:`Tree`."""
        return sha256_file(self.where / name)

    def array(self, name: str) -> zarr.Array[Any]:
        """See :class:`Tree`."""
        import zarr
        from zarr.storage import LocalStore

        group, _, key = name.rpartition("/")
        store = LocalStore(self.where / group, read_only=True)
        return zarr.open_array(store, path=key, mode="r", zarr_format=3)
