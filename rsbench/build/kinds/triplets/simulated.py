"""Triplets from the simulated Earth: Landsat scenes and what a coarse sensor saw the same day.

A region has three dates of one season. In regions without land-cover change all three lie in one
year. In the others the first date lies a year before, so that a year of change stands between it
and the target, and none between the target and the last date. A recipe may ask for test regions of
ten dates (``simulate.triplet_slots``). Of each stretch of the season the clearest scene is taken.
The coarse image is the mean of the ground over blocks of fine pixels, not of the noisy fine image,
with a gain per band and date (view and light differ) and its own noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rsbench.build.compose.mask import clear, valid_values
from rsbench.build.engine.previous import BuildResult
from rsbench.build.engine.staging import place
from rsbench.build.kinds.base import sensor_meta
from rsbench.build.kinds.triplets.recipe import triplets_recipe
from rsbench.build.plan.plan import regions_of
from rsbench.catalog import Recipe, Region, SimulatedSpec, load_sensor, recipe_canonical
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, Window
from rsbench.simulate.api import sensor_grid
from rsbench.simulate.random import settle, stream
from rsbench.simulate.scene import Scene, YearView, calendar, simulated
from rsbench.simulate.triplet_slots import STRAINED, Slot, choices, kind_of
from rsbench.store.export.card import write_card
from rsbench.store.layout import INDEX, RegionRecord, SensorArrays, SensorMeta, StoreMeta
from rsbench.store.read import open_store
from rsbench.store.write import finalise, write_region

Advance = Callable[[str, int, int], None]

COMPOSITOR = "simulated-triplets@1"
RATIO = 16
FINE, COARSE = "landsat", "mod09a1"
SEEN = 0.5
"""Share of clear fine pixels from which a coarse pixel is valid."""
_GAIN = 0.015
_NOISE = 0.0015


@dataclass(frozen=True)
class _Shot:
    """One date: ``fine`` (C, H, W) stored and its mask, ``coarse`` (C, h, w) stored, its mask."""

    day: date
    fine: npt.NDArray[np.uint16]
    fine_valid: npt.NDArray[np.bool_]
    coarse: npt.NDArray[np.int16]
    coarse_valid: npt.NDArray[np.bool_]


def build_triplets(recipe: Recipe, out: Path | str, progress: Advance | None = None) -> BuildResult:
    """Build a store of simulated triplets; on a finished store of the recipe it does nothing.

    Raises:
        InputError: if the recipe has no simulated Earth, or its years are fewer than two.
    """
    spec = recipe.simulated
    if spec is None:
        raise InputError(
            f"building {recipe.name}",
            "it takes real scenes",
            "Use rsbench.build.engine.builder.build",
        )
    if spec.years[1] == spec.years[0]:
        raise InputError(
            f"building {recipe.name}", "it has one simulated year", "Land-cover change needs two"
        )
    target = Path(out)
    if (target / INDEX).is_file():
        return _finished(recipe, target)
    regions = regions_of(recipe)
    metas = _metas(recipe)
    with place(target) as root:
        for done, region in enumerate(regions):
            if progress is not None:
                progress("building", done, len(regions))
            kind = kind_of(spec, region, triplets_recipe(recipe).triplets)
            _write_region(root, spec, region, metas, kind)
        if progress is not None:
            progress("building", len(regions), len(regions))
        digest = finalise(root, _store_meta(recipe, spec, metas), regions=[r.name for r in regions])
        write_card(root)
    return BuildResult(target, digest, complete=True)


def _finished(recipe: Recipe, target: Path) -> BuildResult:
    store = open_store(target)
    if dict(store.meta.recipe) != recipe_canonical(recipe):
        raise InputError(
            f"building {recipe.name} into {target}",
            f"a store of {store.recipe} is there",
            "Choose another --out",
        )
    return BuildResult(target, store.digest, complete=store.complete)


def _metas(recipe: Recipe) -> dict[str, SensorMeta]:
    """Return both sensors; the coarse bands carry the fine ones' names and order."""
    fine = sensor_meta(load_sensor(FINE))
    bands = recipe.bands.get(FINE, fine.bands)
    fine = replace(fine, bands=tuple(bands))
    coarse = replace(
        sensor_meta(load_sensor(COARSE)),
        bands=fine.bands,
        gsd=fine.gsd * RATIO,
        display=fine.display,
    )
    return {FINE: fine, COARSE: coarse}


