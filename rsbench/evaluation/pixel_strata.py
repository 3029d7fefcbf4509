"""Classes of pixels from inputs or an earlier catalogue, for strata of pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from rsbench.core.grid import Window
from rsbench.evaluation.strata import HEMISPHERE, OBSERVATION_NAMES, OBSERVATIONS, PIXEL, SEASON

if TYPE_CHECKING:
    from rsbench.core.grid import Grid
    from rsbench.store.read import Store
    from rsbench.tasks.base import Case

LABELS = "labels"
"""Optional array of a store: (T, H, W) classes of a published map, 0 where it has none."""

FIXED_STEP = r"P\d+[YMWD]"
"""Step of a store whose dates are equally far apart; not ``irregular`` or ``P8D/P32D``."""

LAND_COVER = "land cover"
TRUTH = "the labels of the store are the truth, and no stratum is made of the truth"
OBSERVED = "observations"

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layer:
    """One layer of classes.

    Args:
        name: e.g. ``land cover``.
        classes: their names.
        source: where the classes come from, in words.
        read: ``(region, window, start) -> (H, W)`` indices into ``classes``; no target is given.
    """

    name: str
    classes: tuple[str, ...]
    source: str
    read: Callable[[str, Window, date], Places]


@dataclass(frozen=True)
class PixelLayers:
    """The layers of a store; ``absent``: stratum → why the store lacks it."""

    layers: tuple[Layer, ...]
    absent: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the strata of all layers."""
        return tuple(
            f"{PIXEL}{layer.name}={name}" for layer in self.layers for name in layer.classes
        )

    def of(self, case: Case) -> torch.Tensor:
        """Return ``(B, H, W, K)`` float32 memberships, from regions, windows and starts alone."""
        rows = list(zip(case.samples, case.starts, strict=True))
        layers = []
        for layer in self.layers:
            places = np.stack([layer.read(s.region, s.window, day) for s, day in rows])
            number = len(layer.classes)
            layers.append(torch.nn.functional.one_hot(torch.from_numpy(places), number).float())
        return torch.cat(layers, dim=-1)


def pixel_layers(
    store: Store, sensor: str, regions: Sequence[str] | None = None, *, labels: bool = True
) -> PixelLayers:
    """Return the layers of a store for a sensor, and why it lacks the others.

    Args:
        regions: those that will be scored; all where None.
        labels: False where the labels of the store are the truth, which no stratum is made of.
    """
    places = store.regions if regions is None else regions
    layers, absent = [], {}
    for name, make in ((LAND_COVER, _land_cover), (OBSERVED, _observations)):
        found = make(store, sensor, places) if labels or make is _observations else TRUTH
        if isinstance(found, str):
            absent[f"{PIXEL}{name}"] = found
        else:
            layers.append(found)
    return PixelLayers(tuple(layers), absent)


def _single_images(store: Store) -> bool:
    """Return whether frames are single images: only composites have one fixed step."""
    return re.fullmatch(FIXED_STEP, store.meta.step) is None


def _land_cover(store: Store, sensor: str, regions: Sequence[str]) -> Layer | str:
    if LABELS in store.arrays(regions[0], sensor):
        return _labels(store, sensor, regions)
    if not store.simulated or "regions" not in (store.meta.simulation or {}):
        return "the store holds no map of land cover"
    if _single_images(store):
        return "the simulated ground changes by year, and targets lie in its first year"
    from rsbench.catalog import SimulatedSpec
    from rsbench.simulate.api import COVERS, first_land_cover

    spec = SimulatedSpec.model_validate(dict(store.meta.simulation or {}))

    def read(region: str, window: Window, start: date) -> Places:
        return first_land_cover(spec, region, sensor)[window.slices].astype(np.int64)

    return Layer(LAND_COVER, COVERS, f"simulated ground of {spec.years[0]}", read)


