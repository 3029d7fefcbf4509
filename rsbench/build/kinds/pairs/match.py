"""One pair: a photograph on a grid that nests in the pixels of a satellite image.

The satellite image is a window of its own grid and is never resampled; the photograph is resampled
to pixels of 1 / k of its size. A pair is accepted if the photograph covers the whole region, the
satellite image is clear, both show the same ground in the same place, and neither is flat. A
refused pair keeps the reason; what the images show is never a reason.
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

from rsbench.build.compose.agreement import FLAG
from rsbench.build.compose.pair_agreement import centred, correlations, shift
from rsbench.build.engine.unit import UnitPlan, compose_unit
from rsbench.build.kinds.base import BuildContext, Pixels, UnitData
from rsbench.build.kinds.labels_recipe import labels_read
from rsbench.build.kinds.pairs.recipe import PairsSpec, pairs_recipe
from rsbench.build.kinds.pairs.search import tier_of
from rsbench.build.plan.lock import LockItem
from rsbench.build.plan.scenes import sensor_grid
from rsbench.build.read.raster import RasterioEngine
from rsbench.build.read.warp import warp
from rsbench.catalog import Sensor
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid, nesting
from rsbench.store.plausible import implausible

Bool = npt.NDArray[np.bool_]


class _RefusedError(Exception):
    """A pair that a rule does not accept."""


@dataclass(frozen=True, slots=True)
class Two:
    """Both sensors and both grids of a region."""

    spec: PairsSpec
    fine: Sensor
    coarse: Sensor
    fine_grid: Grid
    coarse_grid: Grid


def two_of(context: BuildContext, region: str) -> Two:
    """Return both sensors and grids of a region.

    Raises:
        InputError: if the fine pixels do not nest in the coarse ones by the recipe's ratio.
    """
    spec, place = pairs_recipe(context.recipe).pairs, context.lock.places[region]
    fine, coarse = context.sensor(spec.fine), context.sensor(spec.coarse)
    two = Two(spec, fine, coarse, sensor_grid(place, fine), sensor_grid(place, coarse))
    if nesting(two.fine_grid, two.coarse_grid, region) != spec.ratio:
        raise InputError(
            f"pairs of {region}",
            f"{spec.ratio} fine pixels do not lie along one coarse pixel",
            "Choose a ratio that divides the coarse pixel",
        )
    return two


def pair_unit(context: BuildContext, region: str, year: int) -> UnitData:
    """Return the pair of one region and year, or the reason why there is none."""
    two = two_of(context, region)
    photos = context.items(region, two.fine.name, year)
    if not photos:
        return UnitData()
    try:
        return _pair(context, region, two, photos)
    except _RefusedError as refused:
        return UnitData(note={"refused": str(refused)})


def _pair(context: BuildContext, region: str, two: Two, photos: Sequence[LockItem]) -> UnitData:
    day = date.fromisoformat(photos[0].datetime[:10])
    fine, kernel = _photograph(context, two, photos)
    scenes = context.items(region, two.coarse.name, day.year)
    values, clear, used = _clear_scene(context, two, scenes)
    other = date.fromisoformat(used[0].datetime[:10])
    arrays = {"fine": fine, "coarse": values, "clear": clear}
    note = {
        "fine": [item.id for item in photos],
        "coarse": [item.id for item in used],
        "day": day.isoformat(),
        "coarse_day": other.isoformat(),
        "days_apart": (other - day).days,
        "tier": tier_of(day, other, "season"),
        "resampled": kernel,
        "clear": round(float(clear.mean()), 6),
        **_quality(two, fine, values, clear),
    }
    layer = labels_read(context, region, two.coarse, day.year)
    if layer is not None:
        arrays["labels"], note["labels"] = layer
    return UnitData(arrays, note)


def _photograph(
    context: BuildContext, two: Two, photos: Sequence[LockItem]
) -> tuple[npt.NDArray[np.uint8], str]:
    """Return ``(4, kH, kW)`` pixels, first valid over the day's photographs, and the kernel."""
    engine = _rasters(context)
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
            assets[0],
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


def _rasters(context: BuildContext) -> RasterioEngine:
    if not isinstance(context.engine, RasterioEngine):
        raise InputError("building pairs", "this engine reads no photographs", "Use rasterio")
    return context.engine


def _clear_scene(
    context: BuildContext, two: Two, scenes: Sequence[LockItem]
) -> tuple[Pixels, Bool, list[LockItem]]:
    """Return the first datatake that is clear enough: values, where it is clear, its items."""
    plan = UnitPlan(
        whole=two.coarse.provider(context.lock.provider).tile_property is not None,
        memory=context.memory,
    )
    best = 0.0
    for _, group in groupby(scenes, lambda item: item.datatake):
        items = list(group)
        made = compose_unit(context.engine, two.coarse, two.coarse_grid, items, plan).parts
        clear = ~_widened(made["n_valid"] == 0, two.spec.dilate)
        best = max(best, float(clear.mean()))
        if clear.mean() >= two.spec.clear:
            values = np.where(clear, made["values"], two.coarse.nodata)
            if why := implausible(two.coarse, values, clear):
                raise _RefusedError(f"{two.coarse.name}: {why}")
            return values.astype(two.coarse.dtype), clear, items
    raise _RefusedError(
        f"no scene is clear enough: the best has {best:.2%} of {two.spec.clear:.2%}"
    )


def _widened(bad: Bool, by: int) -> Bool:
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


def _quality(two: Two, fine: Pixels, values: Pixels, clear: Bool) -> dict[str, Any]:
    """Compare both on coarse pixels: correlation by band, shift in the red band.

    Raises:
        _RefusedError: if they do not show one ground in one place.
    """
    planes = _centred(two, fine, values, clear)
    correlation = correlations(planes)
    middle = float(np.median(list(correlation.values())))
    if middle < two.spec.correlation:
        raise _RefusedError(
            f"the median correlation {middle:.2f} is below {two.spec.correlation:.2f}"
        )
    down, right = shift(planes)
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


def _centred(
    two: Two, fine: Pixels, values: Pixels, clear: Bool
) -> dict[str, tuple[Pixels, Pixels]]:
    """Return by common band name both images on coarse pixels, less their mean, 0 under cloud."""
    of = {band.common_name: i for i, band in enumerate(two.coarse.bands)}
    common = {
        str(band.common_name): (i, of[band.common_name])
        for i, band in enumerate(two.fine.bands)
        if band.common_name in of
    }
    if not common:
        raise InputError("building pairs", "the sensors share no band", "Keep red in both")
    planes = centred(fine, values, clear, common)
    for name, (one, other) in planes.items():
        if not (one.any() and other.any()):
            raise _RefusedError(f"band {name} is flat")
    return planes
