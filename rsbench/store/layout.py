"""What a store holds: the values that describe it, their JSON forms and their digests.

A store is a Zarr v3 tree: ``<root>/<region>/<sensor>/<array>``, one shard per array, a manifest
per region and an index at the root that is written last.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsbench.core.dates import iso_dates
from rsbench.core.digest import ArrayHasher, sha256_json
from rsbench.core.errors import InputError, StoreError, other_schema
from rsbench.core.grid import Grid
from rsbench.core.io import read_json

Array = npt.NDArray[Any]

SCHEMA = 1
ROOT_KEY = "rsbench"
INDEX = "index.json"
MANIFEST = "manifest.json"
JOURNAL = ".rsbench-journal"
LOCK = "lock.json.gz"
"""The frozen search a store was built from; imports have none."""
CARD = "README.md"
COVERAGE = "coverage.svg"
"""The data card and its picture, made from the finished store."""
SPLITS = ("train", "val", "test")
DTYPES = ("uint8", "uint16", "int16", "float32")
UNITS = ("reflectance", "kelvin", "display")
CHUNK = 128
REBUILD = "Run the build again (it keeps what is whole), or copy the store again"
ARRAYS = ("values", "valid", "n_valid", "odd", "even", "spread", "source", "labels")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def require_name(kind: str, name: str) -> None:
    """Refuse names that are no safe folder names.

    Raises:
        InputError: if the name has other signs than letters, digits, ``_``, ``.`` and ``-``.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{kind} {name!r}",
            "it becomes a folder name, and holds signs that folders may not carry everywhere",
            "Use letters, digits, _ . and -, beginning with a letter or digit",
        )


def _fits(number: float, dtype: str) -> bool:
    if dtype == "float32":
        return bool(np.isfinite(number))
    limits = np.iinfo(dtype)
    return number == int(number) and limits.min <= number <= limits.max


