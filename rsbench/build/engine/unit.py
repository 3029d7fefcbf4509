"""One unit of a build: the composite of one sensor in one region and year, a pure function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.compose import harmonise, mask
from rsbench.build.compose import median as compose
from rsbench.build.plan.assets import limit_of, mask_limit
from rsbench.build.plan.lock import LockItem
from rsbench.build.read.raster import Asked, Derived, Engine, Scene
from rsbench.catalog import Sensor
from rsbench.core.grid import Grid, Window

Pixels = npt.NDArray[Any]
Bool = npt.NDArray[np.bool_]

MIN_CLEAR = 0.01
"""Observations with a smaller clear share of the region are not read."""

_MASKS_AT_ONCE = 64
_STRIP_ROWS = 512


@dataclass(frozen=True, slots=True)
class UnitResult:
    """The parts of a composite by name (see :class:`compose.Composite`), and what it was made of.

    ``valid`` stands among them only where it says more than ``n_valid > 0``. ``listed``, ``read``:
    scenes; ``dates``: one instant per observation, in the order that ``source`` counts.
    """

    parts: Mapping[str, Pixels]
    listed: int
    read: int
    dates: tuple[str, ...] = ()

    def note(self) -> dict[str, Any]:
        """Return what a region keeps of how this unit was made."""
        return {"listed": self.listed, "read": self.read, "dates": list(self.dates)}


@dataclass(frozen=True, slots=True)
class _Look:
    """One item of an observation, and ``(H, W)`` bytes: where it has data of its own, and clear."""

    item: LockItem
    flags: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class UnitPlan:
    """How the scenes of a unit become one frame.

    Args:
        whole: every raster must cover the region.
        halves: also the medians of every second observation.
        memory: bytes of pixels to hold at once; more scenes are read in strips of rows.
        rule: how observations become one frame.
        least: observations with a smaller clear share of the region are not read.
    """

    whole: bool = False
    halves: bool = False
    memory: int = 600 << 20
    rule: compose.Rule = field(default_factory=compose.Rule)
    least: float = MIN_CLEAR


def compose_unit(
    engine: Engine, sensor: Sensor, grid: Grid, items: Sequence[LockItem], plan: UnitPlan
) -> UnitResult:
    """Read, mask and composite one unit.

    Args:
        items: scenes in the lock's order: by acquisition, newest copy of a datatake first.

    Raises:
        UnitFailed: if a file cannot be read.
    """
    looks = _observations(engine, sensor, grid, items, plan)
    count = sum(len(observation) for observation in looks)
    bands = len(sensor.bands)
    rows = _strip_rows(grid, count * bands * np.dtype(sensor.dtype).itemsize, plan.memory)
    parts = []
    for top in range(0, grid.height, rows):
        window = Window(top, 0, min(rows, grid.height - top), grid.width)
        asked = Asked(
            grid=grid.window(window), whole=plan.whole, nodata=sensor.nodata,
            coarsest={band: limit_of(sensor, band) for band in sensor.band_names},
        )  # fmt: skip
        parts.append(_strip(engine, _Frame(sensor, looks, plan), asked, window))
    return UnitResult(
        parts=_joined(parts),
        listed=len(items),
        read=count,
        dates=tuple(observation[0].item.datetime for observation in looks),
    )


def empty_unit(sensor: Sensor, grid: Grid, plan: UnitPlan) -> UnitResult:
    """Return a unit without any observation."""
    size = (grid.height, grid.width)
    nothing = np.zeros((0, len(sensor.bands), *size), sensor.dtype)
    made = _composite(_Frame(sensor, [], plan), nothing, np.zeros((0, *size), np.bool_))
    return UnitResult(_named(made, plan.rule), 0, 0)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The observations of one sensor and how they become a frame."""

    sensor: Sensor
    looks: Sequence[Sequence[_Look]]
    plan: UnitPlan

    @property
    def flat(self) -> list[_Look]:
        """All items of all observations, in order."""
        return [look for observation in self.looks for look in observation]


def _composite(frame: _Frame, values: Pixels, clear: Bool) -> compose.Composite:
    return compose.composite(
        values,
        clear,
        frame.sensor.nodata,
        halves=frame.plan.halves,
        rule=frame.plan.rule,
        when=_when(frame.looks),
    )


def _named(made: compose.Composite, rule: compose.Rule) -> dict[str, Pixels]:
    said = rule.min_dates > 1 or rule.min_months > 1
    named = {
        "values": made.values,
        "valid": made.valid if said else None,
        "n_valid": made.n_valid,
        "odd": made.odd,
        "even": made.even,
        "spread": made.spread,
        "source": made.source,
    }
    return {name: array for name, array in named.items() if array is not None}


def _when(looks: Sequence[Sequence[_Look]]) -> compose.When:
    times = [datetime.fromisoformat(observation[0].item.datetime) for observation in looks]
    return compose.When(
        np.array([t.month for t in times], np.uint8),
        np.array([t.timetuple().tm_yday for t in times], np.int16),
    )


