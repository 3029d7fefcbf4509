"""Write a store: a region at a time into a temporary folder, renamed when whole; the index last.

A store that lies there without an index is unfinished, and says so; a region that lies there is
whole, with the SHA-256 of every file in its manifest.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.core.digest import canonical_json, sha256_file
from rsbench.core.errors import DiskFull, InputError, StoreError, unknown
from rsbench.core.grid import Grid
from rsbench.store.layout import (
    CHUNK,
    INDEX,
    MANIFEST,
    ROOT_KEY,
    SCHEMA,
    TEMPORARY,
    Array,
    Manifest,
    RegionRecord,
    SensorArrays,
    SensorMeta,
    StoreMeta,
    days,
    region_digest,
    store_digest,
)
from rsbench.store.pixels import canonical_arrays

SETTLE_S = 10.0
CODECS = ("zstd", "lz4", "zstd-shuffle", "none")


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
    with _temporary(root, record.name) as folder:
        group_attrs = {"schema": SCHEMA, **record.to_json(), "provenance": dict(attrs or {})}
        write_group(folder, {ROOT_KEY: group_attrs})
        for name in sorted(clean):
            _write_sensor(folder, name, clean[name], metas[name], codec)
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
        _sync_tree(folder)
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
    with disk_is_named(f"writing {root}", "give another --out"):
        for leftover in root.glob(f"{TEMPORARY}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        replace_text(root / "zarr.json", json.dumps(_root_group(index), indent=1))
        replace_text(root / INDEX, json.dumps(index, indent=1, ensure_ascii=False))
    return digest


def read_manifests(root: Path) -> list[Manifest]:
    """Return the manifests of all whole regions under a root, in order of name."""
    return [
        Manifest.load(path)
        for path in sorted(Path(root).glob(f"*/{MANIFEST}"))
        if not path.parent.name.startswith(".")
    ]


def write_group(folder: Path, attributes: dict[str, Any]) -> None:
    """Write an empty Zarr v3 group."""
    text = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (folder / "zarr.json").write_text(json.dumps(text, indent=1), encoding="utf-8")


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


@contextmanager
def disk_is_named(asked: str, elsewhere: str) -> Iterator[None]:
    """Turn what the operating system says of a full or closed device into one clear error.

    Args:
        elsewhere: how to write to another place.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(
                asked,
                f"the device has no room left ({error.strerror})",
                "Free some space and run the same command again, what was finished is kept; or "
                + elsewhere,
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise StoreError(
                asked, f"it cannot be written to ({error.strerror})", elsewhere.capitalize()
            ) from error
        raise


@contextmanager
def _temporary(root: Path, name: str) -> Iterator[Path]:
    """A fresh temporary folder under the root, gone afterwards unless it was renamed."""
    with disk_is_named(f"writing {root}", "give another --out"):
        folder = root / f"{TEMPORARY}{name}-{uuid.uuid4().hex[:12]}"
        folder.mkdir(parents=True)
        try:
            yield folder
        except BaseException:
            _let_zarr_finish()
            raise
        finally:
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)


def _let_zarr_finish() -> None:
    """Wait for what zarr still writes after one of its writes failed.

    It runs a node's writes side by side and returns at the first failure: the others would
    go on into a folder that is being cleared, and fail unheard when the process ends.
    """
    from zarr.core.sync import sync

    async def finish() -> None:
        this = asyncio.current_task()
        others = asyncio.all_tasks() - ({this} if this else set())
        if others:
            await asyncio.wait(others, timeout=SETTLE_S)

    sync(finish())


def _publish(root: Path, folder: Path, name: str, digest: str, *, replace: bool) -> None:
    target = root / name
    old = folder.with_name(f"{folder.name}.old")
    if replace and target.exists():
        # The index speaks of the region that goes: from here on the store is unfinished.
        (root / INDEX).unlink(missing_ok=True)
        target.rename(old)
    try:
        folder.rename(target)
    except OSError:
        # Another writer was faster: the same content is fine, other content is not.
        if not target.exists() or not _stands(root, name, digest):
            raise
    _sync(root)
    shutil.rmtree(old, ignore_errors=True)


def _compressors(codec: str, itemsize: int) -> list[Any]:
    from zarr.codecs import BloscCodec, Crc32cCodec

    # Blosc has no checksum of its own; crc32c turns a damaged chunk into an error on reading.
    options: dict[str, tuple[Any, int, Any]] = {
        "zstd": ("zstd", 5, "bitshuffle"),
        "lz4": ("lz4", 5, "bitshuffle"),
        "zstd-shuffle": ("zstd", 5, "shuffle"),
    }
    if codec == "none":
        return [Crc32cCodec()]
    cname, level, shuffle = options[codec]
    return [
        BloscCodec(typesize=itemsize, cname=cname, clevel=level, shuffle=shuffle),
        Crc32cCodec(),
    ]


