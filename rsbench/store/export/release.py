"""Releases: a store as a flat folder for upload to a data archive.

Archives accept few files and no folders. Regions are therefore in tar files of a limited size. Data
card, picture, index, lock and Croissant metadata are separate files. Equal stores give equal bytes.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError, StoreError
from rsbench.core.file_lock import new_directory
from rsbench.core.io import read_json
from rsbench.core.typed import typed
from rsbench.store.export.card import renamed, write_card
from rsbench.store.layout import CARD, COVERAGE, INDEX, LOCK, SPLITS
from rsbench.store.read import Store, open_store
from rsbench.store.tree import Folder

SCHEMA = 1
RELEASE = "release.json"
CROISSANT = "croissant.json"
SUMS = "sha256sums.txt"
ROOT_FILES = (INDEX, "zarr.json", LOCK, CARD, COVERAGE)
PART_BYTES = 1 << 30
MAX_PARTS = 80
"""Largest number of tar files; archives accept about a hundred files per record."""
VERSION_SIGNS = 12

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release; ``role``: ``root`` (a file of the store) or ``part`` (a tar file)."""

    name: str
    role: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """The content of a release; ``version``: first 12 digits of the store's digest."""

    name: str
    version: str
    digest: str
    files: tuple[ReleaseFile, ...]

    @property
    def bytes(self) -> int:
        """Total size of the files in bytes."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "files": [asdict(file) for file in self.files],
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Self:
        """Read the JSON form of an untrusted file.

        Raises:
            InputError: if it is not a release, has another schema, or has unsafe file names.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            found = value.get("schema") if isinstance(value, dict) else None
            raise _refused(where, f"its schema is {found!r}; this version reads {SCHEMA}")
        try:
            made = typed(cls, value)
        except ValueError as error:
            raise _refused(where, f"its {RELEASE} cannot be read ({error})") from error
        made._require_safe(where)
        return made

    def _require_safe(self, where: str) -> None:
        names = [file.name for file in self.files]
        if not self.files or len(set(names)) != len(names):
            raise _refused(where, "it lists no file, or a file twice")
        if not _FILE.fullmatch(self.name) or not _SHA256.fullmatch(self.digest):
            raise _refused(where, "its name or digest is malformed")
        if self.version != self.digest[:VERSION_SIGNS]:
            raise _refused(where, f"its version {self.version!r} does not begin its digest")
        for file in self.files:
            if not _FILE.fullmatch(file.name) or not _SHA256.fullmatch(file.sha256):
                raise _refused(where, f"the name or digest of {file.name!r} is malformed")
            if file.bytes < 0 or file.role not in ("root", "part"):
                raise _refused(where, f"the size or role of {file.name} is invalid")
            if file.role == "root" and file.name not in ROOT_FILES:
                raise _refused(where, f"{file.name} is not a file of a store")


def _refused(where: str, found: str) -> InputError:
    return InputError(f"the release {where}", found, "Give a folder that --release wrote")


def write_release(
    store: Store | Path | str, out: Path | str, *, parts: int = PART_BYTES
) -> Release:
    """Write a release of a finished store to a new folder, atomically.

    Args:
        parts: size of the tar files in bytes; increased if there would be too many.

    Raises:
        InputError: if the folder is not empty.
        StoreError: if a file of the store is absent.
    """
    store = store if isinstance(store, Store) else open_store(store)
    if not isinstance(store.tree, Folder):
        raise InputError(
            f"a release of {store.path}",
            "a release needs a plain store, this is a version in a repository",
            "Build the same lock with --store zarr; its digest is the same",
        )
    out = Path(out).absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        held = _held(out)
        if held is not None and held.digest == store.digest:
            return held
        raise InputError(f"a release in {out}", "something is there already", "Choose another DIR")
    if not (store.path / CARD).is_file():
        write_card(store.path)
    asked = f"writing the release {out}"
    with new_directory(out, asked, "choose another DIR", StoreError) as folder:
        return _write(store, folder, parts)


def _held(out: Path) -> Release | None:
    """Return the intact release in a folder, or None."""
    try:
        made = Release.from_json(read_json(out / RELEASE), str(out))
        whole = all(sha256_file(out / file.name) == file.sha256 for file in made.files)
    except (OSError, ValueError):
        return None
    return made if whole else None


