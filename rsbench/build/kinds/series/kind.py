"""The dataset kind ``series``: one composite per sensor, region and year."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from rsbench.build.compose.median import Rule
from rsbench.build.compose.registration import yearly_shifts
from rsbench.build.engine.unit import UnitPlan, UnitResult, compose_unit, empty_unit
from rsbench.build.kinds.base import (
    Assembled,
    BuildContext,
    Found,
    IndexFacts,
    Pixels,
    RegionSearch,
    UnitData,
    Units,
    sensor_meta,
)
from rsbench.build.kinds.labels import label_attributes
from rsbench.build.kinds.labels_recipe import labels_found, labels_of, labels_read
from rsbench.build.kinds.series.recipe import SeriesRecipe
from rsbench.build.kinds.series.search import search_series
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.plan.season import middle_day, months_of
from rsbench.catalog import Recipe, Sensor
from rsbench.catalog.loaders import load_labels
from rsbench.core.errors import UnitFailed
from rsbench.store.layout import SensorArrays, SensorMeta
from rsbench.store.plausible import implausible
from rsbench.store.read import Store

PARTS = ("values", "valid", "n_valid", "odd", "even", "spread", "source")
LABELS = "labels"
MID_YEAR = 183
"""Day of the year in the middle of a year of 365 days."""


class SeriesKind:
    """Yearly composites; every region of the lock is in the store."""

    name = "series"
    recipe: type[Recipe] = SeriesRecipe

    def search(self, asked: RegionSearch) -> Found:
        """Return the scenes of every sensor and the label maps of the first, by year."""
        found = {sensor.name: search_series(asked, sensor) for sensor in asked.sensors}
        first = asked.sensors[0]
        return {**found, **labels_found(asked, first, found[first.name], "an image")}

    def unit(self, context: BuildContext, region: str, year: int) -> UnitData:
        """Return the composites of all sensors; arrays are named ``sensor.part``.

        Raises:
            UnitFailed: if a file cannot be read, or the numbers of a composite are not plausible.
        """
        arrays: dict[str, Pixels] = {}
        note: dict[str, Any] = {}
        for sensor in context.sensors:
            result = compose(context, sensor, region, year)
            _require_plausible(sensor, result, f"composing {sensor.name} of {region} {year}")
            arrays |= _named(sensor, result)
            note[sensor.name] = result.note()
        layer = labels_read(context, region, context.sensors[0], year)
        if layer is not None:
            arrays[LABELS], note[LABELS] = layer
        return UnitData(arrays, note)

    def assemble(self, context: BuildContext, region: str, units: Units) -> Assembled:
        """Return all years of a region; one that could not be read is nodata throughout."""
        years = context.lock.years
        times = tuple(date(year, 7, 1) for year in years)
        held = [units.load(year) for year in years]
        notes = {
            str(year): dict(unit.note)
            for year, unit in zip(years, held, strict=True)
            if unit is not None and unit.note
        }
        parts = [_empty(context, region) if unit is None else unit.arrays for unit in held]
        sensors = {s.name: _stacked(context, s, region, parts, times) for s in context.sensors}
        if (name := labels_of(context.recipe)) is not None:
            first = context.sensors[0].name
            sensors[first] = _labelled(sensors[first], name, held)
        return Assembled(times, sensors, {"scenes": notes, **_shifts(context.recipe, sensors)})

    def lattice(self, recipe: Recipe) -> str:
        """Return the first sensor."""
        return recipe.sensor_names[0]

    def sensors(self, recipe: Recipe, sensors: Sequence[Sensor]) -> Mapping[str, SensorMeta]:
        """Return the sensors as in the catalogue."""
        return {sensor.name: sensor_meta(sensor) for sensor in sensors}

    def index(self, recipe: Recipe, refused: Mapping[str, Mapping[str, str]]) -> IndexFacts:
        """Return the compositing rule and the recipe's step."""
        return IndexFacts(rule_of(recipe).name, recipe.step)

    def card(self, store: Store) -> Iterable[str]:
        """Return no lines: the general sections of the card say all."""
        return ()


