"""Write a store: regions first, each in a temporary folder that is renamed, and the index last.

A store without an index is unfinished and cannot be opened. A region with a manifest is complete;
the manifest has the SHA-256 of every file.
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
    target_of,
    temporary_directory,
    write_atomic,
)
from rsbench.core.names import folder_fault
from rsbench.store.layout import (
    INDEX,
    MANIFEST,
    ROOT_KEY,
    SCHEMA,
    RegionRecord,
    SensorArrays,
    SensorMeta,
    StoreMeta,
    region_digest,
    store_digest,
)
from rsbench.store.manifest import Manifest
from rsbench.store.pixels import canonical_arrays
from rsbench.store.plausible import OUTSIDE, outside_of
from rsbench.store.zarr_write import (
    CODECS,
    consolidation,
    finish_writes,
    nodes_below,
    write_group,
    write_sensor,
)

MOST_CONSOLIDATED = 32 << 20
"""Largest size of the root's metadata that repeats that of all regions, in bytes."""


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
    """Write one region atomically and return its digest; skip one that exists with this digest.

    Args:
        sensors: arrays by sensor.
        metas: metadata by sensor.
        codec: one of ``CODECS``; not part of the digest.
        attrs: provenance to store with the region (JSON); not part of the digest. Images with
            numbers outside the plausible range are added to it.
        replace: replace an existing region of the same name.

    Raises:
        StoreError: if a region of this name with other content exists and ``replace`` is False.
        PixelError: if a valid pixel is NaN or infinite.
        DiskFull: if the disk is full.
    """
    root = Path(root)
    _require_arguments(record.name, sensors, metas, codec)
    clean = {n: canonical_arrays(record.name, a, metas[n]) for n, a in sensors.items()}
    digest = region_digest(record, clean, metas)
    if not replace and _is_written(root, record.name, digest):
        return digest
    with _staged(root / record.name) as folder:
        outside = outside_of(clean, metas)
        provenance = {"provenance": {**(attrs or {}), **({OUTSIDE: outside} if outside else {})}}
        write_group(folder, {ROOT_KEY: {"schema": SCHEMA, **record.to_json(), **provenance}})
        for name in sorted(clean):
            write_sensor(folder / name, clean[name], metas[name], codec)
        sensors_json = {name: _described(arrays, metas[name]) for name, arrays in clean.items()}
        manifest = Manifest(record, sensors_json, digest, _hash_files(folder))
        (folder / MANIFEST).write_text(canonical_json(manifest.to_json()), encoding="utf-8")
        _publish(root, folder, record.name, digest, replace=replace)
    return digest


def _require_arguments(
    region: str, sensors: Mapping[str, Any], metas: Mapping[str, Any], codec: str
) -> None:
    if codec not in CODECS:
        raise unknown("codec", codec, CODECS)
    for kind, name in (("region", region), *(("sensor", name) for name in sensors)):
        if fault := folder_fault(name):
            raise InputError(f"{kind} {name!r}", fault, "Choose another name")
    if set(sensors) != set(metas) or not sensors:
        raise InputError(
            f"region {region}",
            f"arrays of {sorted(sensors)}, metadata of {sorted(metas)}",
            "Give both for every sensor, at least one",
        )


def _described(arrays: SensorArrays, meta: SensorMeta) -> dict[str, Any]:
    """Return the entry of a sensor in the manifest."""
    return {
        "meta": meta.to_json(),
        "grid": arrays.grid.to_json(),
        "times": [t.isoformat() for t in arrays.times],
        "arrays": sorted(arrays.named()),
    }


def finalise(root: Path, meta: StoreMeta, *, regions: Sequence[str] | None = None) -> str:
    """Write the metadata and index of the root after checking the regions; return the digest.

    No other process may write to the store at the same time: temporary folders are removed.

    Args:
        regions: the regions that the store must hold; None for all existing regions.

    Raises:
        StoreError: if a region is absent, or its sensors differ from ``meta``.
    """
    root = Path(root)
    found = {m.record.name: m for m in read_manifests(root)}
    names = sorted(found if regions is None else regions)
    _require_present(root, names, found)
    _require_consistent(root, meta)
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
        write_atomic(root / "zarr.json", _root_group(root, index))
        write_atomic(root / INDEX, json.dumps(index, indent=1, ensure_ascii=False))
    return digest


def read_manifests(root: Path) -> list[Manifest]:
    """Return the manifests of all complete regions under a root, sorted by name."""
    return [
        Manifest.load(path)
        for path in sorted(Path(root).glob(f"*/{MANIFEST}"))
        if not path.parent.name.startswith(".")
    ]


def _root_group(root: Path, index: dict[str, Any]) -> str:
    """Return the metadata of the root, with that of all regions unless it becomes too large."""
    group = {"zarr_format": 3, "node_type": "group", "attributes": {ROOT_KEY: index}}
    nodes: dict[str, Any] = {}
    for region in index["regions"]:
        name = region["name"]
        own = json.loads((root / name / "zarr.json").read_text(encoding="utf-8"))
        nodes |= {name: own, **{f"{name}/{k}": v for k, v in nodes_below(root / name).items()}}
    text = json.dumps(group | consolidation(nodes))
    return text if len(text) <= MOST_CONSOLIDATED else json.dumps(group)


def _listing(root: Path, manifest: Manifest) -> dict[str, Any]:
    record = manifest.record
    return {
        "name": record.name,
        "split": record.split,
        "strata": dict(sorted(record.strata.items())),
        "digest": manifest.digest,
        "manifest": sha256_file(root / record.name / MANIFEST),
    }


def _require_present(root: Path, names: Sequence[str], found: Mapping[str, Manifest]) -> None:
    if not names:
        raise StoreError(f"finishing {root}", "it holds no region", "Build at least one region")
    absent = [name for name in names if name not in found]
    if absent:
        raise StoreError(
            f"finishing {root}",
            f"{len(absent)} of {len(names)} regions are absent: {', '.join(absent[:5])}",
            "Run the same build again; it builds only what is missing",
        )


def _require_consistent(root: Path, meta: StoreMeta) -> None:
    if meta.complete and meta.missing:
        raise StoreError(
            f"finishing {root}",
            f"it is marked as complete, but {len(meta.missing)} units are missing",
            "Mark it as incomplete",
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


def _is_written(root: Path, name: str, digest: str) -> bool:
    """Return whether the region exists with this digest.

    Raises:
        StoreError: if a region with another digest, or another folder, has its name.
    """
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
        "Nothing is replaced silently: move it, or pass replace=True",
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
    return disk_errors(f"writing {target_of(root)}", "give another --out", StoreError)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Yield a temporary folder for a region, removed at the end unless it was renamed."""
    with _disk_errors(target.parent), temporary_directory(target) as folder:
        try:
            yield folder
        except BaseException:
            finish_writes()
            raise


def _publish(root: Path, folder: Path, name: str, digest: str, *, replace: bool) -> None:
    target = root / name
    if replace and target.exists():
        # The index lists the old region, so it is removed: the store is now unfinished.
        (root / INDEX).unlink(missing_ok=True)
        replace_directory(folder, target)
        return
    try:
        publish_directory(folder, target)
    except OSError:
        # Another process may have written the same region first.
        if not target.exists() or not _is_written(root, name, digest):
            raise
