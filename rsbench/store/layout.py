"""Metadata and arrays of a store, their JSON forms and digests.

A store is a Zarr v3 tree ``<root>/<region>/<sensor>/<array>`` with one shard per array. Each region
has a manifest. The index at the root is written last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rsbench.core.dates import iso_dates
from rsbench.core.digest import ArrayHasher, canonical_json, sha256_json
from rsbench.core.errors import InputError, unknown
from rsbench.core.grid import Grid

Array = npt.NDArray[Any]

SCHEMA = 1
ROOT_KEY = "rsbench"
INDEX = "index.json"
MANIFEST = "manifest.json"
JOURNAL = ".rsbench-journal"
LOCK = "lock.json.gz"
"""The frozen search of a build; imported stores have none."""
CARD = "README.md"
COVERAGE = "coverage.svg"
"""The picture in the data card."""
SPLITS = ("train", "val", "test")
DTYPES = ("uint8", "uint16", "int16", "float32")
UNITS = ("reflectance", "kelvin", "display", "index")
"""Units of stored images."""
SHARE = "share"
"""Unit of class probabilities, which are predicted and never stored."""
CHUNK = 128
REBUILD = "Run the build again (complete regions are kept), or copy the store again"
VALUES = "values"
ARRAYS = (VALUES, "valid", "n_valid", "odd", "even", "spread", "source", "labels")
IMAGE = "image"
"""Name of the array ``values`` on disk; ``Dataset.values`` is a method of xarray. Older stores have
an array ``values``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def require_name(kind: str, name: str) -> None:
    """Raise if a name is not a safe folder name.

    Raises:
        InputError: if it has characters other than letters, digits, ``_``, ``.`` and ``-``.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{kind} {name!r}",
            "it is used as a folder name and has characters that some file systems do not allow",
            "Use letters, digits, _ . and -, beginning with a letter or digit",
        )


def _fits(number: float, dtype: str) -> bool:
    if dtype == "float32":
        return bool(np.isfinite(number))
    limits = np.iinfo(dtype)
    return number == int(number) and limits.min <= number <= limits.max


@dataclass(frozen=True)
class SensorMeta:
    """Metadata of a sensor in a store: ``value = stored · scale + offset``.

    Args:
        bands: band names along the band axis.
        unit: ``reflectance``, ``kelvin``, ``display``, or ``index`` for NDVI and the like.
        dtype: stored type, one of ``DTYPES``.
        nodata: stored number of invalid pixels.
        gsd: pixel size in metres.
        value_range: the value range for metrics, in ``unit``.
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
        if self.unit not in (*UNITS, SHARE):
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
        """Return the indices of bands.

        Raises:
            UnknownName: if the sensor has no band of a name.
        """
        for band in bands:
            if band not in self.bands:
                raise unknown(f"band of {self.name}", band, self.bands)
        return tuple(self.bands.index(band) for band in bands)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; equal numbers have equal texts."""
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
        """Return the part that enters digests: all fields except attribution and licence."""
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
        n_valid: ``(T, H, W)`` uint16, number of valid observations of each pixel.
        times: T dates, ascending.
        odd, even: ``(T, C, H, W)`` composites of the odd and of the even dates.
        spread: ``(T, C, H, W)`` uint16, median absolute deviation in stored steps.
        source: ``(T, H, W)`` uint16, number of the selected observation from 1; 0 for none.
        labels: ``(T, H, W)`` uint8, class codes of an external map.
        about: array name → further attributes; they do not enter digests.
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
        """Return the arrays that are not None, by name."""
        found = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in found.items() if array is not None}


@dataclass(frozen=True)
class RegionRecord:
    """Name, split, strata (biome, stratum, country …), dates and texts of a region.

    ``texts``: ISO date → description of the image of that date.
    """

    name: str
    split: str
    strata: Mapping[str, str]
    times: tuple[date, ...]
    texts: Mapping[str, str] = field(default_factory=dict)

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
            **({"texts": dict(sorted(self.texts.items()))} if self.texts else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON form; only stores with texts have the key ``texts``."""
        times, texts = iso_dates(value["times"]), dict(value.get("texts", {}))
        return cls(value["name"], value["split"], dict(value["strata"]), times, texts)


@dataclass(frozen=True)
class StoreMeta:
    """Metadata of a whole store.

    Args:
        recipe: canonical JSON form of the recipe, with at least ``name``.
        lock_digest: digest of the lock, None for imports.
        compositor: name and version of the compositing method, e.g. ``median@1``.
        missing: missing units, each ``{"region", "time", "reason"}``.
        step: time between frames, ISO 8601, e.g. ``P1Y``.
        simulation: parameters of the simulated Earth.
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
        """Return the JSON form; the recipe's keys are sorted, as a recipe read from a lock is."""
        return {
            "kind": self.kind,
            "recipe": json.loads(canonical_json(dict(self.recipe))),
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


def region_digest(
    record: RegionRecord, sensors: Mapping[str, SensorArrays], metas: Mapping[str, SensorMeta]
) -> str:
    """Return the digest of a region: decoded arrays, grids, dates and canonical metadata.

    It does not depend on codec, chunks, bytes on disk, attribution and licence.
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

    Of the recipe only the name enters, and the lock does not enter: two locks with equal pixels
    give equal digests.
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