def _write(store: Store, folder: Path, parts: int) -> Release:
    files = []
    for name in ROOT_FILES:
        if (store.path / name).is_file():
            shutil.copyfile(store.path / name, folder / name)
            if name == CARD:  # a download has this name unless another one is asked for
                said = renamed((folder / name).read_text(encoding="utf-8"), f"{store.recipe}.zarr")
                (folder / name).write_text(said, encoding="utf-8")
            files.append(_file(folder / name, "root"))
    groups = list(_groups(store, parts))
    for number, regions in enumerate(groups, 1):
        path = folder / f"regions-{number:03d}-of-{len(groups):03d}.tar"
        _pack(store, regions, path)
        files.append(_file(path, "part"))
    made = Release(store.recipe, store.digest[:VERSION_SIGNS], store.digest, tuple(files))
    _text(folder / CROISSANT, croissant(store, made))
    sums = [f"{file.sha256}  {file.name}" for file in files]
    sums.append(f"{sha256_file(folder / CROISSANT)}  {CROISSANT}")
    (folder / SUMS).write_text("\n".join(sums) + "\n", encoding="utf-8")
    _text(folder / RELEASE, made.to_json())
    return made


def _text(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _file(path: Path, role: str) -> ReleaseFile:
    return ReleaseFile(path.name, role, path.stat().st_size, sha256_file(path))


def _groups(store: Store, parts: int) -> Iterator[list[str]]:
    sizes = {
        name: sum(p.stat().st_size for p in (store.path / name).rglob("*") if p.is_file())
        for name in store.regions
    }
    limit = max(parts, -(-sum(sizes.values()) // (MAX_PARTS // 2)))
    group: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if group and filled + size > limit:
            yield group
            group, filled = [], 0
        group.append(name)
        filled += size
    yield group


def _pack(store: Store, regions: Sequence[str], path: Path) -> None:
    """Write a tar file without owner, time and mode, so that equal stores give equal bytes."""
    with tarfile.open(path, "x", format=tarfile.PAX_FORMAT) as tar:
        for region in regions:
            listed = {*store.manifest(region).files, "manifest.json"}
            for name in sorted(listed):
                source = store.path / region / name
                if not source.is_file():
                    raise StoreError(
                        f"releasing {store.path}", f"{region}/{name} is absent", "Build it again"
                    )
                info = tarfile.TarInfo(f"{region}/{name}")
                info.size = source.stat().st_size
                info.mode = 0o644
                with source.open("rb") as file:
                    tar.addfile(info, file)


# Croissant ------------------------------------------------------------------------------

_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {
    ".tar": "application/x-tar",
    ".json": "application/json",
    ".gz": "application/gzip",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
}


def croissant(store: Store, release: Release) -> dict[str, Any]:
    """Return the metadata of a release in Croissant 1.0 (mlcommons.org/croissant/1.0)."""
    meta = store.meta
    title = f"{store.recipe}, {len(store.regions)} regions"
    words = [
        f"Satellite images of {len(store.regions)} regions for forecasting and fusion "
        f"({meta.kind}; {', '.join(meta.sensors)}), with masks, splits and a digest.",
        "Simulated: made-up pixels that say nothing about real places." if store.simulated else "",
        "" if store.complete else f"Incomplete: {len(meta.missing)} region-dates are missing.",
    ]
    rights = sorted({s.licence for s in meta.sensors.values() if s.licence})
    credit = sorted({s.attribution for s in meta.sensors.values() if s.attribution})
    return {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": release.name,
        "alternateName": title,
        "description": " ".join(word for word in words if word),
        "version": release.version,
        "identifier": f"sha256:{release.digest}",
        "license": rights,
        "creditText": "; ".join(credit),
        "isAccessibleForFree": True,
        "distribution": [_described(file) for file in release.files],
        "recordSet": [_regions(), _splits()],
    }


def _described(file: ReleaseFile) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": file.name,
        "name": file.name,
        "contentUrl": file.name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _TYPES[Path(file.name).suffix],
        "sha256": file.sha256,
    }


def _regions() -> dict[str, Any]:
    def field(name: str, path: str, what: str) -> dict[str, Any]:
        return {
            "@type": "cr:Field",
            "@id": f"regions/{name}",
            "name": name,
            "description": what,
            "dataType": "sc:Text",
            "source": {
                "fileObject": {"@id": INDEX},
                "extract": {"jsonPath": f"$.regions[*].{path}"},
            },
        }

    return {
        "@type": "cr:RecordSet",
        "@id": "regions",
        "name": "regions",
        "description": "The regions, each a Zarr group in one of the tar files",
        "key": {"@id": "regions/name"},
        "field": [
            field("name", "name", "Name of the region and of its group"),
            {**field("split", "split", "train, val or test"), "references": _field("splits/name")},
            field("digest", "digest", "SHA-256 over its decoded pixels, masks and grid"),
        ],
    }


def _field(name: str) -> dict[str, Any]:
    return {"field": {"@id": name}}


def _splits() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}
        ],
        "data": [{"splits/name": split} for split in SPLITS],
    }
