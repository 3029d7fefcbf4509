"""Stores: a folder, an icechunk repository, and a release to download."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from random import Random

import toys

from fuzz.damage import of_bytes, of_json
from fuzz.driver import Format, Subject
from rsbench.build.importers.release import download
from rsbench.core.errors import StoreError
from rsbench.store.export.icechunk import publish
from rsbench.store.export.release import write_release
from rsbench.store.read import open_store


def _store(path: Path) -> Path:
    toys.write_store(path, regions=2, size=16, years=2, bands=("B02", "B03"), floor=False)
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _damage(data: bytes, draw: Random) -> bytes:
    return of_json(data, draw) if data[:1] == b"{" else of_bytes(data, draw)


def _read(path: Path) -> object:
    store = open_store(path)
    splits = [store.split(name) for name in sorted({r["split"] for r in store.listed.values()})]
    found: list[object] = [store.digest, store.meta.step, store.meta.kind, splits]
    for region in store.regions:
        entry = store.region(region)
        found += [region, entry.record, entry.grids, entry.times]
        found += store.read_physical(region, "s2")
    return found


def _checked(path: Path) -> object:
    """Return the numbers, or refuse what `rsbench validate` finds."""
    found = _read(path)
    findings = open_store(path).validate()
    if findings:
        raise StoreError(f"validating {path}", f"{len(findings)} findings", "Build it again")
    return found


def _folder(folder: Path) -> Subject:
    path = _store(folder / "store")
    return Subject(_files(path), lambda: _read(path), _damage, sealed=True)


def _validated(folder: Path) -> Subject:
    path = _store(folder / "store")
    return Subject(_files(path), lambda: _checked(path), _damage, sealed=True)


def _icechunk(folder: Path) -> Subject:
    repository = folder / "repository"
    publish(_store(folder / "store"), repository)
    return Subject(_files(repository), lambda: _read(repository), of_bytes, sealed=True)


def _release(folder: Path) -> Subject:
    release = folder / "release"
    write_release(_store(folder / "store"), release)
    number = itertools.count()

    def read() -> object:
        target = folder / f"got-{next(number)}"
        try:
            return download(str(release), target).digest
        finally:
            shutil.rmtree(target, ignore_errors=True)
            for left in folder.glob(".tmp-*"):
                shutil.rmtree(left, ignore_errors=True)

    return Subject(_files(release), read, _damage, sealed=True)


FORMATS = (
    Format("store", _folder, 500),
    Format("store, validated", _validated, 150),
    Format("icechunk repository", _icechunk, 150),
    Format("release", _release, 150),
)
