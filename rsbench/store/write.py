"""Write a store: each region into a temporary folder that is renamed when whole; the index last.

A store without an index is unfinished and is not opened. A region with a manifest is whole; its
manifest has the SHA-256 of every file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from rsbench.core.digest import canonical_json, sha256_file
from rsbench.core.errors import InputError, StoreError, unknown
from rsbench.core.io import (
    disk_errors,
    publish_directory,
    remove_temporaries,
    replace_directory,
    temporary_directory,
    write_atomic,
)
from rsbench.store.layout import (
    INDEX,
    MANIFEST,
    ROOT_KEY,
    SCHEMA,
    Manifest,
    RegionRecord,
    SensorArrays,
    SensorMeta,
    StoreMeta,
    region_digest,
    store_digest,
)
from rsbench.store.pixels import canonical_arrays
from rsbench.store.zarr_write import CODECS, finish_writes, write_group, write_sensor


def write_region(
    root: Path,
    record: RegionRecord,
    sensors: Mapping[str, SensorArrays],
    metas: Mapping[str, SensorMeta],
    *,
    codec: str = "zstd",
    attrs: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> str:
    """Write one region whole, or not at all, and return its digest.

    A region that is there with the same digest is left as it is.

    Args:
        codec: one of ``CODECS``; it never moves the digest.
        attrs: provenance kept beside the pixels (JSON); it never moves the digest.
        replace: put this region in place of another of the same name.

    Raises:
        StoreError: if a region of this name with other content is there and ``replace`` is False.
        PixelError: if a NaN lies under a valid pixel.
        DiskFull: if the device has no room left.
    """
    root = Path(root)
    if codec not in CODECS:
        raise unknown("codec", codec, CODECS)
    if set(sensors) != set(metas) or not sensors:
        raise InputError(
            f"region {record.name}",
            f"arrays of {sorted(sensors)}, metadata of {sorted(metas)}",
            "Give both for every sensor, at least one",
        )
    clean = {n: canonical_arrays(record.name, a, metas[n]) for n, a in sensors.items()}
    digest = region_digest(record, clean, metas)
    if not replace and _stands(root, record.name, digest):
        return digest
    with _staged(root / record.name) as folder:
        group_attrs = {"schema": SCHEMA, **record.to_json(), "provenance": dict(attrs or {})}
        write_group(folder, {ROOT_KEY: group_attrs})
        for name in sorted(clean):
            write_sensor(folder / name, clean[name], metas[name], codec)
        described = {
            name: {
                "meta": metas[name].to_json(),
                "grid": arrays.grid.to_json(),
                "times": [t.isoformat() for t in arrays.times],
                "arrays": sorted(arrays.named()),
            }
            for name, arrays in clean.items()
        }
        manifest = Manifest(record, described, digest, _hash_files(folder))
        (folder / MANIFEST).write_text(canonical_json(manifest.to_json()), encoding="utf-8")
        _publish(root, folder, record.name, digest, replace=replace)
    return digest


def finalise(root: Path, meta: StoreMeta, *, regions: Sequence[str] | None = None) -> str:
    """Check that the regions are there, write the root's metadata and index, return the digest.

    No other writer may be at work: what killed ones left behind is cleared.

    Args:
        regions: the regions the store must hold; None for those that are there.

    Raises:
        StoreError: if a listed region is absent, or a region's sensors differ from the store's.
    """
    root = Path(root)
    found = {m.record.name: m for m in read_manifests(root)}
    names = sorted(found if regions is None else regions)
    if not names:
        raise StoreError(f"finishing {root}", "it holds no region", "Build at least one region")
    absent = [name for name in names if name not in found]
    if absent:
        raise StoreError(
            f"finishing {root}",
            f"{len(absent)} of {len(names)} regions are absent: {', '.join(absent[:5])}",
            "Run the same build again; it does only what is missing",
        )
    _require_truthful(root, meta)
    for name in names:
        _require_same_sensors(found[name], meta)
    digest = store_digest(meta, {name: found[name].digest for name in names})
    index = {
        "schema": SCHEMA,
        **meta.to_json(),
        "regions": [_listing(root, found[name]) for name in names],
        "digest": digest,
    }
    with _disk_errors(root):
        remove_temporaries(root)
        write_atomic(root / "zarr.json", json.dumps(_root_group(index), indent=1))
        write_atomic(root / INDEX, json.dumps(index, indent=1, ensure_ascii=False))
    return digest


def read_manifests(root: Path) -> list[Manifest]:
    """Return the manifests of all whole regions under a root, in order of name."""
    return [
        Manifest.load(path)
        for path in sorted(Path(root).glob(f"*/{MANIFEST}"))
        if not path.parent.name.startswith(".")
    ]


def _root_group(index: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": {ROOT_KEY: index}}


def _listing(root: Path, manifest: Manifest) -> dict[str, Any]:
    record = manifest.record
    return {
        "name": record.name,
        "split": record.split,
        "strata": dict(sorted(record.strata.items())),
        "digest": manifest.digest,
        "manifest": sha256_file(root / record.name / MANIFEST),
    }


def _require_truthful(root: Path, meta: StoreMeta) -> None:
    if meta.complete and meta.missing:
        raise StoreError(
            f"finishing {root}",
            f"it is called complete, yet {len(meta.missing)} units are missing",
            "Call it incomplete",
        )


def _require_same_sensors(manifest: Manifest, meta: StoreMeta) -> None:
    for name, sensor in meta.sensors.items():
        held = manifest.sensors.get(name)
        if held is None or SensorMeta.from_json(held["meta"]).identity() != sensor.identity():
            raise StoreError(
                f"region {manifest.record.name}, sensor {name}",
                "absent" if held is None else "it was written under other metadata",
                "Build this region again",
            )


def _stands(root: Path, name: str, digest: str) -> bool:
    """Whether the region is there with this digest; raise if another thing of its name is."""
    folder = root / name
    if not folder.exists():
        return False
    try:
        held = Manifest.load(folder / MANIFEST)
        found = f"it holds a region with digest {held.digest[:12]}, not {digest[:12]}"
        if held.digest == digest:
            return True
    except StoreError:
        found = "a folder without a readable manifest is in its place"
    raise StoreError(
        f"writing region {name} into {root}",
        found,
        "Nothing is replaced silently: move it away, or ask for it to be replaced",
    )


def _hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def _disk_errors(root: Path) -> AbstractContextManager[None]:
    return disk_errors(f"writing {root}", "give another --out", StoreError)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a region's, removed at the end unless it was renamed."""
    with _disk_errors(target.parent), temporary_directory(target) as folder:
        try:
            yield folder
        except BaseException:
            finish_writes()
            raise


def _publish(root: Path, folder: Path, name: str, digest: str, *, replace: bool) -> None:
    target = root / name
    if replace and target.exists():
        # The index lists the region that is replaced: from here on the store is unfinished.
        (root / INDEX).unlink(missing_ok=True)
        replace_directory(folder, target)
        return
    try:
        publish_directory(folder, target)
    except OSError:
        # Another writer was faster: the same content is fine, other content is not.
        if not target.exists() or not _stands(root, name, digest):
            raise