def _write_sensor(
    folder: Path, name: str, arrays: SensorArrays, meta: SensorMeta, codec: str
) -> None:
    target = folder / name
    target.mkdir()
    sensor = {"schema": SCHEMA, **meta.to_json(), "grid": arrays.grid.to_json()}
    write_group(target, {ROOT_KEY: sensor})
    for key, array in arrays.named().items():
        _write_cube(target, key, array, meta, codec, arrays.about.get(key, {}))
    _write_coords(target, arrays, meta)


def _write_cube(
    target: Path,
    key: str,
    array: Array,
    meta: SensorMeta,
    codec: str,
    about: Mapping[str, Any],
) -> None:
    height, width = array.shape[-2:]
    inner = (*array.shape[:-2], min(CHUNK, height), min(CHUNK, width))
    shard = tuple(-(-n // c) * c for n, c in zip(array.shape, inner, strict=True))
    is_cube = array.ndim == 4
    is_value = is_cube and key != "spread"
    # Both spellings: xarray makes `spatial_ref` a coordinate, rioxarray follows `grid_mapping`.
    attributes: dict[str, Any] = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    if is_value:
        held = meta.to_json()
        attributes |= {
            "units": meta.unit,
            "nodata": held["nodata"],
            "rsbench:scale": held["scale"],
            "rsbench:offset": held["offset"],
        }
    elif is_cube:  # a difference of two stored numbers: the offset has fallen out
        attributes |= {"units": meta.unit, "rsbench:scale": meta.to_json()["scale"]}
    attributes |= about
    _create(
        target,
        key,
        array,
        chunks=inner,
        shards=shard,
        compressors=_compressors(codec, array.dtype.itemsize),
        fill_value=array.dtype.type(meta.nodata if is_value else 0),
        dimension_names=("time", "band", "y", "x") if is_cube else ("time", "y", "x"),
        attributes=attributes,
    )


def _write_coords(target: Path, arrays: SensorArrays, meta: SensorMeta) -> None:
    a, _, c, _, e, f = arrays.grid.transform
    y, x = centres(arrays.grid)
    coords: dict[str, tuple[Array, tuple[str, ...], dict[str, Any]]] = {
        "time": (
            days(arrays.times),
            ("time",),
            {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian", "axis": "T"},
        ),
        "band": (
            np.array(meta.bands, dtype=np.dtypes.StringDType()),
            ("band",),
            {"long_name": "band"},
        ),
        "y": (y, ("y",), {"axis": "Y", "standard_name": "projection_y_coordinate"}),
        "x": (x, ("x",), {"axis": "X", "standard_name": "projection_x_coordinate"}),
        "spatial_ref": (
            np.array(0, dtype=np.int32),
            (),
            {**_crs_attributes(arrays.grid.crs), "GeoTransform": f"{c} {a} 0.0 {f} 0.0 {e}"},
        ),
    }
    for key, (array, dims, attributes) in coords.items():
        _create(
            target,
            key,
            array,
            chunks=array.shape,
            shards=None,
            compressors=None,
            fill_value="" if key == "band" else array.dtype.type(0),
            dimension_names=dims,
            attributes=attributes,
        )


def centres(grid: Grid) -> tuple[Array, Array]:
    """Return the coordinates of pixel centres, ``(H,)`` and ``(W,)`` float64, in CRS units.

    Raises:
        InputError: if the grid is rotated.
    """
    a, b, c, d, e, f = grid.transform
    if b or d:
        raise InputError("grid", f"rotated: {grid.transform}", "Warp it to a north-up grid first")
    y = f + e * (np.arange(grid.height, dtype=np.float64) + 0.5)
    x = c + a * (np.arange(grid.width, dtype=np.float64) + 0.5)
    return y, x


def _crs_attributes(crs: str) -> dict[str, Any]:
    try:
        from pyproj import CRS
        from pyproj.exceptions import CRSError
    except ImportError as error:
        raise InputError(
            "writing a store", "pyproj is not installed", "Type: pip install 'rsbench[build]'"
        ) from error
    try:
        attributes = CRS.from_user_input(crs).to_cf()
    except CRSError as error:
        raise InputError(
            f"CRS {crs!r}", "it names no coordinate system", "Give EPSG:code"
        ) from error
    return json.loads(json.dumps(attributes))  # type: ignore[no-any-return]


def _create(target: Path, key: str, array: Array, **options: Any) -> None:
    import zarr
    from zarr.storage import LocalStore

    # Empty chunks are written too: a chunk that is absent is then always damage, never fill.
    created = zarr.create_array(
        LocalStore(target),
        name=key,
        shape=array.shape,
        dtype=array.dtype,
        zarr_format=3,
        filters=None,
        config={"write_empty_chunks": True},
        **options,
    )
    created[...] = array


def _hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def replace_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:12]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
