"""One unit of triplets: the accepted days of one region and year, and why others were refused.

For every day of the lock the fine scene is read and masked on its own grid, and the coarse image
in its own pixels, which are averaged by area over blocks of fine pixels (see
``build.read.sinusoidal``). The store keeps the coarse image at the size of blocks; a protocol says
how it is brought to the fine grid. A day is accepted if enough of both images is valid and both
show the same ground in the same place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.compose import mask
from rsbench.build.compose.agreement import (
    Shift,
    correlation,
    means_of,
    noted,
    shift_of,
    uncorrelated,
)
from rsbench.build.engine.unit import UnitPlan, compose_unit, scene_of
from rsbench.build.kinds.base import BuildContext, Pixels, UnitData, sensor_meta
from rsbench.build.kinds.triplets.recipe import FusionSpec, fusion_of
from rsbench.build.kinds.triplets.search import DAY, coarse_day, middle, spanning
from rsbench.build.plan.assets import limit_of
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.plan.search import outline
from rsbench.build.read.raster import Asked, Scene
from rsbench.build.read.sinusoidal import block_means
from rsbench.catalog import Recipe, Region, Sensor
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.core.sinusoidal import native_grid
from rsbench.store.layout import SensorMeta
from rsbench.store.plausible import implausible

Bool = npt.NDArray[np.bool_]
_Kept = tuple[date, dict[str, Pixels], dict[str, Any]]
"""A day, its arrays, and what is kept of it."""

SEEN = 0.5
"""Share of valid area from which a block of the coarse image is valid."""
APART_UM = 0.1
"""Micrometres that the middles of two bands which stand for each other may lie apart."""
_NO_DAY = 65535
_WORD_FILL = 0
WIDER = 8
"""Days by which the gap grows while a region has too many dates."""
PLANES = ("fine", "fine_valid", "coarse", "coarse_valid")


class _RefusedError(Exception):
    """A day that a rule does not accept."""


@dataclass(frozen=True, slots=True)
class Two:
    """Both sensors and both grids of a region; its longitude in degrees."""

    spec: FusionSpec
    fine: Sensor
    coarse: Sensor
    fine_grid: Grid
    coarse_grid: Grid
    longitude: float


def two_of(context: BuildContext, region: str) -> Two:
    """Return the sensors and grids of a region."""
    spec, place = fusion_of(context.recipe), context.lock.places[region]
    fine, coarse = matched_sensors(context.recipe, context.sensors)
    grid = sensor_grid(place, fine)
    blocks = _block_grid(grid, spec.ratio, place)
    return Two(spec, fine, coarse, grid, blocks, middle(outline(grid)))


def matched_sensors(recipe: Recipe, sensors: Sequence[Sensor]) -> tuple[Sensor, Sensor]:
    """Return the fine and the coarse sensor, whose bands have the same wavelengths in one order.

    Raises:
        InputError: if the wavelengths of their bands differ.
    """
    spec = fusion_of(recipe)
    by_name = {sensor.name: sensor for sensor in sensors}
    fine, coarse = by_name[spec.fine], by_name[spec.coarse]
    apart = [
        f"{a.name} {a.wavelength_um:g} µm, {b.name} {b.wavelength_um:g} µm"
        for a, b in zip(fine.bands, coarse.bands, strict=False)
        if abs(a.wavelength_um - b.wavelength_um) > APART_UM
    ]
    if apart or len(fine.bands) != len(coarse.bands):
        raise InputError(
            f"bands of {fine.name} and {coarse.name}",
            "; ".join(apart) or f"{len(fine.bands)} and {len(coarse.bands)} bands",
            "Name the bands of both in one order under bands",
        )
    return fine, coarse


def _block_grid(fine: Grid, ratio: int, place: Region) -> Grid:
    if fine.height % ratio or fine.width % ratio:
        raise InputError(
            f"triplets of {place.name}",
            f"{fine.height}×{fine.width} pixels are no whole blocks of {ratio}",
            f"Choose a size that {ratio} divides",
        )
    a, b, c, d, e, f = fine.transform
    wide = (a * ratio, b * ratio, c, d * ratio, e * ratio, f)
    return Grid(fine.crs, wide, fine.height // ratio, fine.width // ratio)


def stored_sensors(recipe: Recipe, sensors: Sequence[Sensor]) -> dict[str, SensorMeta]:
    """Return both sensors as stored; the coarse bands carry the names of the fine ones."""
    fine, coarse = matched_sensors(recipe, sensors)
    low = replace(
        sensor_meta(coarse),
        bands=fine.band_names,
        gsd=fine.gsd * fusion_of(recipe).ratio,
        display=fine.display,
    )
    return {fine.name: sensor_meta(fine), coarse.name: low}


# One region and year ----------------------------------------------------------------------


def days_unit(context: BuildContext, region: str, year: int) -> UnitData:
    """Read, mask and judge the days of one region and year; a day nearer than the gap is left out.

    While there are more days than a region may have, the gap grows, so that few are held at a time.
    """
    two = two_of(context, region)
    kept: list[_Kept] = []
    refused: dict[str, str] = {}
    fewest = two.spec.gap[0]
    images = context.items(region, two.coarse.name, year)
    scenes = context.items(region, two.fine.name, year)
    for text, group in groupby(scenes, lambda item: item.datatake):
        day = date.fromisoformat(text)
        try:
            if kept and (near := too_near(kept[-1][0], day, fewest)):
                raise _RefusedError(near)
            kept.append((day, *_day(context, two, day, list(group), images)))
        except _RefusedError as reason:
            refused[text] = str(reason)
        while len(kept) > two.spec.dates and fewest + WIDER <= two.spec.gap[1]:
            fewest += WIDER
            days, why = spaced([one[0] for one in kept], fewest)
            kept = [one for one in kept if one[0] in days]
            refused |= {gone.isoformat(): reason for gone, reason in why.items()}
    arrays = {f"{name}-{day}": planes[name] for day, planes, _ in kept for name in PLANES}
    note = {"days": [note for _, _, note in kept], "refused": refused} if scenes else {}
    return UnitData(arrays, note)


def too_near(before: date, day: date, fewest: int) -> str:
    """Say why a day may not follow another one; empty where it may."""
    apart = (day - before).days
    if apart >= fewest:
        return ""
    return f"{apart} days after {before}, dates of this place lie {fewest} days apart"


def spaced(days: Sequence[date], fewest: int) -> tuple[tuple[date, ...], dict[date, str]]:
    """Return ascending days without those too near to the one kept before, and why these go."""
    kept: list[date] = []
    refused: dict[date, str] = {}
    for day in days:
        why = too_near(kept[-1], day, fewest) if kept else ""
        if why:
            refused[day] = why
        else:
            kept.append(day)
    return tuple(kept), refused


def _day(
    context: BuildContext,
    two: Two,
    day: date,
    scenes: Sequence[LockItem],
    images: Sequence[LockItem],
) -> tuple[dict[str, Pixels], dict[str, Any]]:
    """Return the arrays of an accepted day, and what is kept of it."""
    counted = coarse_day(day, two.longitude)
    spanned = spanning(images, counted, two.spec.days)
    if not spanned:
        raise _RefusedError(f"no {two.coarse.name} image spans the day")
    fine, clear = _fine(context, two, scenes)
    low, low_valid, used = _coarse(context, two, counted, spanned)
    _require_plausible(two.fine, fine, clear)
    _require_plausible(two.coarse, low, low_valid)
    note = {
        "day": day.isoformat(),
        "fine": [item.id for item in scenes],
        "coarse": used,
        "fine_clear": round(float(clear.mean()), 4),
        "coarse_clear": round(float(low_valid.mean()), 4),
        **_agreement(two, fine, clear, low, low_valid),
    }
    planes = {"fine": fine, "fine_valid": clear, "coarse": low, "coarse_valid": low_valid}
    return planes, note


def _require_plausible(sensor: Sensor, values: Pixels, valid: Bool) -> None:
    why = implausible(sensor, values, valid)
    if why:
        raise _RefusedError(f"{sensor.name}: {why}")


def _fine(context: BuildContext, two: Two, scenes: Sequence[LockItem]) -> tuple[Pixels, Bool]:
    """Return the scenes of one pass laid together ``(C, H, W)``, and where they are clear."""
    plan = UnitPlan(memory=context.memory, least=two.spec.fine_clear)
    made = compose_unit(context.engine, two.fine, two.fine_grid, scenes, plan)
    if not made.read:
        raise _RefusedError(f"less than {two.spec.fine_clear:.0%} of the place is clear")
    clear = made.parts["n_valid"] > 0
    if clear.mean() < two.spec.fine_clear:
        raise _RefusedError(
            f"{clear.mean():.1%} of the fine pixels are valid, {two.spec.fine_clear:.0%} are asked"
        )
    return made.parts["values"], clear


def _coarse(
    context: BuildContext, two: Two, day: date, items: Sequence[LockItem]
) -> tuple[Pixels, Bool, list[str]]:
    """Return the coarse image on blocks: stored numbers, where valid, ids of its tiles."""
    native = native_grid(two.coarse_grid)
    sensor, size = two.coarse, (native.height, native.width)
    values = np.empty((len(items), len(sensor.bands), *size), sensor.dtype)
    limits = {band: limit_of(sensor, band) for band in sensor.band_names}
    asked = Asked(grid=native, whole=False, nodata=sensor.nodata, coarsest=limits)
    context.engine.fill(values, [scene_of(item, sensor) for item in items], asked)
    clear: Bool = mask.valid_values(values, sensor.nodata, sensor.stored_range)
    for names, fill in _word_groups(items[0], sensor):
        words = np.empty((len(items), len(names), *size), np.uint16)
        layers = [Scene(i.id, tuple((n, i.masks[n]) for n in names)) for i in items]
        context.engine.fill(
            words, layers, Asked(grid=native, whole=False, nodata=fill, quality=True)
        )
        if names == [DAY]:
            when = words[:, 0].astype(np.int32)
            clear &= np.abs(when - day.timetuple().tm_yday) <= two.spec.day_off
        else:
            clear &= mask.clear(words, sensor.mask).all(axis=1)
    # Tiles lie side by side: of every pixel at most one has a number.
    first = clear.argmax(axis=0)
    whole = np.take_along_axis(values, first[None, None], axis=0)[0]
    seen = np.asarray(clear.any(axis=0), np.bool_)
    means, share = block_means(whole, seen, two.coarse_grid)
    valid = share >= SEEN
    if valid.mean() < two.spec.coarse_clear:
        raise _RefusedError(
            f"{valid.mean():.1%} of the coarse pixels are valid, {two.spec.coarse_clear:.0%} "
            "are asked"
        )
    stored = np.where(valid, np.rint(means), sensor.nodata).astype(sensor.dtype)
    return stored, valid, [item.id for item in items]


def _word_groups(item: LockItem, sensor: Sensor) -> list[tuple[list[str], int]]:
    """Return the layers of quality, and the layer of days, each with its fill."""
    words = [name for name in item.masks if name != DAY]
    fill = sensor.mask.fill if sensor.mask.fill is not None else _WORD_FILL
    groups = [(words, fill)] if words else []
    return [*groups, ([DAY], _NO_DAY)] if DAY in item.masks else groups


def _agreement(two: Two, fine: Pixels, clear: Bool, low: Pixels, low_valid: Bool) -> dict[str, Any]:
    """Compare both images on blocks: correlation by band, and the shift in the near infrared.

    Raises:
        _RefusedError: if they do not show one ground in one place.
    """
    means, there = means_of(fine, clear, two.spec.ratio)
    both = there & low_valid
    found = {
        band.name: correlation(a, b, both)
        for band, a, b in zip(two.fine.bands, means, low, strict=True)
    }
    at = max(range(len(found)), key=lambda i: (_is_nir(two.fine.bands[i].wavelength_um), -i))
    shift = shift_of(fine[at], clear, low[at].astype(np.float64), low_valid, two.spec.ratio)
    if two.spec.correlation is not None:
        _require_agreement(two.spec, two.spec.correlation, found, shift)
    return noted(found, shift)


def _require_agreement(
    spec: FusionSpec, least: float, found: Mapping[str, float | None], shift: Shift | None
) -> None:
    # Where they agree nowhere, the place where they do so best means nothing.
    if shift and shift.apart > spec.shift and shift.correlation >= least:
        raise _RefusedError(
            f"the images lie {shift.apart:.2f} coarse pixels apart, more than {spec.shift:g}"
        )
    if why := uncorrelated(found, spec.bands, least):
        raise _RefusedError(why)
    if shift is None or shift.apart > spec.shift:
        raise _RefusedError("the near infrared does not tell whether they lie in one place")


def _is_nir(wavelength: float) -> bool:
    return 0.75 <= wavelength <= 1.0