def _write_region(
    root: Path, spec: SimulatedSpec, region: Region, metas: dict[str, SensorMeta], kind: str
) -> None:
    shots = _shots(spec, region, metas, kind)
    times = tuple(shot.day for shot in shots)
    whole = sensor_grid(region, FINE)
    part = Window(0, 0, *shots[0].fine.shape[1:])
    fine_grid = whole.window(part)
    a, b, c, d, e, f = fine_grid.transform
    wide = (a * RATIO, b * RATIO, c, d * RATIO, e * RATIO, f)
    coarse_grid = Grid(fine_grid.crs, wide, part.height // RATIO, part.width // RATIO)
    fine_valid = np.stack([shot.fine_valid for shot in shots])
    coarse_valid = np.stack([shot.coarse_valid for shot in shots])
    arrays = {
        FINE: SensorArrays(
            np.stack([shot.fine for shot in shots]), fine_valid, fine_valid.astype(np.uint16),
            times, fine_grid,
        ),
        COARSE: SensorArrays(
            np.stack([shot.coarse for shot in shots]), coarse_valid,
            coarse_valid.astype(np.uint16), times, coarse_grid,
        ),
    }  # fmt: skip
    strata = {
        **region.strata(),
        # Strained regions are grouped by condition, and else by ground.
        "stratum": region.stratum if kind == STRAINED else kind,
        "ground": region.stratum,
    }
    write_region(root, RegionRecord(region.name, region.split, strata, times), arrays, metas)


def _shots(
    spec: SimulatedSpec, region: Region, metas: dict[str, SensorMeta], kind: str
) -> tuple[_Shot, ...]:
    """Return the scenes of the choice of slots whose cloudiest date is the clearest."""
    best: tuple[_Shot, ...] = ()
    most = 0
    for choice in choices(kind, spec.years[0]):
        found = [_clearest(spec, region, metas, slot) for slot in choice]
        shots = tuple(shot for shot in found if shot is not None)
        least = min((int(s.fine_valid.sum()) for s in shots), default=0)
        if len(shots) == len(found) and (not best or least > most):
            best, most = shots, least
    if not best:
        raise InputError(
            f"triplets of {region.name}, {kind}",
            "a date has no scene, or clouds over every coarse pixel in all of them",
            "Simulate more scenes per year",
        )
    return best


def _clearest(
    spec: SimulatedSpec, region: Region, metas: dict[str, SensorMeta], slot: Slot
) -> _Shot | None:
    """Return the clearest scene of a slot; None where no coarse pixel is to be seen."""
    view = YearView(simulated(spec, region.name), FINE, slot.ground)
    found = [
        _look(view, scene, metas)
        for scene in calendar(spec, region.name, FINE, slot.ground)
        if slot.first <= scene.when.timetuple().tm_yday < slot.last
    ]
    best = max(found, key=lambda shot: (int(shot.fine_valid.sum()), shot.day), default=None)
    if best is None or not best.coarse_valid.any():
        return None
    return replace(best, day=best.day.replace(year=slot.dated))


def _look(view: YearView, scene: Scene, metas: dict[str, SensorMeta]) -> _Shot:
    """Render a scene, and what a coarse sensor saw of the same ground on the same day."""
    sensor = load_sensor(FINE)
    frame = view.render(scene)
    rows, columns = (n // RATIO * RATIO for n in frame.mask.shape)
    index = [sensor.band_names.index(band) for band in metas[FINE].bands]
    values = frame.values[index, :rows, :columns]
    good = clear(frame.mask, sensor.mask)[:rows, :columns]
    good &= valid_values(values, sensor.nodata, sensor.stored_range)
    low = _coarse(view, scene, index, (rows, columns))
    meta = metas[COARSE]
    share = good.reshape(rows // RATIO, RATIO, columns // RATIO, RATIO).mean(axis=(1, 3))
    stored = np.rint((low - meta.offset) / meta.scale)
    return _Shot(
        scene.when.date(), values, good, np.clip(stored, -100, 16000).astype(np.int16),
        share >= SEEN,
    )  # fmt: skip


def _coarse(
    view: YearView, scene: Scene, index: list[int], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return ``(C, h, w)`` reflectance: block means of the ground, with gain and noise."""
    rows, columns = size
    draw = stream(view.sim.spec.seed, view.sim.region.name, COARSE, view.year, scene.number)
    blocks = (len(index), rows // RATIO, RATIO, columns // RATIO, RATIO)
    ground = np.stack([view.ground(scene, band)[:rows, :columns] for band in index])
    mean = ground.astype(np.float64).reshape(blocks).mean(axis=(2, 4))
    gain = 1.0 + _GAIN * draw.standard_normal((len(index), 1, 1))
    return settle(mean * gain + _NOISE * draw.standard_normal(mean.shape))


def _store_meta(recipe: Recipe, spec: SimulatedSpec, metas: dict[str, SensorMeta]) -> StoreMeta:
    return StoreMeta(
        kind="triplets",
        recipe=recipe_canonical(recipe),
        lock_digest=None,
        compositor=COMPOSITOR,
        simulated=True,
        complete=True,
        missing=(),
        step="irregular",
        default_preset=recipe.default_preset,
        default_protocol=recipe.default_protocol,
        sensors=metas,
        simulation=spec.model_dump(mode="json"),
    )
