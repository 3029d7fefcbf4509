"""A simulated region, its calendar of scenes, and the rendering of one scene."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rsbench.catalog import Region, SimulatedSpec
from rsbench.core.errors import unknown
from rsbench.core.grid import Grid
from rsbench.simulate import reflectance as light
from rsbench.simulate.dynamics import (
    CODES,
    History,
    Units,
    code_groups,
    codes,
    make_history,
    make_units,
    vigour,
)
from rsbench.simulate.land import WATER, Land, make_land
from rsbench.simulate.random import F32, F64, settle, stream
from rsbench.simulate.regions import Params, find_region, params

U16 = npt.NDArray[np.uint16]
SENSOR_BANDS: dict[str, tuple[str, ...]] = {
    "s2": ("B02", "B03", "B04", "B08"),
    "landsat": ("blue", "green", "red", "nir08", "swir16", "swir22"),
}
# From this day on (processing baseline 04.00) stored Sentinel-2 numbers have an offset of 1000.
OFFSET_FROM = datetime(2022, 1, 25, tzinfo=UTC)
_BASELINES = (
    (datetime(2018, 11, 6, tzinfo=UTC), "02.06"),
    (datetime(2019, 7, 8, tzinfo=UTC), "02.11"),
    (datetime(2020, 2, 4, tzinfo=UTC), "02.13"),
    (datetime(2021, 3, 30, tzinfo=UTC), "02.14"),
    (OFFSET_FROM, "03.01"),
    (datetime(2022, 12, 6, tzinfo=UTC), "04.00"),
    (datetime(2023, 12, 13, tzinfo=UTC), "05.09"),
    (datetime(9999, 1, 1, tzinfo=UTC), "05.11"),
)
_DUPLICATES = 0.06


@dataclass(frozen=True)
class Scene:
    """One scene of the calendar; ``older``: baseline of an earlier processing, or empty."""

    sensor: str
    number: int
    when: datetime
    baseline: str
    older: str

    @property
    def year(self) -> int:
        """Calendar year of the scene."""
        return self.when.year


@dataclass(frozen=True)
class Simulated:
    """The latent process of one region, from which every pixel is computed."""

    spec: SimulatedSpec
    region: Region
    params: Params
    land: Land
    history: History
    units: Units
    surfaces: light.Surfaces


@lru_cache(maxsize=32)
def simulated(spec: SimulatedSpec, name: str) -> Simulated:
    """Compute the latent process of one region (about a second at 256 pixels)."""
    region = find_region(spec, name)
    numbers = params(spec, region)
    land = make_land(spec.seed, name, spec.size, numbers)
    years = tuple(range(spec.years[0], spec.years[1] + 1))
    history = make_history(spec.seed, name, land, numbers, years)
    return Simulated(
        spec, region, numbers, land, history, make_units(land), light.make_surfaces(numbers)
    )


def sensor_bands(sensor: str) -> tuple[str, ...]:
    """Return the simulated bands of a sensor.

    Raises:
        UnknownName: if the sensor is not simulated.
    """
    if sensor not in SENSOR_BANDS:
        raise unknown("simulated sensor", sensor, SENSOR_BANDS)
    return SENSOR_BANDS[sensor]


def sensor_grid(region: Region, sensor: str) -> Grid:
    """Return the pixel grid of the scenes; Landsat pixels are centred on multiples of 30 m."""
    sensor_bands(sensor)
    if sensor == "s2":
        return region.grid()
    left, top = region.origin
    extent = region.size * 10
    west, north = (left - 15) // 30 * 30 + 15, -((15 - top) // 30 * 30) + 15
    columns = -((west - left - extent) // 30)
    rows = -((top - extent - north) // 30)
    transform = (30.0, 0.0, float(west), 0.0, -30.0, float(north))
    return Grid(f"EPSG:{region.epsg}", transform, rows, columns)


def pixel_index(region: Region, sensor: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows (H, 1) and columns (1, W) of the ground that a sensor's pixels show.

    A coarse pixel shows the ground at its centre. It is not averaged, because the median of mixed
    surfaces is not the mixture of their medians.
    """
    grid = sensor_grid(region, sensor)
    step, _, west, _, _, north = grid.transform
    columns = (west - region.origin[0] + step * (np.arange(grid.width) + 0.5)) // 10
    rows = (region.origin[1] - north + step * (np.arange(grid.height) + 0.5)) // 10
    last = region.size - 1
    return (
        np.clip(rows.astype(np.int64), 0, last)[:, None],
        np.clip(columns.astype(np.int64), 0, last)[None, :],
    )