KIND = SeriesKind()


def rule_of(recipe: Recipe, day: int = MID_YEAR) -> Rule:
    """Return the compositing rule of a recipe; ``day``: the day of the year to prefer."""
    return Rule(
        kind=recipe.compositing.removeprefix("yearly-"),
        min_dates=recipe.min_dates,
        min_months=recipe.min_months,
        spread=recipe.spread,
        day=day,
    )


def compose(context: BuildContext, sensor: Sensor, region: str, year: int) -> UnitResult:
    """Return the composite of one sensor, region and year."""
    return compose_unit(
        context.engine,
        sensor,
        sensor_grid(context.lock.places[region], sensor),
        context.items(region, sensor.name, year),
        _plan(context, sensor, region),
    )


def _require_plausible(sensor: Sensor, made: UnitResult, asked: str) -> None:
    why = implausible(sensor, made.parts["values"], made.parts["n_valid"] > 0)
    if why:
        raise UnitFailed(asked, why, "Check scale, offset, nodata and mask of the sensor's file")


def _plan(context: BuildContext, sensor: Sensor, region: str) -> UnitPlan:
    """Return how a sensor's scenes become a frame of a region.

    Medians of odd and even dates are kept on test regions, if the recipe asks for a noise floor.
    """
    place = context.lock.places[region]
    return UnitPlan(
        whole=sensor.provider(context.lock.provider).tile_property is not None,
        halves=context.recipe.floor and place.split == "test",
        memory=context.memory,
        rule=rule_of(context.recipe, middle_day(months_of(context.recipe, place))),
    )


def _named(sensor: Sensor, result: UnitResult) -> dict[str, Pixels]:
    return {f"{sensor.name}.{name}": array for name, array in result.parts.items()}


def _empty(context: BuildContext, region: str) -> dict[str, Pixels]:
    """Return the arrays of a unit without any observation."""
    arrays: dict[str, Pixels] = {}
    for sensor in context.sensors:
        grid = sensor_grid(context.lock.places[region], sensor)
        arrays |= _named(sensor, empty_unit(sensor, grid, _plan(context, sensor, region)))
    return arrays


def _stacked(
    context: BuildContext,
    sensor: Sensor,
    region: str,
    parts: Sequence[Mapping[str, Pixels]],
    times: tuple[date, ...],
) -> SensorArrays:
    """Return the parts of all years of one sensor, one behind the other."""
    stacked = {
        name: np.stack([part[f"{sensor.name}.{name}"] for part in parts])
        for name in PARTS
        if f"{sensor.name}.{name}" in parts[0]
    }
    return SensorArrays(
        values=stacked["values"],
        valid=stacked["valid"] if "valid" in stacked else stacked["n_valid"] > 0,
        n_valid=stacked["n_valid"],
        times=times,
        grid=sensor_grid(context.lock.places[region], sensor),
        odd=stacked.get("odd"),
        even=stacked.get("even"),
        spread=stacked.get("spread"),
        source=stacked.get("source"),
    )


def _labelled(arrays: SensorArrays, name: str, held: Sequence[UnitData | None]) -> SensorArrays:
    """Return the arrays of a sensor with the labels of all years; nodata where there are none."""
    labels = load_labels(name)
    nothing = np.full((arrays.grid.height, arrays.grid.width), labels.nodata, np.uint8)
    layers = [nothing if unit is None else unit.arrays[LABELS] for unit in held]
    years = [None if unit is None else unit.note[LABELS]["year"] for unit in held]
    about = {LABELS: label_attributes(labels, years)}
    return replace(arrays, labels=np.stack(layers), about={**arrays.about, **about})


def _shifts(recipe: Recipe, sensors: Mapping[str, SensorArrays]) -> dict[str, Any]:
    """Return how far each year lies beside the others, where the recipe asks for it."""
    if not recipe.shift:
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
