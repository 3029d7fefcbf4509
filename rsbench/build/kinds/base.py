"""What a dataset kind is: how a store of it is searched, read, assembled and described.

A kind is pure: it gets frozen inputs and returns values. The engine keeps units, writes regions
and the index, and records what was refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol, runtime_checkable

import numpy.typing as npt

from rsbench.build.plan.lock import Lock, LockItem
from rsbench.build.plan.search import RegionSearch
from rsbench.build.plan.search_cache import Found
from rsbench.build.read.raster import Engine
from rsbench.catalog import Recipe, Sensor
from rsbench.catalog.kinds import load_kind
from rsbench.core.errors import InputError
from rsbench.store.layout import SensorArrays, SensorMeta
from rsbench.store.read import Store

__all__ = [
    "Assembled",
    "BuildContext",
    "DatasetKind",
    "Found",
    "IndexFacts",
    "Refused",
    "RegionSearch",
    "UnitData",
    "Units",
    "kind_of",
    "sensor_meta",
]

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class BuildContext:
    """What one unit and one region may depend on.

    ``lock``: the frozen search; it may hold only the region at hand. ``memory``: bytes of pixels
    that a unit may hold.
    """

    recipe: Recipe
    sensors: tuple[Sensor, ...]
    lock: Lock
    engine: Engine
    memory: int

    def sensor(self, name: str) -> Sensor:
        """Return one of the sensors."""
        return next(sensor for sensor in self.sensors if sensor.name == name)

    def items(self, region: str, sensor: str, year: int) -> tuple[LockItem, ...]:
        """Return the locked items of a sensor, empty where none was found."""
        return self.lock.items(region, sensor, year)


@dataclass(frozen=True, slots=True)
class UnitData:
    """The arrays of one region and year by name, and a JSON note on how they were made."""

    arrays: Mapping[str, Pixels] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)


class Units(Protocol):
    """The finished units of one region."""

    def load(self, year: int) -> UnitData | None:
        """Return a unit; None if it could not be read. Every call reads it from disk."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A region ready to be written: its dates, its arrays by sensor, further provenance."""

    times: tuple[date, ...]
    sensors: Mapping[str, SensorArrays]
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A region that the store will not hold.

    ``reasons``: year, date or ``all`` → why. ``nothing``, ``remedy``: what to say if the whole
    store would be empty.
    """

    reasons: Mapping[str, str]
    nothing: str
    remedy: str


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What a store of the kind says of itself.

    ``compositor``: name and version of what makes a frame. ``step``: ISO 8601 duration between
    frames, or ``irregular``. ``extras``: entries added to the stored recipe.
    """

    compositor: str
    step: str
    extras: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class DatasetKind(Protocol):
    """A kind of dataset, found by name in the entry-point group ``rsbench.kinds``.

    ``recipe``: the model of its recipes, with the sections that only this kind has.
    """

    name: str
    recipe: type[Recipe]

    def search(self, asked: RegionSearch) -> Found:
        """Return sensor → year → locked items of one region."""

    def unit(self, context: BuildContext, region: str, year: int) -> UnitData:
        """Return one region and year: a function of lock and pixels only.

        Raises:
            UnitFailed: if a file cannot be read.
        """

    def assemble(self, context: BuildContext, region: str, units: Units) -> Assembled | Refused:
        """Return a region made of its units, or why the store will not hold it."""

    def lattice(self, recipe: Recipe) -> str:
        """Return the sensor whose pixels fill the region exactly and are never resampled."""

    def sensors(self, recipe: Recipe, sensors: Sequence[Sensor]) -> Mapping[str, SensorMeta]:
        """Return how the sensors of a recipe are stored, by name."""

    def index(self, recipe: Recipe, refused: Mapping[str, Mapping[str, str]]) -> IndexFacts:
        """Return what the store says of itself; ``refused``: region → year or date → why."""

    def card(self, store: Store) -> Iterable[str]:
        """Yield the lines of the kind's section of the data card, none if it has none."""


def kind_of(recipe: Recipe) -> DatasetKind:
    """Return the kind of a recipe.

    Raises:
        UnknownName: if it is not installed.
        InputError: if what its entry point names is no dataset kind.
    """
    found: object = load_kind(recipe.kind)
    if not isinstance(found, DatasetKind):
        absent = sorted(name for name in _METHODS if not hasattr(found, name))
        raise InputError(
            f"dataset kind {recipe.kind!r}",
            f"it lacks {', '.join(absent)}",
            "Repair or uninstall the package that offers it",
        )
    return found


_METHODS = ("search", "unit", "assemble", "lattice", "sensors", "index", "card")


def sensor_meta(sensor: Sensor) -> SensorMeta:
    """Return how a store describes a sensor of the catalogue."""
    return SensorMeta(
        name=sensor.name,
        bands=sensor.band_names,
        unit=sensor.unit,
        dtype=sensor.dtype,
        scale=sensor.scale,
        offset=sensor.offset,
        nodata=sensor.nodata,
        gsd=sensor.gsd,
        value_range=sensor.value_range,
        display=sensor.display,
        attribution=sensor.attribution,
        licence=sensor.licence,
    )