def calendar(spec: SimulatedSpec, name: str, sensor: str, year: int) -> tuple[Scene, ...]:
    """Return the scenes of a year, spread over the seasons; a pure function of the spec."""
    draw = stream(spec.seed, name, sensor, "calendar", year)
    count = spec.scenes_per_year
    days = (np.arange(count) + 0.1 + 0.8 * draw.random(count)) * (365.0 / count)
    seconds = draw.integers(0, 1440, size=count)
    dice = draw.random((2, count))
    scenes = []
    for i in range(count):
        when = datetime(year, 1, 1, 10, 12, 31, tzinfo=UTC)
        when += timedelta(days=int(days[i]), seconds=int(seconds[i]), milliseconds=24)
        baseline, older = _baseline(when), ""
        if sensor == "s2" and dice[0, i] < _DUPLICATES and when < OFFSET_FROM:
            # Collection 1: early dates reprocessed under a late baseline, with the offset.
            baseline, older = "05.00", baseline
        scenes.append(Scene(sensor, i, when, baseline, older))
    return tuple(scenes)


def _baseline(when: datetime) -> str:
    return next(name for until, name in _BASELINES if when < until)


@dataclass(frozen=True)
class Frame:
    """Pixels of a scene as a provider stores them: ``values`` (C, H, W) uint16, ``mask``."""

    values: U16
    mask: npt.NDArray[np.uint8] | U16
    cloud_cover: float
    nodata: float


def year_air(sim: Simulated, sensor: str, year: int) -> light.Air:
    """Return the start of spring of a year, and the wetness and light of its scenes."""
    doys = scene_days(sim, sensor, year)
    # The spring is drawn first, so that it is the same for all sensors.
    return light.draw_air(stream(sim.spec.seed, sim.region.name, "air", year), doys)


def scene_days(sim: Simulated, sensor: str, year: int) -> F64:
    """Return the day of the year of every scene (S,)."""
    scenes = calendar(sim.spec, sim.region.name, sensor, year)
    return np.array([scene.when.timetuple().tm_yday for scene in scenes], dtype=np.float64)