@dataclass(frozen=True)
class SensorMeta:
    """How a sensor's stored numbers are to be read: ``value = stored · scale + offset``.

    Args:
        bands: band names along the band axis.
        unit: ``reflectance``, ``kelvin`` or ``display``.
        dtype: stored type, one of ``DTYPES``.
        nodata: stored number of a pixel without value.
        gsd: pixel size in metres.
        value_range: the data range metrics use, in the unit.
        display: bands shown as red, green, blue.
    """

    name: str
    bands: tuple[str, ...]
    unit: str
    dtype: str
    scale: float
    offset: float
    nodata: float
    gsd: float
    value_range: tuple[float, float]
    display: tuple[str, str, str] | None = None
    attribution: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        require_name("sensor", self.name)
        asked = f"sensor {self.name}"
        if self.dtype not in DTYPES:
            raise InputError(asked, f"dtype {self.dtype!r}", f"Stored types: {', '.join(DTYPES)}")
        if self.unit not in UNITS:
            raise InputError(asked, f"unit {self.unit!r}", f"Units: {', '.join(UNITS)}")
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise InputError(asked, f"bands {self.bands}", "Name at least one band, each once")
        if not self.value_range[0] < self.value_range[1]:
            raise InputError(asked, f"value range {self.value_range}", "It must ascend")
        if not _fits(self.nodata, self.dtype):
            raise InputError(
                asked,
                f"nodata {self.nodata} cannot be stored as {self.dtype}",
                "Name a finite number of that type",
            )

    @property
    def data_range(self) -> float:
        """Width of the value range."""
        return self.value_range[1] - self.value_range[0]

    def band_index(self, bands: Sequence[str]) -> tuple[int, ...]:
        """Return where the named bands stand.

        Raises:
            UnknownName: if the sensor has no band of a name.
        """
        from rsbench.core.errors import unknown

        for band in bands:
            if band not in self.bands:
                raise unknown(f"band of {self.name}", band, self.bands)
        return tuple(self.bands.index(band) for band in bands)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; numbers have one spelling."""
        value = asdict(self)
        integer = self.dtype != "float32"
        value.update(
            bands=list(self.bands),
            scale=float(self.scale),
            offset=float(self.offset),
            nodata=int(self.nodata) if integer else float(self.nodata),
            gsd=float(self.gsd),
            value_range=[float(v) for v in self.value_range],
            display=list(self.display) if self.display else None,
        )
        return value

    def identity(self) -> dict[str, Any]:
        """Return the part that enters digests: all but the texts about rights."""
        value = self.to_json()
        del value["attribution"], value["licence"]
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        lo, hi = value["value_range"]
        rgb = value.get("display")
        return cls(
            **{
                **value,
                "bands": tuple(value["bands"]),
                "value_range": (float(lo), float(hi)),
                "display": (rgb[0], rgb[1], rgb[2]) if rgb else None,
            }
        )


@dataclass(frozen=True, eq=False)
class SensorArrays:
    """The decoded arrays of one region and sensor.

    Args:
        values: ``(T, C, H, W)`` in the stored dtype.
        valid: ``(T, H, W)`` bool.
        n_valid: ``(T, H, W)`` uint16, observations behind each pixel.
        times: T dates, ascending.
        odd, even: ``(T, C, H, W)`` composites of the odd and the even dates; nodata where absent.
        spread: ``(T, C, H, W)`` uint16, median absolute deviation in stored steps.
        source: ``(T, H, W)`` uint16, which observation was kept, counted from 1; 0 for none.
        labels: ``(T, H, W)`` uint8, classes of a map made by others.
        about: further attributes of arrays by name; they never move a digest.
    """

    values: Array
    valid: Array
    n_valid: Array
    times: tuple[date, ...]
    grid: Grid
    odd: Array | None = None
    even: Array | None = None
    spread: Array | None = None
    source: Array | None = None
    labels: Array | None = None
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def named(self) -> dict[str, Array]:
        """Return the arrays that are there, by name."""
        found = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in found.items() if array is not None}


@dataclass(frozen=True)
class RegionRecord:
    """A region's name, split, strata (biome, stratum, country …) and dates."""

    name: str
    split: str
    strata: Mapping[str, str]
    times: tuple[date, ...]

    def __post_init__(self) -> None:
        require_name("region", self.name)
        if self.split not in SPLITS:
            raise InputError(
                f"region {self.name}", f"split {self.split!r}", f"Splits: {', '.join(SPLITS)}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "split": self.split,
            "strata": dict(sorted(self.strata.items())),
            "times": [t.isoformat() for t in self.times],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        times = iso_dates(value["times"])
        return cls(value["name"], value["split"], dict(value["strata"]), times)


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that a store wrote.

    Raises:
        StoreError: if the file is absent, cut short or no JSON object.
    """
    with as_store_error():
        return read_json(path, remedy=REBUILD)


@contextmanager
def as_store_error() -> Iterator[None]:
    """Raise the input errors of the block as :class:`StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except InputError as error:
        raise StoreError(error.asked, error.found, error.remedy) from error


def require_schema(path: Path, value: Mapping[str, Any]) -> None:
    """Refuse what was written under another schema, with the command that makes it again.

    Raises:
        SchemaError: if ``value["schema"]`` is not the schema this version reads.
    """
    if value.get("schema") != SCHEMA:
        root = path.parent if path.name == INDEX else path.parent.parent
        raise other_schema(f"reading {path}", value.get("schema"), SCHEMA, build_again(root))


def build_again(root: Path) -> str:
    """Return the command that makes a store again under this schema, beside the old one.

    It takes what the store keeps: the lock it was built from (the same pixels, so the same
    digest), else the name of its recipe, else how it was imported.
    """
    from rsbench.catalog import names

    recipe = _recipe(root / INDEX)
    out = shlex.quote(str(root.with_name(f"{root.stem}-again{root.suffix}")))
    if "importer" in recipe:
        told = {f"--{key}": recipe.get(key) for key in ("unit", "scale", "offset", "nodata")}
        options = "".join(f" {key} {value}" for key, value in told.items() if value is not None)
        if ends := recipe.get("value_range"):
            options += f" --value-range {ends[0]} {ends[1]}"
        return f"rsbench import-dataset {recipe['importer']} SOURCE{options} --out {out}"
    name = str(recipe.get("name", "NAME"))
    if (root / LOCK).is_file():
        own = "" if name in names("recipes") else f" --recipe {name}.yaml"
        lock = shlex.quote(str(root / LOCK))
        return f"rsbench build-dataset{own} --lock {lock} --out {out}"
    return f"rsbench build-dataset --recipe {name} --out {out}"


def _recipe(index: Path) -> Mapping[str, Any]:
    """Return the recipe an index of any schema states, or nothing."""
    try:
        found = read_json(index).get("recipe")
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class StoreMeta:
    """What is true of the whole store.

    Args:
        recipe: canonical JSON form of the recipe, with at least ``name``.
        lock_digest: digest of the lock it was built from, None for imports.
        compositor: name and version of what made a frame, e.g. ``median@1``.
        missing: units that are not there, each ``{"region", "time", "reason"}``.
        step: time between frames, ISO 8601, e.g. ``P1Y``.
        simulation: what the simulated Earth was drawn from.
    """

    kind: str
    recipe: Mapping[str, Any]
    lock_digest: str | None
    compositor: str
    simulated: bool
    complete: bool
    missing: tuple[Mapping[str, Any], ...]
    step: str
    default_preset: str
    default_protocol: str
    sensors: Mapping[str, SensorMeta]
    simulation: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "recipe": dict(self.recipe),
            "lock_digest": self.lock_digest,
            "compositor": self.compositor,
            "simulated": self.simulated,
            "complete": self.complete,
            "missing": [dict(m) for m in self.missing],
            "step": self.step,
            "default_preset": self.default_preset,
            "default_protocol": self.default_protocol,
            "sensors": {n: s.to_json() for n, s in sorted(self.sensors.items())},
            "simulation": None if self.simulation is None else dict(self.simulation),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        names = cls.__dataclass_fields__
        known = {key: value[key] for key in names}
        known["missing"] = tuple(value["missing"])
        known["sensors"] = {n: SensorMeta.from_json(s) for n, s in value["sensors"].items()}
        return cls(**known)


@dataclass(frozen=True)
class RegionEntry:
    """One region as the store lists it; grids and times by sensor."""

    record: RegionRecord
    grids: Mapping[str, Grid]
    times: Mapping[str, tuple[date, ...]]
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The manifest of a region: its record, its sensors and every file under it.

    ``files``: relative path → ``{"size": bytes, "sha256": hex}``.
    """

    record: RegionRecord
    sensors: Mapping[str, Mapping[str, Any]]
    digest: str
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": SCHEMA,
            "region": self.record.to_json(),
            "sensors": {n: dict(s) for n, s in sorted(self.sensors.items())},
            "digest": self.digest,
            "files": {n: dict(f) for n, f in sorted(self.files.items())},
        }

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest file.

        Raises:
            StoreError: if it is absent, cut short, or lacks a part.
            SchemaError: if it was written under another schema.
        """
        return cls.parse(path, load_json(path))

    @classmethod
    def parse(cls, path: Path, value: Mapping[str, Any]) -> Self:
        """Read the JSON form; ``path`` is for errors, as of :meth:`load`."""
        require_schema(path, value)
        try:
            record = RegionRecord.from_json(value["region"])
            return cls(record, value["sensors"], str(value["digest"]), value["files"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"reading {path}", f"a part is missing: {error}", REBUILD) from error

    def entry(self) -> RegionEntry:
        """Return the region as the store lists it."""
        return RegionEntry(
            self.record,
            {n: Grid.from_json(s["grid"]) for n, s in self.sensors.items()},
            {n: iso_dates(s["times"]) for n, s in self.sensors.items()},
            self.digest,
        )


def region_digest(
    record: RegionRecord, sensors: Mapping[str, SensorArrays], metas: Mapping[str, SensorMeta]
) -> str:
    """Return the digest of a region: decoded arrays, grids, dates and canonical metadata.

    Codec, chunks and the bytes on disk never enter, nor do texts about rights.
    """
    hasher = ArrayHasher()
    hasher.add_json("region", record.to_json())
    for name in sorted(sensors):
        arrays = sensors[name]
        hasher.add_json(f"{name}/meta", metas[name].identity())
        hasher.add_json(f"{name}/grid", arrays.grid.to_json())
        hasher.add_json(f"{name}/times", [t.isoformat() for t in arrays.times])
        for key, array in sorted(arrays.named().items()):
            hasher.add(f"{name}/{key}", array)
    return hasher.hexdigest()


def store_digest(meta: StoreMeta, regions: Mapping[str, str]) -> str:
    """Return the digest of a store from its metadata and the digests of its regions.

    The recipe enters by name only, and the lock not at all: two locks that give the same pixels
    give the same data set.
    """
    return sha256_json(
        {
            "schema": SCHEMA,
            "kind": meta.kind,
            "recipe": meta.recipe.get("name"),
            "compositor": meta.compositor,
            "simulated": meta.simulated,
            "simulation": None if meta.simulation is None else dict(meta.simulation),
            "complete": meta.complete,
            "missing": sorted([str(m.get("region")), str(m.get("time"))] for m in meta.missing),
            "step": meta.step,
            "sensors": {n: s.identity() for n, s in meta.sensors.items()},
            "regions": dict(regions),
        }
    )