def _strip_rows(grid: Grid, bytes_per_pixel: int, memory: int) -> int:
    """Rows per strip: whole blocks of 512 rows, so that no block of a file is decoded twice."""
    fitting = memory // max(1, bytes_per_pixel * grid.width)
    return int(max(_STRIP_ROWS, fitting // _STRIP_ROWS * _STRIP_ROWS))


def _observations(
    engine: Engine, sensor: Sensor, grid: Grid, items: Sequence[LockItem], plan: UnitPlan
) -> list[list[_Look]]:
    """Read the quality layers and return the observations worth reading.

    Copies of one datatake are fused: the newest is taken, later ones only where it has no data.
    """
    looks = []
    for _, group in groupby(
        _with_masks(engine, sensor, grid, items, whole=plan.whole), lambda look: look.item.datatake
    ):
        taken: list[_Look] = []
        covered: Bool | None = None
        for look in group:
            if covered is not None:
                look.flags[covered] = 0
            if look.flags.any():
                taken.append(look)
                use = look.flags != 0
                covered = use if covered is None else covered | use
        clear = sum(int(np.count_nonzero(look.flags & mask.CLEAR)) for look in taken)
        if taken and clear >= plan.least * grid.height * grid.width:
            looks.append(taken)
    return looks


def _with_masks(
    engine: Engine, sensor: Sensor, grid: Grid, items: Sequence[LockItem], *, whole: bool
) -> list[_Look]:
    rule = sensor.mask
    size = (grid.height, grid.width)
    if rule.kind == "none":
        return [_Look(item, np.full(size, mask.PRESENT | mask.CLEAR, np.uint8)) for item in items]
    found = []
    derived = Derived(np.uint16, partial(mask.flags, rule=rule))
    nodata = rule.fill or 0
    limits = {_mask_name(b): mask_limit(sensor) for b in (*sensor.band_names, "*")}
    asked = Asked(
        grid=grid, whole=whole, nodata=nodata, derived=derived, quality=True, coarsest=limits
    )
    for start in range(0, len(items), _MASKS_AT_ONCE):
        part = items[start : start + _MASKS_AT_ONCE]
        scenes = [Scene(i.id, tuple((_mask_name(b), a) for b, a in i.masks.items())) for i in part]
        flags = np.empty((len(part), len(part[0].masks), *size), np.uint8)
        engine.fill(flags, scenes, asked)
        for item, layers in zip(part, flags, strict=True):
            # A pixel of a scene counts for all bands or for none.
            one = layers[0] if len(layers) == 1 else np.bitwise_and.reduce(layers, axis=0)
            found.append(_Look(item, one))
    return found


def _mask_name(band: str) -> str:
    return "mask" if band == "*" else f"mask of {band}"


def scene_of(item: LockItem, sensor: Sensor) -> Scene:
    """Return what to read of the bands of an item, in the sensor's order."""
    layers = tuple((band, item.assets[band]) for band in sensor.band_names)
    return Scene(item.id, layers, harmonise.file_rule(sensor, item.offset))


def _strip(engine: Engine, frame: _Frame, asked: Asked, window: Window) -> dict[str, Pixels]:
    """Read and composite a window of rows of all items."""
    flat, sensor = frame.flat, frame.sensor
    shape = (len(flat), len(sensor.bands), window.height, window.width)
    values = np.empty(shape, np.dtype(sensor.dtype))
    engine.fill(values, [scene_of(k.item, sensor) for k in flat], asked)
    # Rows do not depend on each other: a few at a time stay in a core's cache.
    rows = max(1, compose.BLOCK // window.width)

    def part(top: int) -> dict[str, Pixels]:
        here = Window(window.y + top, window.x, min(rows, window.height - top), window.width)
        cut = values[:, :, top : top + here.height]
        return _named(_composed(frame, cut, here), frame.plan.rule)

    return _joined(list(_threads().map(part, range(0, window.height, rows))))


@cache
def _threads() -> ThreadPoolExecutor:
    """The threads that compose, shared by all units at work; readers have their own."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rsbench-compose")


def _joined(parts: Sequence[Mapping[str, Pixels]]) -> dict[str, Pixels]:
    # Rows are the last axis but one of planes and of bands alike.
    return {name: np.concatenate([p[name] for p in parts], axis=-2) for name in parts[0]}


def _composed(frame: _Frame, values: Pixels, window: Window) -> compose.Composite:
    """Harmonise, mask and composite the pixels of a window, in place."""
    flat, sensor = frame.flat, frame.sensor
    clear = np.empty((len(flat), window.height, window.width), np.bool_)
    for t, look in enumerate(flat):
        harmonise.harmonise(values[t], look.item.offset, sensor.nodata)
        valid = mask.valid_values(values[t], sensor.nodata, sensor.stored_range)
        np.logical_and(look.flags[window.slices] & mask.CLEAR, valid, out=clear[t])
    if len(flat) != len(frame.looks):
        values, clear = _fused(values, clear, frame.looks, window)
    return _composite(frame, values, clear)


def _fused(
    values: Pixels, clear: Bool, looks: Sequence[Sequence[_Look]], window: Window
) -> tuple[Pixels, Bool]:
    """Lay the items of each observation into one plane; where they have data does not overlap."""
    at = 0
    for t, observation in enumerate(looks):
        first = at
        if first != t:
            values[t], clear[t] = values[first], clear[first]
        at += 1
        for look in observation[1:]:
            use = look.flags[window.slices] != 0
            np.copyto(values[t], values[at], where=use)
            np.copyto(clear[t], clear[at], where=use)
            at += 1
    return values[: len(looks)], clear[: len(looks)]
