"""Comparison of the files of a store with its manifests and digests."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rsbench.core.dates import day_numbers, iso_dates
from rsbench.core.errors import StoreError
from rsbench.core.grid import Grid
from rsbench.store.layout import (
    CARD,
    COVERAGE,
    INDEX,
    JOURNAL,
    LOCK,
    MANIFEST,
    ROOT_KEY,
    SensorArrays,
    SensorMeta,
    StoreMeta,
    region_digest,
)
from rsbench.store.manifest import Manifest
from rsbench.store.tree import Tree, tree_json
from rsbench.store.zarr_write import centres


class Checked(Protocol):
    """The parts of a store that are checked."""

    @property
    def tree(self) -> Tree:
        """The files of the store."""

    @property
    def meta(self) -> StoreMeta:
        """Metadata of the index."""

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions."""

    @property
    def listed(self) -> Mapping[str, Mapping[str, Any]]:
        """The entry of each region in the index."""

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a region."""

    def read_region(self, region: str, sensor: str) -> SensorArrays:
        """Return all arrays of a region and sensor, decoded."""


@dataclass(frozen=True)
class Finding:
    """One difference from the manifests or digests.

    Args:
        kind: ``file``, ``missing``, ``extra``, ``metadata``, ``grid``, ``crs``, ``pixels`` or
            ``digest``.
        where: file or part of the store.
        message: the difference.
    """

    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.message}"


def check(store: Checked) -> list[Finding]:
    """Return all differences from the manifests and digests, region by region."""
    found = list(_check_root(store))
    for name in store.regions:
        found.extend(_check_region(store, name))
    return found


def _check_root(store: Checked) -> Iterator[Finding]:
    try:
        group = tree_json(store.tree, "zarr.json")
        if group.get("attributes", {}).get(ROOT_KEY) != tree_json(store.tree, INDEX):
            yield Finding("metadata", "zarr.json", f"its attributes differ from {INDEX}")
    except StoreError as error:
        yield Finding("file", "zarr.json", error.found)
    yield from _check_lock(store.tree)
    known = {INDEX, LOCK, CARD, COVERAGE, "zarr.json", JOURNAL, *store.regions}
    for name in store.tree.names():
        if name not in known:
            yield Finding("extra", name, "the index does not list it")


def _check_lock(tree: Tree) -> Iterator[Finding]:
    if tree.size(LOCK) is None:
        return
    try:
        json.loads(gzip.decompress(tree.read(LOCK)))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        yield Finding("file", LOCK, f"it cannot be read ({type(error).__name__})")


def _check_region(store: Checked, name: str) -> Iterator[Finding]:
    tree = store.tree
    try:
        manifest = store.manifest(name)
    except StoreError as error:
        # Without a manifest the files of the region cannot be checked.
        yield Finding("file", f"{name}/{MANIFEST}", error.found)
        return
    record = manifest.record
    if (record.name, record.split) != (name, store.listed[name]["split"]):
        yield Finding("metadata", f"{name}/{MANIFEST}", "name or split differ from the index")
    broken = list(_check_files(tree, name, manifest))
    yield from broken
    for sensor in sorted(manifest.sensors):
        yield from _check_metadata(store, name, sensor, manifest.sensors[sensor])
    if not any(finding.kind == "missing" for finding in broken):
        yield from _check_digest(store, name, manifest)


def _check_files(tree: Tree, name: str, manifest: Manifest) -> Iterator[Finding]:
    for file, held in sorted(manifest.files.items()):
        where = f"{name}/{file}"
        size = tree.size(where)
        if size is None:
            yield Finding("missing", where, "the manifest lists it")
        elif size != held["size"]:
            yield Finding("file", where, f"{size} of {held['size']} bytes")
        elif _differs(tree, where, held["sha256"]):
            yield Finding("file", where, "its bytes differ from the manifest's SHA-256")
    listed = {*manifest.files, MANIFEST}
    for file in tree.files(name):
        if file not in listed:
            yield Finding("extra", f"{name}/{file}", "the manifest does not list it")


def _differs(tree: Tree, where: str, digest: str) -> bool:
    try:
        return tree.sha256(where) != digest
    except OSError:
        return True


def _check_metadata(store: Checked, name: str, sensor: str, held: Any) -> Iterator[Finding]:
    where = f"{name}/{sensor}"
    if sensor in store.meta.sensors:
        if SensorMeta.from_json(held["meta"]).identity() != store.meta.sensors[sensor].identity():
            yield Finding("metadata", where, "its sensor differs from the index's")
    else:
        yield Finding("extra", where, "the index lists no such sensor")
    grid = Grid.from_json(held["grid"])
    try:
        attributes = tree_json(store.tree, f"{where}/spatial_ref/zarr.json")["attributes"]
        yield from _check_crs(where, grid, attributes)
        yield from _check_coordinates(store.tree, where, grid, held)
    except StoreError as error:
        yield Finding("file", where, error.found)
    except Exception as error:  # noqa: BLE001 - zarr and its codecs raise many types
        yield Finding("file", where, f"its coordinates cannot be read ({error})")


def _check_crs(where: str, grid: Grid, attributes: dict[str, Any]) -> Iterator[Finding]:
    a, _, c, _, e, f = grid.transform
    stated = [float(v) for v in str(attributes.get("GeoTransform", "")).split()]
    if stated != [c, a, 0.0, f, 0.0, e]:
        yield Finding("grid", f"{where}/spatial_ref", f"GeoTransform {stated} is not the grid's")
    try:
        from pyproj import CRS
    except ImportError:
        return
    wkt = attributes.get("crs_wkt")
    if not wkt or CRS.from_user_input(wkt) != CRS.from_user_input(grid.crs):
        shown = CRS.from_user_input(wkt).name if wkt else None
        yield Finding("crs", f"{where}/spatial_ref", f"{shown!r} is not the grid's {grid.crs}")


def _check_coordinates(tree: Tree, where: str, grid: Grid, held: Any) -> Iterator[Finding]:
    y, x = centres(grid)
    wanted = {"y": y, "x": x, "time": day_numbers(iso_dates(held["times"]))}
    for key, array in wanted.items():
        stored = np.asarray(tree.array(f"{where}/{key}")[...])
        if not np.array_equal(stored, array):
            yield Finding("grid", f"{where}/{key}", "coordinates differ from grid and dates")
    bands = np.asarray(tree.array(f"{where}/band")[...]).tolist()
    if bands != list(held["meta"]["bands"]):
        yield Finding("metadata", f"{where}/band", f"{bands} are not the sensor's bands")


def _check_digest(store: Checked, name: str, manifest: Manifest) -> Iterator[Finding]:
    try:
        arrays = {sensor: store.read_region(name, sensor) for sensor in manifest.sensors}
    except StoreError as error:
        yield Finding("pixels", name, f"cannot be decoded: {error.found}")
        return
    metas = {n: SensorMeta.from_json(s["meta"]) for n, s in manifest.sensors.items()}
    digest = region_digest(manifest.record, arrays, metas)
    if digest != manifest.digest:
        yield Finding(
            "digest",
            name,
            f"the pixels give {digest[:12]}, the manifest states {manifest.digest[:12]}",
        )
