"""Pairs: a photograph of one day on a grid that nests in the pixels of a satellite image.

The satellite image is a window of its own grid and never resampled; the photograph is brought to
pixels of 1 / k of its size. A pair is accepted only if the photograph covers the whole place, the
satellite image is clear, both show the same ground in the same place, and neither is flat; what
was refused is kept with the reason. Nothing is refused for what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.compose.registration import measure
from rsbench.build.engine.journal import full_disk_is_named
from rsbench.build.engine.region import (
    Steps,
    Work,
    finished_unit,
    has_failed,
    sensor_meta,
    store_meta,
)
from rsbench.build.engine.unit import compose_unit
from rsbench.build.kinds.labels import label_attributes, label_layer
from rsbench.build.kinds.pairs_plan import tier_of
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.read.raster import RasterioEngine
from rsbench.build.read.warp import warp
from rsbench.catalog import PairsSpec, Sensor
from rsbench.catalog.loaders import load_labels
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, nesting
from rsbench.store.layout import ROOT_KEY, RegionRecord, SensorArrays, load_json
from rsbench.store.write import finalise, write_region

Pixels = npt.NDArray[Any]

COMPOSITOR = "pair@1"
FLAG = 0.5
"""Coarse pixels of shift above which an accepted pair is flagged."""


class _RefusedError(Exception):
    """A pair that a rule does not accept."""


@dataclass(frozen=True, slots=True)
class _Two:
    """Both sensors and both grids of a place."""

    spec: PairsSpec
    fine: Sensor
    coarse: Sensor
    fine_grid: Grid
    coarse_grid: Grid


def _two(work: Work, region: str) -> _Two:
    spec, place = work.recipe.pairs, work.lock.places[region]
    if spec is None:
        raise InputError(f"building {work.recipe.name}", "it has no pairs", "Add an entry pairs")
    by_name = {sensor.name: sensor for sensor in work.sensors}
    fine, coarse = by_name[spec.fine], by_name[spec.coarse]
    two = _Two(spec, fine, coarse, sensor_grid(place, fine), sensor_grid(place, coarse))
    if nesting(two.fine_grid, two.coarse_grid, region) != spec.ratio:
        raise InputError(
            f"pairs of {region}",
            f"{spec.ratio} fine pixels do not lie along one coarse pixel",
            "Choose a ratio that divides the coarse pixel",
        )
    return two


def unit(work: Work, region: str, year: int) -> None:
    """Make the pair of one place and year, or note why there is none."""
    if work.journal.has(region, year):
        return
    two = _two(work, region)
    arrays: dict[str, Pixels] = {}
    note: dict[str, Any] = {}
    photos = work.lock.items(region, two.fine.name, year)
    if photos:
        try:
            arrays, note = _pair(
                work, region, two, photos, work.lock.items(region, two.coarse.name, year)
            )
        except _RefusedError as refused:
            note = {"refused": str(refused)}
    work.journal.save(region, year, arrays, note)


def _pair(
    work: Work, region: str, two: _Two, photos: Sequence[LockItem], scenes: Sequence[LockItem]
) -> tuple[dict[str, Pixels], dict[str, Any]]:
    day = date.fromisoformat(photos[0].datetime[:10])
    fine, kernel = _photograph(work, two, photos)
    values, clear, used = _clear_scene(work, two, scenes)
    other = date.fromisoformat(used[0].datetime[:10])
    quality = _quality(two, fine, values, clear)
    note = {
        "fine": [item.id for item in photos],
        "coarse": [item.id for item in used],
        "day": day.isoformat(),
        "coarse_day": other.isoformat(),
        "days_apart": (other - day).days,
        "tier": tier_of(day, other, "season"),
        "resampled": kernel,
        "clear": round(float(clear.mean()), 6),
        **quality,
    }
    arrays = {"fine": fine, "coarse": values, "clear": clear}
    if work.recipe.labels is not None:
        labels = load_labels(work.recipe.labels)
        items = work.lock.items(region, labels.name, day.year)
        arrays["labels"], note["labels"] = label_layer(
            _rasters(work), labels, two.coarse_grid, items
        )
    return arrays, note


def _photograph(
    work: Work, two: _Two, photos: Sequence[LockItem]
) -> tuple[npt.NDArray[np.uint8], str]:
    """Return ``(4, kH, kW)`` pixels, first valid over the day's photographs, and the kernel."""
    engine = _rasters(work)
    grid = two.fine_grid
    out = np.zeros((len(two.fine.bands), grid.height, grid.width), np.uint8)
    covered = np.zeros((grid.height, grid.width), np.bool_)
    kernels = set()
    for item in photos:
        assets = [item.assets[band] for band in two.fine.band_names]
        indexes = [asset.index for asset in assets]
        if len({asset.href for asset in assets}) != 1:
            raise InputError(
                f"photograph {item.id}", "its bands lie in several files", "Use one file"
            )
        pixels, valid, kernel = engine.attempt(
            item.id,
            ", ".join(two.fine.band_names),
            assets[0].href,
            partial(warp, indexes=indexes, grid=grid),
        )
        engine.bytes += pixels.nbytes
        new = valid & ~covered
        out[:, new] = pixels[:, new]
        covered |= new
        kernels.add(kernel)
        if covered.all():
            break
    if not covered.all():
        raise _RefusedError(f"{1 - covered.mean():.2%} of the place is not on the photographs")
    return out, " and ".join(sorted(kernels))