def _labels(store: Store, sensor: str, regions: Sequence[str]) -> Layer:
    """Return the labels that the store holds for the start; later maps are not read."""

    @lru_cache(maxsize=4)
    def whole(region: str) -> npt.NDArray[np.uint8]:
        found: npt.NDArray[np.uint8] = store.read(region, sensor, array=LABELS)
        return found

    numbers = np.unique(np.concatenate([np.unique(whole(name)) for name in regions]))

    def read(region: str, window: Window, start: date) -> Places:
        at = store.region(region).times[sensor].index(start)
        found: Places = np.searchsorted(numbers, whole(region)[at][window.slices]).astype(np.int64)
        return found

    said = store.attributes(regions[0], sensor, LABELS).get("rsbench:classes", {})
    names = tuple(
        "unlabelled" if n == 0 else str(said.get(str(n), f"class {n}")) for n in numbers.tolist()
    )
    return Layer(LAND_COVER, names, "labels of the store, of the last context frame", read)


def _observations(store: Store, sensor: str, regions: Sequence[str]) -> Layer | str:
    if _single_images(store):
        return "its frames are single images"
    if "importer" in store.meta.recipe:
        return "it was imported, and the number of observations per pixel is not known"

    @lru_cache(maxsize=4)
    def counts(region: str, at: int) -> npt.NDArray[np.uint16]:
        found: npt.NDArray[np.uint16] = store.read(
            region, sensor, array="n_valid", times=slice(at, at + 1)
        )[0]
        return found

    def read(region: str, window: Window, start: date) -> Places:
        at = store.region(region).times[sensor].index(start)
        number = counts(region, at)[window.slices]
        return np.digitize(number, OBSERVATIONS, right=True).astype(np.int64)

    source = "observations of the pixel in the last context frame"
    return Layer(OBSERVED, OBSERVATION_NAMES, source, read)


# -------------------------------------------------------------------------- seasons of regions


def hemispheres(store: Store, sensor: str) -> dict[str, str] | str:
    """Return region → ``north``, ``south`` or ``""``, or why there are no seasons."""
    if re.fullmatch(r"P\d+Y", store.meta.step):
        return "a frame covers more than a season"
    found = {name: hemisphere(store.region(name).grids[sensor]) for name in store.regions}
    if not any(found.values()):
        return "the projection of its regions does not tell north from south"
    return found


def hemisphere(grid: Grid) -> str:
    """Return the hemisphere of the centre of a grid; ``""`` where unknown.

    Known for WGS 84 / UTM (EPSG 326xx and 327xx) and geographic coordinates (EPSG 4326).
    """
    code = grid.crs.upper().removeprefix("EPSG:")
    height = grid.transform[5] + grid.transform[4] * grid.height / 2
    if re.fullmatch(r"32[67]\d\d", code):
        # Northern zones are also used just south of the equator, with negative northings.
        south = height < 0 if code[2] == "6" else height < 10_000_000
    elif code == "4326":
        south = height < 0
    else:
        return ""
    return "south" if south else "north"


def region_strata(
    store: Store, sensor: str, regions: Sequence[str], layers: PixelLayers
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Return the strata of regions, and why the season is absent where it is.

    Where the catalogue states no land cover of a region, it is the most common class of the
    region's pixels in the map of land cover, if the store has one.
    """
    found = {name: dict(store.region(name).record.strata) for name in regions}
    cover = next((layer for layer in layers.layers if layer.name == LAND_COVER), None)
    for name, own in found.items():
        if cover is not None and "land_cover" not in own:
            own["land_cover"] = _most_common(cover, store, sensor, name)
    sides = hemispheres(store, sensor)
    if isinstance(sides, str):
        return found, {SEASON: sides}
    return {name: {**own, HEMISPHERE: sides[name]} for name, own in found.items()}, {}


def _most_common(layer: Layer, store: Store, sensor: str, region: str) -> str:
    entry = store.region(region)
    grid = entry.grids[sensor]
    whole = Window(0, 0, grid.height, grid.width)
    places = layer.read(region, whole, entry.times[sensor][0])
    return layer.classes[int(np.bincount(places.ravel()).argmax())]
