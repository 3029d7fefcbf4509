"""Open a store and read its decoded arrays; a missing or truncated file raises an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError, RsbenchError, StoreError, first_line, unknown
from rsbench.core.grid import Window
from rsbench.core.html import html_table
from rsbench.core.io import TEMPORARY
from rsbench.store.icechunk import open_version, repository_of
from rsbench.store.layout import (
    ARRAYS,
    IMAGE,
    INDEX,
    JOURNAL,
    MANIFEST,
    REBUILD,
    VALUES,
    Array,
    SensorArrays,
    SensorMeta,
    StoreMeta,
    store_digest,
)
from rsbench.store.manifest import Manifest, RegionEntry, require_schema
from rsbench.store.pixels import physical, require_inside
from rsbench.store.tree import Folder, Tree, tree_json

if TYPE_CHECKING:
    import zarr

    from rsbench.store.integrity import Finding
    from rsbench.store.torch_data import StoreWindows


def open_store(path: str | Path) -> Store:
    """Return a finished store: a folder, or ``PATH@TAG`` for a version in an icechunk repository.

    Args:
        path: the folder.

    Raises:
        StoreError: if the path is absent, not a store, unfinished or damaged.
        SchemaError: if it has another schema.
    """
    root = Path(path)
    tree: Tree = Folder(root)
    if (found := repository_of(root)) is not None:
        tree = open_version(*found)
    elif not (root / INDEX).is_file():
        raise _no_store(root)
    index = tree_json(tree, INDEX)
    require_schema(root / INDEX, index)
    try:
        meta = StoreMeta.from_json(index)
        listed = {str(r["name"]): dict(r) for r in index["regions"]}
        if any(not {"split", "digest", "manifest"} <= set(r) for r in listed.values()):
            raise KeyError("split, digest or manifest of a region")
        digest = str(index["digest"])
        held = store_digest(meta, {n: str(r["digest"]) for n, r in listed.items()})
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = f"its index lacks a part: {first_line(error)}"
        raise StoreError(f"opening {root}", reason, REBUILD) from error
    if not listed or held != digest:
        raise StoreError(
            f"opening {root}", f"the content of {INDEX} does not give the digest it states", REBUILD
        )
    absent = [name for name in listed if tree.size(f"{name}/{MANIFEST}") is None]
    if absent:
        raise StoreError(
            f"opening {root}",
            f"{len(absent)} of {len(listed)} regions are absent: {', '.join(absent[:5])}",
            REBUILD,
        )
    return Store(tree, digest, meta, listed)


def _no_store(root: Path) -> StoreError:
    asked = f"opening {root}"
    build = "Type: rsbench build-dataset --out " + str(root)
    if not root.exists():
        return StoreError(asked, "nothing is there", build)
    if not root.is_dir():
        return StoreError(asked, "it is a file, not a folder", "Give the folder of a store")
    inside = sorted(p.name for p in root.iterdir())
    if not inside:
        return StoreError(asked, "the folder is empty", build)
    whole = sum((root / name / MANIFEST).is_file() for name in inside)
    if whole or JOURNAL in inside or any(name.startswith(TEMPORARY) for name in inside):
        return StoreError(
            asked,
            f"the build is unfinished: {whole} whole regions and no {INDEX}",
            "Run the same build again; it resumes where it stopped",
        )
    return StoreError(
        asked, f"it is no store; it holds {', '.join(inside[:3])} …", "Give the folder of a store"
    )


@final
class Store:
    """A finished store, read on demand and never modified."""

    def __init__(
        self, tree: Tree, digest: str, meta: StoreMeta, listed: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.path = tree.where
        self.tree = tree
        self.digest = digest
        self.meta = meta
        self.listed = listed
        self._manifests: dict[str, Manifest] = {}
        self._arrays: dict[tuple[str, str, str], zarr.Array[Any]] = {}

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, recipe={self.recipe!r}, digest={self.digest[:12]!r})"

    def _repr_html_(self) -> str:
        """Return identity, sensors and splits as a table; only the index is read."""
        count = Counter(str(entry["split"]) for entry in self.listed.values())
        words = {"(simulated)": self.simulated, "(incomplete)": not self.complete}
        rows = [
            ("path", self.path),
            ("digest", self.digest),
            ("recipe", " ".join([self.recipe, *(w for w, true in words.items() if true)])),
            *(
                (f"sensor {n}", f"{m.unit}: {' '.join(m.bands)}")
                for n, m in self.meta.sensors.items()
            ),
            ("regions", ", ".join(f"{n} {split}" for split, n in sorted(count.items()))),
        ]
        return html_table("rsbench store", (), rows)

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return str(self.meta.recipe.get("name", ""))

    @property
    def simulated(self) -> bool:
        """Whether the pixels are simulated."""
        return self.meta.simulated

    @property
    def one_scene(self) -> bool:
        """Whether all regions are parts of one series of images of one place."""
        imported = str(self.meta.recipe.get("importer")).startswith("geotiff-")
        return bool(self.meta.recipe.get("one_scene", imported))

    @property
    def complete(self) -> bool:
        """Whether no unit is missing."""
        return self.meta.complete

    @cached_property
    def regions(self) -> tuple[str, ...]:
        """Sorted names of all regions."""
        return tuple(sorted(self.listed))

    def split(self, name: str) -> tuple[str, ...]:
        """Return the sorted names of the regions of a split.

        Raises:
            UnknownName: if no region is in it.
            StoreError: if the index states another split than the manifest of a region.
        """
        if name not in (known := set(self._splits.values())):
            raise unknown("split of this store", name, known)
        return tuple(r for r in self.regions if self._splits[r] == name)

    @cached_property
    def _splits(self) -> dict[str, str]:
        """Region → split; those of the index have no digest, those of the manifests have one."""
        found = {region: self.manifest(region).record.split for region in self.regions}
        for region, split in found.items():
            if split != self.listed[region]["split"]:
                raise StoreError(
                    f"region {region} of {self.path}",
                    f"its split is {split}; the index lists {self.listed[region]['split']}",
                    REBUILD,
                )
        return found

    def region(self, name: str) -> RegionEntry:
        """Return record, grids, dates and digest of a region."""
        return self.manifest(name).entry()

    def sensor(self, name: str) -> SensorMeta:
        """Return a sensor's metadata."""
        if name not in self.meta.sensors:
            raise unknown("sensor of this store", name, self.meta.sensors)
        return self.meta.sensors[name]

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a region.

        Raises:
            StoreError: if it is damaged or does not match the index.
        """
        if name not in self.listed:
            raise unknown("region of this store", name, self.listed)
        if name not in self._manifests:
            file = f"{name}/{MANIFEST}"
            manifest = Manifest.parse(self.path / file, tree_json(self.tree, file))
            if manifest.digest != self.listed[name]["digest"]:
                raise StoreError(
                    f"region {name} of {self.path}",
                    f"its digest is {manifest.digest[:12]}; the index lists "
                    f"{self.listed[name]['digest'][:12]}",
                    REBUILD,
                )
            if self.tree.sha256(file) != self.listed[name]["manifest"]:
                raise StoreError(
                    f"region {name} of {self.path}",
                    f"the bytes of its {MANIFEST} differ from the SHA-256 in the index",
                    REBUILD,
                )
            self._manifests[name] = manifest
        return self._manifests[name]

    def arrays(self, region: str, sensor: str) -> tuple[str, ...]:
        """Return the names of the arrays of a region and sensor."""
        self.sensor(sensor)
        held = self.manifest(region).sensors
        if sensor not in held:
            raise unknown(f"sensor of region {region}", sensor, held)
        return tuple(held[sensor]["arrays"])

    def attributes(self, region: str, sensor: str, array: str = VALUES) -> Mapping[str, Any]:
        """Return the attributes of an array: CF attributes, and ``rsbench:classes`` of labels."""
        folder = self._folder(region, sensor, array)
        kept: Mapping[str, Any] = tree_json(self.tree, f"{folder}/zarr.json")
        return dict(kept.get("attributes", {}))

    def read(
        self,
        region: str,
        sensor: str,
        *,
        array: str = VALUES,
        window: Window | None = None,
        times: slice | None = None,
    ) -> Array:
        """Return a decoded array as stored: ``(T, C, H, W)``, or ``(T, H, W)`` for masks.

        Args:
            array: ``values``, ``valid``, ``n_valid``, ``odd``, ``even``, ``spread``, ``source`` or
                ``labels``.
            window: pixels to read, inside the region; all if None.
            times: indices of dates to read; all if None.

        Raises:
            StoreError: if a file is absent, truncated or damaged.
        """
        with self._damage_errors(region, sensor, array):
            source = self._open(region, sensor, array)
        if window is None and times is None:
            selection: Any = ...
        else:
            rows, columns = slice(None), slice(None)
            if window is not None:
                require_inside(window, source.shape[-2], source.shape[-1], region)
                rows, columns = window.slices
            selection = (times or slice(None), ..., rows, columns)
        with self._damage_errors(region, sensor, array):
            return np.asarray(source[selection])

    def read_physical(
        self, region: str, sensor: str, *, window: Window | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return ``(T, C, H, W)`` float32 in the sensor's unit and ``(T, H, W)`` bool.

        Values are 0 where invalid.
        """
        raw = self.read(region, sensor, window=window)
        valid = self.read(region, sensor, array="valid", window=window)
        return physical(raw, self.sensor(sensor), valid), valid

    def to_physical(
        self, sensor: str, raw: Array, valid: Array | None = None
    ) -> npt.NDArray[np.float32]:
        """Return ``stored · scale + offset`` in float32; 0 where ``valid`` is False."""
        return physical(raw, self.sensor(sensor), valid)

    def read_region(self, region: str, sensor: str) -> SensorArrays:
        """Return all arrays of a region and sensor, decoded."""
        entry = self.region(region)
        found: dict[str, Any] = {
            name: self.read(region, sensor, array=name) for name in self.arrays(region, sensor)
        }
        return SensorArrays(times=entry.times[sensor], grid=entry.grids[sensor], **found)

    def torch_dataset(
        self, *, split: str, window: int, context: int, leads: int | Sequence[int],
        stride: int | None = None, sensor: str | None = None,
    ) -> StoreWindows:  # fmt: skip
        """Return all windows of a split for a PyTorch ``DataLoader``, which may have workers.

        The store is decoded once into the cache folder. Splits are those of the regions; the
        protocol of a benchmark is not applied.

        Args:
            split: ``train``, ``val`` or ``test``.
            window: side of a window in pixels.
            context: number of frames given.
            leads: steps of the store to predict, e.g. ``(1, 3)``; a number for all up to it.
            stride: pixels between windows, by default ``window``; the last ends at the edge.
            sensor: which one; the first where None.

        Returns:
            A data set whose samples are as in :class:`rsbench.store.torch_data.Sample`.

        Raises:
            InputError: if a number is not positive, or no region has such windows and dates.
            UnknownName: if there is no such split or sensor.
        """
        from rsbench.store.torch_data import WindowOptions, store_windows

        options = WindowOptions(
            split=split, window=window, context=context, leads=leads, stride=stride, sensor=sensor
        )
        return store_windows(self, options)

    def validate(self) -> list[Finding]:
        """Check all files, digests, grids and dates; return an empty list for an intact store."""
        from rsbench.store.integrity import check

        return check(self)

    @contextmanager
    def _damage_errors(self, region: str, sensor: str, array: str) -> Iterator[None]:
        """Convert the errors of zarr and its codecs for damaged bytes to :class:`StoreError`."""
        try:
            yield
        except RsbenchError:
            raise
        except Exception as error:
            raise StoreError(
                f"reading {region}/{sensor}/{array} of {self.path}",
                f"its bytes are damaged ({type(error).__name__}: {error})",
                "Run `rsbench validate STORE`, then build or copy the region again",
            ) from error

    def _open(self, region: str, sensor: str, array: str) -> zarr.Array[Any]:
        key = (region, sensor, array)
        if key not in self._arrays:
            if array not in self.arrays(region, sensor):
                if array in ARRAYS:
                    raise InputError(
                        f"array {array} of {region}/{sensor}",
                        "this store was built without it",
                        "Build with `floor: true` in the recipe",
                    )
                raise unknown("array", array, ARRAYS)
            folder = self._folder(region, sensor, array)
            self._require_files(region, folder.removeprefix(f"{region}/") + "/")
            self._arrays[key] = self.tree.array(folder)
        return self._arrays[key]

    def _folder(self, region: str, sensor: str, array: str) -> str:
        """Return the folder of an array; ``values`` is called ``image`` in newer stores."""
        files = self.manifest(region).files
        newer = array == VALUES and f"{sensor}/{IMAGE}/zarr.json" in files
        return f"{region}/{sensor}/{IMAGE if newer else array}"

    def _require_files(self, region: str, prefix: str) -> None:
        """Raise if a file is absent or truncated; zarr reads absent shards as fill values."""
        for name, held in self.manifest(region).files.items():
            if not name.startswith(prefix):
                continue
            size = self.tree.size(f"{region}/{name}")
            if size != held["size"]:
                found = "it is absent" if size is None else f"{size} of {held['size']} bytes"
                raise StoreError(f"reading {self.path / region / name}", found, REBUILD)