def _rasters(work: Work) -> RasterioEngine:
    if not isinstance(work.engine, RasterioEngine):
        raise InputError("building pairs", "this engine reads no photographs", "Use rasterio")
    return work.engine


def _clear_scene(
    work: Work, two: _Two, scenes: Sequence[LockItem]
) -> tuple[Pixels, npt.NDArray[np.bool_], list[LockItem]]:
    """Return the first datatake that is clear enough: values, where it is clear, its items."""
    best = 0.0
    for _, group in groupby(scenes, lambda item: item.datatake):
        items = list(group)
        made = compose_unit(
            work.engine,
            two.coarse,
            two.coarse_grid,
            items,
            whole=two.coarse.provider(work.lock.provider).tile_property is not None,
            halves=False,
            memory=work.memory,
        ).parts
        clear = ~_widened(made["n_valid"] == 0, two.spec.dilate)
        best = max(best, float(clear.mean()))
        if clear.mean() >= two.spec.clear:
            values = np.where(clear, made["values"], two.coarse.nodata)
            return values.astype(two.coarse.dtype), clear, items
    raise _RefusedError(
        f"no scene is clear enough: the best has {best:.2%} of {two.spec.clear:.2%}"
    )


def _widened(bad: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Return the mask grown by a square of ``by`` pixels each way."""
    for axis in (0, 1):
        grown = bad.copy()
        for step in range(1, by + 1):
            near, far = [slice(None)] * 2, [slice(None)] * 2
            near[axis], far[axis] = slice(None, -step), slice(step, None)
            grown[tuple(far)] |= bad[tuple(near)]
            grown[tuple(near)] |= bad[tuple(far)]
        bad = grown
    return bad


def _quality(
    two: _Two, fine: Pixels, values: Pixels, clear: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Compare both on coarse pixels: correlation by band, shift on the red band.

    Raises:
        _RefusedError: if they do not show one ground in one place.
    """
    k, (height, width) = two.spec.ratio, clear.shape
    low = fine.reshape(len(fine), height, k, width, k).mean(axis=(2, 4), dtype=np.float64)
    of = {band.common_name: i for i, band in enumerate(two.coarse.bands)}
    correlation: dict[str, float] = {}
    planes: dict[str, tuple[Pixels, Pixels]] = {}
    for i, band in enumerate(two.fine.bands):
        if band.common_name not in of:
            continue
        one = low[i] - low[i][clear].mean()
        other = values[of[band.common_name]].astype(np.float64)
        other -= other[clear].mean()
        one[~clear] = other[~clear] = 0.0
        if not (one.any() and other.any()):
            raise _RefusedError(f"band {band.common_name} is flat")
        norm = np.sqrt((one**2).sum() * (other**2).sum())
        correlation[band.common_name] = round(float((one * other).sum() / norm), 4)
        planes[band.common_name] = one, other
    if not correlation:
        raise InputError("building pairs", "the sensors share no band", "Keep red in both")
    middle = float(np.median(list(correlation.values())))
    if middle < two.spec.correlation:
        raise _RefusedError(
            f"the median correlation {middle:.2f} is below {two.spec.correlation:.2f}"
        )
    name = "red" if "red" in planes else min(planes)
    fade = np.outer(np.hanning(height), np.hanning(width))
    reference, moved = (plane * fade for plane in planes[name])
    down, right = measure(reference, moved)
    apart = float(np.hypot(down, right))
    if apart > two.spec.shift:
        raise _RefusedError(
            f"they lie {apart:.2f} coarse pixels apart, more than {two.spec.shift:g}"
        )
    return {
        "correlation": correlation,
        "shift": [round(down, 3), round(right, 3)],
        "shifted": apart > FLAG,
    }


# Regions and index ----------------------------------------------------------------------


def write(work: Work, region: str) -> None:
    """Write a place with all its accepted pairs; one without any is written nowhere."""
    two, place = _two(work, region), work.lock.places[region]
    pairs: list[tuple[dict[str, Pixels], dict[str, Any]]] = []
    refused: dict[str, str] = {}
    for year in work.lock.years:
        arrays, note = finished_unit(work, region, year, unit) or ({}, {})
        if arrays:
            pairs.append((arrays, note))
        elif note:
            refused[str(year)] = note["refused"]
    if not pairs:
        return
    if has_failed(work, region):
        work.journal.mark_incomplete(region)
    days = tuple(date.fromisoformat(note["day"]) for _, note in pairs)
    fine = np.stack([arrays["fine"] for arrays, _ in pairs])
    clear = np.stack([arrays["clear"] for arrays, _ in pairs])
    everywhere = np.ones((len(pairs), *fine.shape[-2:]), np.bool_)
    sensors = {
        two.fine.name: SensorArrays(
            fine, everywhere, everywhere.astype(np.uint16), days, two.fine_grid
        ),
        two.coarse.name: SensorArrays(
            np.stack([arrays["coarse"] for arrays, _ in pairs]),
            clear,
            clear.astype(np.uint16),
            tuple(date.fromisoformat(note["coarse_day"]) for _, note in pairs),
            two.coarse_grid,
            **_labels(work, pairs),
        ),
    }
    strata = {key: value for key, value in place.strata().items() if value}
    with full_disk_is_named(work.out):
        write_region(
            work.out,
            RegionRecord(region, place.split, strata, days),
            sensors,
            {sensor.name: sensor_meta(sensor) for sensor in work.sensors},
            codec=work.codec,
            attrs={
                "lock": work.lock.digest,
                "pairs": [note for _, note in pairs],
                "refused": refused,
            },
        )
    if not has_failed(work, region):
        work.journal.drop(region)


def _labels(
    work: Work, pairs: Sequence[tuple[dict[str, Pixels], dict[str, Any]]]
) -> dict[str, Any]:
    if work.recipe.labels is None:
        return {}
    about = label_attributes(
        load_labels(work.recipe.labels), [note["labels"]["year"] for _, note in pairs]
    )
    layers = np.stack([arrays["labels"] for arrays, _ in pairs])
    return {"labels": layers, "about": {"labels": about}}


def finish(work: Work) -> str:
    """Write the index over the places that have a pair; the recipe keeps what was refused."""
    written: list[str] = []
    refused: dict[str, dict[str, str]] = {}
    for region in sorted(work.lock.regions):
        if (work.out / region / "manifest.json").is_file():
            written.append(region)
            attributes = load_json(work.out / region / "zarr.json")["attributes"]
            why = dict(attributes[ROOT_KEY]["provenance"]["refused"])
        else:
            notes = {
                str(year): work.journal.load(region, year) or ({}, {}) for year in work.lock.years
            }
            why = {year: note["refused"] for year, (_, note) in notes.items() if note}
            why = why or {"all": "no photographs cover it, or no scene is near their day"}
        if why:
            refused[region] = why
    if not written:
        region, why = next(iter(refused.items()))
        raise InputError(
            f"building {work.recipe.name}",
            f"no place has a pair; {region}: {next(iter(why.values()))}",
            "Loosen tier or clear in the recipe, or choose other places or years",
        )
    meta = store_meta(work, COMPOSITOR, refused=refused)
    with full_disk_is_named(work.out):
        return finalise(work.out, meta, regions=written)


STEPS = Steps(unit, write, finish)
