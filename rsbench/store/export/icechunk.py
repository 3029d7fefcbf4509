"""Publishing a finished store in an icechunk repository as one commit with one tag."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.core.errors import StoreError
from rsbench.core.io import disk_errors, sync
from rsbench.store.export.card import card
from rsbench.store.export.coverage import coverage
from rsbench.store.icechunk import BRANCH, FILES, load_icechunk
from rsbench.store.layout import CARD
from rsbench.store.read import Store, open_store

VERSION_SIGNS = 12
_PARTS = {"chunks", "manifests", "refs", "snapshots", "transactions", "config.yaml"}


def tag_of(recipe: str, digest: str) -> str:
    """Return the tag of a version: name of the recipe and first 12 digits of the digest."""
    return f"{recipe}-{digest[:VERSION_SIGNS]}"


def is_begun(out: Path) -> bool:
    """Return whether a folder is empty or has an incompletely created repository."""
    if not out.is_dir():
        return False
    held = {path.name for path in out.iterdir()}
    return held <= _PARTS and not (out / "refs").exists()


def version_of(out: Path, lock_digest: str) -> Store | None:
    """Return the tagged version with this lock digest, or None."""
    icechunk = load_icechunk(f"opening {out}")
    storage = icechunk.local_filesystem_storage(str(out))
    if not icechunk.Repository.exists(storage):
        return None
    repository = icechunk.Repository.open(storage)
    for tag in sorted(repository.list_tags()):
        snapshot = next(iter(repository.ancestry(tag=tag)))
        if snapshot.metadata.get("lock_digest") == lock_digest:
            return open_store(f"{out}@{tag}")
    return None


def publish(plain: Path, out: Path) -> Store:
    """Commit a finished store in a folder to the repository ``out`` and tag it.

    The commit replaces the content of the branch; earlier versions keep their tags. An existing
    version is not changed, so the call can be repeated after an interruption. No other process may
    commit at the same time.

    Raises:
        StoreError: if the commit fails, or the committed files differ from the store.
    """
    store = open_store(plain)
    tag = tag_of(store.recipe, store.digest)
    icechunk = load_icechunk(f"committing to {out}")
    with disk_errors(f"writing {out}", "give another --out", StoreError):
        try:
            _commit(icechunk, store, plain, out, tag)
        except icechunk.IcechunkError as error:
            raise StoreError(
                f"committing {store.recipe} to {out}",
                " ".join(str(error).split())[:300],
                "Free some space or repair the folder, and run the same command again",
            ) from error
        _flush(out)
    made = open_store(f"{out}@{tag}")
    if made.digest != store.digest or any(
        made.tree.sha256(f"{region}/{file}") != held["sha256"]
        for region in store.regions
        for file, held in store.manifest(region).files.items()
    ):
        raise StoreError(
            f"committing {store.recipe} to {out}",
            f"the files of version {tag} differ from the store",
            "Check the disk, and build into another --out",
        )
    return made


def _commit(icechunk: Any, store: Store, plain: Path, out: Path, tag: str) -> None:
    if is_begun(out):
        shutil.rmtree(out)  # a repository can only be created in an empty folder
    repository = icechunk.Repository.open_or_create(icechunk.local_filesystem_storage(str(out)))
    if tag in repository.list_tags():
        return
    head = repository.lookup_branch(BRANCH)
    if next(iter(repository.ancestry(branch=BRANCH))).metadata.get("digest") != store.digest:
        session = repository.writable_session(BRANCH)
        said = card(store, coverage(store), out.name, tag)
        _fill(session.store, plain, {CARD: said.encode()})
        head = session.commit(
            f"{store.recipe}: {len(store.regions)} regions",
            metadata={
                "recipe": store.recipe,
                "digest": store.digest,
                "lock_digest": store.meta.lock_digest,
            },
        )
    repository.create_tag(tag, snapshot_id=head)


def _fill(target: Any, plain: Path, instead: Mapping[str, bytes]) -> None:
    """Write every file of a store: those of Zarr under their keys, others as arrays of bytes.

    ``instead``: file name → content that replaces that of the file.
    """
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    sync(target.clear())
    buffer = default_buffer_prototype().buffer
    files = sorted(p for p in plain.rglob("*") if p.is_file())
    names = [path.relative_to(plain).as_posix() for path in files]
    # Chunks are `c/0/0`, or `c` for an array without axes.
    zarrs = [n for n in names if n.endswith(("zarr.json", "/c")) or "/c/" in n]
    # Metadata first, from the root, because a chunk needs its array, and an array its groups.
    order = sorted(zarrs, key=lambda name: (not name.endswith("zarr.json"), name.count("/"), name))
    for name in order:
        sync(target.set(name, buffer.from_bytes((plain / name).read_bytes())))
    for name in sorted(set(names) - set(zarrs)):
        _keep_bytes(target, f"{FILES}/{name}", instead.get(name) or (plain / name).read_bytes())


def _keep_bytes(target: Any, name: str, content: bytes) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec

    made = zarr.create_array(
        target,
        name=name,
        shape=(len(content),),
        dtype=np.uint8,
        chunks=(max(1, len(content)),),
        compressors=[Crc32cCodec()],
        filters=None,
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    made[...] = np.frombuffer(content, np.uint8)


def _flush(out: Path) -> None:
    """Flush the repository to disk, because the plain store is deleted afterwards."""
    for path in (*(p for p in out.rglob("*") if not p.name.startswith(".")), out):
        sync(path)
