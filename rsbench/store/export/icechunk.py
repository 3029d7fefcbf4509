"""A finished store as a version in an icechunk repository: one commit, one tag, one committer."""

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
    """Return the tag of a version: the recipe's name and the beginning of the store's digest."""
    return f"{recipe}-{digest[:VERSION_SIGNS]}"


def is_begun(out: Path) -> bool:
    """Whether a folder is empty, or what a repository leaves whose making was killed."""
    if not out.is_dir():
        return False
    held = {path.name for path in out.iterdir()}
    return held <= _PARTS and not (out / "refs").exists()


def version_of(out: Path, lock_digest: str) -> Store | None:
    """Return the tagged version that was built from a lock, if the repository holds one."""
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

    The commit replaces all that the branch shows; earlier versions keep their tags. A version that
    is there already is left as it is, so this may be done again after a kill at any moment.
    Nobody else may commit meanwhile.

    Raises:
        StoreError: if what was committed does not read as what was built.
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
                "Free space or mend the folder, and run the same command again",
            ) from error
        _settle(out)
    made = open_store(f"{out}@{tag}")
    if made.digest != store.digest or any(
        made.tree.sha256(f"{region}/{file}") != held["sha256"]
        for region in store.regions
        for file, held in store.manifest(region).files.items()
    ):
        raise StoreError(
            f"committing {store.recipe} to {out}",
            f"version {tag} does not read as it was built",
            "Check the disk, and build into another --out",
        )
    return made


def _commit(icechunk: Any, store: Store, plain: Path, out: Path, tag: str) -> None:
    if is_begun(out):
        shutil.rmtree(out)  # a repository is made in an empty folder only
    repository = icechunk.Repository.open_or_create(icechunk.local_filesystem_storage(str(out)))
    if tag in repository.list_tags():
        return
    head = repository.lookup_branch(BRANCH)
    if next(iter(repository.ancestry(branch=BRANCH))).metadata.get("digest") != store.digest:
        session = repository.writable_session(BRANCH)
        said = card(store, coverage(store), (out.name, tag))
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
    """Write every file of a store: Zarr's own under their keys, the others as arrays of bytes.

    ``instead``: other content of some files.
    """
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    sync(target.clear())
    buffer = default_buffer_prototype().buffer
    files = sorted(p for p in plain.rglob("*") if p.is_file())
    names = [path.relative_to(plain).as_posix() for path in files]
    # Chunks are `c/0/0`, or `c` alone where an array has no axes.
    zarrs = [n for n in names if n.endswith(("zarr.json", "/c")) or "/c/" in n]
    # A chunk needs its array, an array its groups: metadata first, from the top.
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


def _settle(out: Path) -> None:
    """Have the disk hold what was committed before the plain store goes."""
    for path in (*(p for p in out.rglob("*") if not p.name.startswith(".")), out):
        sync(path)