class YearView:
    """What the scenes of one sensor in one region and year have in common."""

    def __init__(self, sim: Simulated, sensor: str, year: int) -> None:
        self.sim, self.sensor, self.year = sim, sensor, year
        self.index = pixel_index(sim.region, sensor)
        self.code = codes(sim.units, sim.history, year)[sim.units.index][self.index]
        air = year_air(sim, sensor, year)
        surface = light.reflectance(sim.surfaces, sim.params, air.days, air.wet)
        self.surface = settle(surface * air.light[None, :, None]).astype(np.float32)
        group = code_groups()[self.code]
        texture = np.take_along_axis(
            sim.land.texture[:, self.index[0], self.index[1]], group[None], axis=0
        )
        self.texture: F32 = texture[0]
        self.vigour = vigour(sim.history, sim.land, sim.params, year)[self.index]
        self.gain = sim.surfaces.gain.astype(np.float32)

    def ground(self, scene: Scene, band: int) -> F32:
        """Return the reflectance (H, W) of the ground without haze, noise and clouds."""
        bare = self.surface[:, scene.number, band][self.code]
        return self.texture * bare + self.gain[:, band][self.code] * self.vigour

    def mask(self, scene: Scene) -> npt.NDArray[np.uint8] | U16:
        """Return the mask of a scene as :meth:`render` does, without its values."""
        _, weather, dice = self._weather(scene)
        return self._mask(scene, weather, dice)[0]

    def _weather(self, scene: Scene) -> tuple[np.random.Generator, light.Weather, F64]:
        """Return the generator of a scene, its weather, and the dice of its mask."""
        seed, name = self.sim.spec.seed, self.sim.region.name
        draw = stream(seed, name, self.sensor, "scene", self.year, scene.number)
        # A square with an even side, so that 20 m classes fit.
        size = max(self.code.shape) + max(self.code.shape) % 2
        weather = light.draw_weather(draw, size, self.sim.params)
        return draw, weather, draw.random((size // 2, size // 2))

    def render(self, scene: Scene, *, older: bool = False) -> Frame:
        """Render one scene; ``older``: as its earlier processing, 4 % brighter."""
        draw, weather, dice = self._weather(scene)
        rows, columns = self.code.shape
        bands = len(sensor_bands(self.sensor))
        haze, noise = light.haze_sigma(), light.noise_sigma()
        values = np.empty((bands, rows, columns), dtype=np.uint16)
        baseline = scene.older if older else scene.baseline
        for band in range(bands):
            clear = self.surface[:, scene.number, band][self.code]
            clear = clear + np.float32(haze[band]) * weather.haze[:rows, :columns]
            grain = draw.standard_normal((rows, columns), dtype=np.float32)
            clear = clear + np.float32(noise[band]) * grain
            clear = self.texture * clear + self.gain[:, band][self.code] * self.vigour
            if older:
                # A builder that takes the older copy gets other pixels.
                clear = clear * np.float32(1.04)
            values[band] = self._digital(clear, weather, band, baseline)
        mask, cloudy = self._mask(scene, weather, dice)
        missing = ~weather.seen[:rows, :columns]
        values[:, missing] = 0
        return Frame(values, mask, cloudy, float(missing.mean() * 100))

    def _digital(self, clear: F32, weather: light.Weather, band: int, baseline: str) -> U16:
        rows, columns = clear.shape
        cut = light.Weather(
            weather.cloud[:rows, :columns],
            weather.cirrus[:rows, :columns],
            weather.shadow[:rows, :columns],
            weather.bright[:rows, :columns],
            weather.seen[:rows, :columns],
            weather.haze[:rows, :columns],
        )
        seen = light.through_air(clear, cut, band)
        if self.sensor == "landsat":
            number = np.rint((seen + np.float32(0.2)) / np.float32(2.75e-5))
            return _stored(number, 65455)
        offset = 1000 if float(baseline) >= 4.0 else 0
        number = np.rint(seen * np.float32(10000.0)) + offset
        return _stored(number, 65535)

    def _mask(
        self, scene: Scene, weather: light.Weather, dice: F64
    ) -> tuple[npt.NDArray[np.uint8] | U16, float]:
        rows, columns = self.code.shape
        size = weather.cloud.shape[0]
        red, nir = self.surface[:, scene.number, 2], self.surface[:, scene.number, 3]
        green = (nir - red) / (nir + red) > 0.38
        kind = np.where(green, 4, 5).astype(np.uint8)
        kind[WATER] = 6
        ground = np.full((size, size), 5, dtype=np.uint8)
        ground[:rows, :columns] = kind[self.code]
        scl = light.classify(weather, np.ascontiguousarray(ground[::2, ::2]), dice)
        inside = scl[: -(-rows // 2), : -(-columns // 2)]
        known = max(int((inside != 0).sum()), 1)
        cloudy = 100.0 * float(np.isin(inside, (8, 9, 10)).sum()) / known
        if self.sensor == "s2":
            return inside, cloudy
        fine = np.repeat(np.repeat(scl, 2, axis=0), 2, axis=1)[:rows, :columns]
        return _QA[fine], cloudy


def _qa_words() -> U16:
    """Landsat quality words for scene classes 0…11, as Collection 2 writes them."""
    words = np.full(12, 21824, dtype=np.uint16)  # clear land
    words[0] = 1
    words[3] = 23888  # cloud shadow
    words[6] = 21952  # clear water
    words[[8, 9]] = 22280  # cloud
    words[10] = 54596  # cirrus
    return words


_QA = _qa_words()
_CLEAR = _QA[[5, 6]]


def clear_words(mask: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Return where Landsat quality words say clear land or clear water."""
    return np.isin(mask, _CLEAR)


__all__ = ["CODES", "Frame", "Scene", "Simulated", "YearView", "calendar", "simulated"]


def _stored(number: F32, top: int) -> npt.NDArray[np.uint16]:
    kept: npt.NDArray[np.uint16] = np.clip(number, 1, top).astype(np.uint16)
    return kept
