"""A region written whole from its finished units, and the index at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.compose.median import Rule
from rsbench.build.compose.registration import yearly_shifts
from rsbench.build.engine.journal import Journal, full_disk_is_named
from rsbench.build.engine.unit import empty_unit
from rsbench.build.engine.workers import Workers
from rsbench.build.plan.plan import SIMULATED, Lock
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.plan.season import middle_day, months_of
from rsbench.build.read.raster import Engine
from rsbench.catalog import Recipe, Sensor
from rsbench.store.layout import RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.write import finalise, write_region

Advance = Callable[[str, int, int], None]
Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """What happened to one unit.

    ``state``: ``begun``, ``done`` or ``failed`` (then with the reason). ``bytes_read``: pixels the
    whole build has read so far.
    """

    region: str
    year: int
    state: str
    worker: str
    seconds: float = 0.0
    bytes_read: int = 0
    reason: str = ""


Unit = Callable[["Work", str, int], None]
Watch = Callable[[UnitEvent], None]


@dataclass
class Work:
    """What all steps of one build share; ``workers`` do the units; None for this process."""

    recipe: Recipe
    sensors: tuple[Sensor, ...]
    lock: Lock
    out: Path
    codec: str
    journal: Journal
    engine: Engine
    memory: int
    progress: Advance | None
    watch: Watch | None = None
    address: str = ""
    reading: str = "rasterio"
    workers: Workers | None = None
    failed: dict[tuple[str, int], str] = field(default_factory=dict)

    def halves(self, region: str) -> bool:
        """Whether odd- and even-date medians are kept: for the floor, on test regions."""
        return self.recipe.floor and self.lock.places[region].split == "test"

    def rule(self, region: str) -> Rule:
        """How observations of a region become one frame."""
        months = months_of(self.recipe, self.lock.places[region])
        return rule_of(self.recipe, middle_day(months))


@dataclass(frozen=True, slots=True)
class Steps:
    """What a kind of dataset does: one unit, one region from its units, the index."""

    unit: Unit
    write: Callable[[Work, str], None]
    finish: Callable[[Work], str]


def rule_of(recipe: Recipe, day: int = 183) -> Rule:
    """Return the compositing rule of a recipe."""
    return Rule(
        kind=recipe.compositing.removeprefix("yearly-"),
        min_dates=recipe.min_dates,
        min_months=recipe.min_months,
        spread=recipe.spread,
        day=day,
    )


def sensor_meta(sensor: Sensor) -> SensorMeta:
    """Return what a store says of a sensor of the catalogue."""
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


def write(work: Work, region: str, make: Unit) -> None:
    """Write a region from its units; one that is absent or damaged is made again."""
    place = work.lock.places[region]
    times = tuple(date(year, 7, 1) for year in work.lock.years)
    by_year = [_part(work, region, year, make) for year in work.lock.years]
    notes = {
        str(year): note for year, (_, note) in zip(work.lock.years, by_year, strict=True) if note
    }
    sensors = {}
    for sensor in work.sensors:
        parts = [arrays for arrays, _ in by_year]
        stacked = {
            name: np.stack([part[f"{sensor.name}.{name}"] for part in parts])
            for name in ("values", "valid", "n_valid", "odd", "even", "spread", "source")
            if f"{sensor.name}.{name}" in parts[0]
        }
        sensors[sensor.name] = SensorArrays(
            values=stacked["values"],
            valid=stacked["valid"] if "valid" in stacked else stacked["n_valid"] > 0,
            n_valid=stacked["n_valid"],
            times=times,
            grid=sensor_grid(place, sensor),
            odd=stacked.get("odd"),
            even=stacked.get("even"),
            spread=stacked.get("spread"),
            source=stacked.get("source"),
        )
    whole = not has_failed(work, region)
    if not whole:
        # Should the build stop before the index names the missing years, they are tried again.
        work.journal.mark_incomplete(region)
    strata = {key: value for key, value in place.strata().items() if value}
    with full_disk_is_named(work.out):
        write_region(
            work.out,
            RegionRecord(region, place.split, strata, times),
            sensors,
            {sensor.name: sensor_meta(sensor) for sensor in work.sensors},
            codec=work.codec,
            attrs={"lock": work.lock.digest, "scenes": notes, **_shifts(work, sensors)},
        )
    if whole:
        work.journal.drop(region)


def _shifts(work: Work, sensors: Mapping[str, SensorArrays]) -> dict[str, Any]:
    """Measure how far each year lies beside the others, where the recipe asks for it."""
    if not work.recipe.shift:
        return {}
    return {
        "shift": {
            name: {
                str(time.year): found.to_json()
                for time, found in zip(arrays.times, yearly_shifts(arrays), strict=True)
            }
            for name, arrays in sensors.items()
        }
    }


def has_failed(work: Work, region: str) -> bool:
    """Whether a unit of the region could not be read."""
    return any(name == region for name, _ in work.failed)


def finished_unit(
    work: Work, region: str, year: int, make: Unit
) -> tuple[dict[str, Pixels], dict[str, Any]] | None:
    """Return what the journal keeps of a unit, None if it failed.

    One that is absent or damaged there is made again.
    """
    if (region, year) in work.failed:
        return None
    held = work.journal.load(region, year)
    if held is None:
        make(work, region, year)
        held = work.journal.load(region, year)
    return held


def _part(
    work: Work, region: str, year: int, make: Unit
) -> tuple[dict[str, Pixels], dict[str, Any]]:
    """Return the arrays of a unit; one that failed is all nodata, and listed as missing."""
    held = finished_unit(work, region, year, make)
    if held is not None:
        return held
    place = work.lock.places[region]
    arrays: dict[str, Pixels] = {}
    for sensor in work.sensors:
        grid = sensor_grid(place, sensor)
        empty = empty_unit(sensor, grid, halves=work.halves(region), rule=work.rule(region))
        arrays |= {f"{sensor.name}.{name}": a for name, a in empty.arrays().items()}
    return arrays, {}


def finish(work: Work) -> str:
    """Write the index; every region of the lock must be there."""
    meta = store_meta(work, rule_of(work.recipe).name)
    with full_disk_is_named(work.out):
        return finalise(work.out, meta, regions=sorted(work.lock.regions))


def store_meta(work: Work, compositor: str, **said: Any) -> StoreMeta:
    """Return what is true of the whole store; ``said`` is added to its recipe."""
    spec = work.recipe.simulated if work.lock.provider == SIMULATED else None
    return StoreMeta(
        kind=work.recipe.kind,
        recipe={**work.lock.recipe, **said},
        lock_digest=work.lock.digest,
        compositor=compositor,
        simulated=spec is not None,
        complete=not work.failed,
        missing=tuple(
            {"region": region, "time": f"{year}-07-01", "reason": reason}
            for (region, year), reason in sorted(work.failed.items())
        ),
        step="irregular" if work.recipe.kind == "pairs" else work.recipe.step,
        default_preset=work.recipe.default_preset,
        default_protocol=work.recipe.default_protocol,
        sensors={sensor.name: sensor_meta(sensor) for sensor in work.sensors},
        simulation=None if spec is None else spec.model_dump(mode="json"),
    )
