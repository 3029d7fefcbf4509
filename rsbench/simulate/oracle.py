"""The conditional mean of a simulated year, given the latent state of an earlier year."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import SimulatedSpec
from rsbench.core.errors import InputError, unknown
from rsbench.simulate import reflectance as light
from rsbench.simulate.dynamics import (
    CODES,
    code_chances,
    code_groups,
    expected_vigour,
)
from rsbench.simulate.land import GROUPS
from rsbench.simulate.random import F32, F64, stream
from rsbench.simulate.scene import (
    Simulated,
    pixel_index,
    scene_days,
    sensor_bands,
    simulated,
)

DRAWS = 1200
_POOL_SCENES = 192
_POOL_PIXELS = 256
_POOL_SIZE = 128
_MASKED = (0, 1, 3, 8, 9, 10)


@dataclass(frozen=True)
class _Pool:
    """Atmosphere at pixels of many scenes (N,): whether they are masked, and each layer."""

    masked: npt.NDArray[np.bool_]
    cloud: F32
    cirrus: F32
    shadow: F32
    bright: F32
    haze: F32


@lru_cache(maxsize=64)
def _pool(spec: SimulatedSpec, name: str) -> _Pool:
    """Draw atmospheres from the weather process, independent of those of the catalogue."""
    sim = simulated(spec, name)
    draw = stream(spec.seed, name, "oracle", "sky")
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    ground = np.full((_POOL_SIZE // 2, _POOL_SIZE // 2), 4, dtype=np.uint8)
    for _ in range(_POOL_SCENES):
        sky = light.draw_weather(draw, _POOL_SIZE, sim.params)
        scl = light.classify(sky, ground, draw.random(ground.shape))
        at = tuple(draw.integers(0, _POOL_SIZE, size=(2, _POOL_PIXELS)))
        masked = np.isin(scl[at[0] // 2, at[1] // 2], _MASKED)
        seen = (sky.cloud, sky.cirrus, sky.shadow, sky.bright, sky.haze)
        parts.append((masked, *(layer[at] for layer in seen)))
    return _Pool(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _masked_median(values: F64, masked: npt.NDArray[np.bool_]) -> tuple[F64, F64]:
    """Return the median over the last axis of unmasked values, and its weight.

    Where all values are masked, median and weight are 0; elsewhere the weight is 1.
    """
    ordered = np.sort(np.where(masked, np.inf, values), axis=-1)
    count = (~masked).sum(axis=-1)
    at = np.maximum(count, 1)
    low = np.take_along_axis(ordered, ((at - 1) // 2)[..., None], axis=-1)[..., 0]
    high = np.take_along_axis(ordered, (at // 2)[..., None], axis=-1)[..., 0]
    weight = (count > 0).astype(np.float64)
    return np.where(count > 0, 0.5 * (low + high), 0.0), weight


@lru_cache(maxsize=512)
def _expected_medians(spec: SimulatedSpec, name: str, sensor: str, year: int) -> F64:
    """Return E[yearly median of clear observations] (CODES, bands) for texture 1 and vigour 0.

    A Monte Carlo mean over ``DRAWS`` draws, shared by all codes, of the start of spring, wetness,
    light, haze, noise, and masked and unmasked clouds. The dates are those of the calendar. The
    standard error is about 1/35 of the noise of a pixel.
    """
    sim = simulated(spec, name)
    draw = stream(spec.seed, name, sensor, "oracle", year)
    doys = scene_days(sim, sensor, year)
    air = light.draw_air(draw, doys, (DRAWS,))
    pool = _pool(spec, name)
    pick = draw.integers(0, pool.masked.size, size=(DRAWS, doys.size))
    masked = pool.masked[pick]
    bands = len(sensor_bands(sensor))
    surface = light.reflectance(sim.surfaces, sim.params, air.days, air.wet)
    haze, noise = light.haze_sigma(), light.noise_sigma()
    expected = np.empty((CODES, bands))
    sky = light.Weather(
        cloud=pool.cloud[pick],
        cirrus=pool.cirrus[pick],
        shadow=pool.shadow[pick],
        bright=pool.bright[pick],
        seen=~masked,
        haze=pool.haze[pick],
    )
    for band in range(bands):
        clear = surface[..., band] * air.light + haze[band] * sky.haze
        clear = clear + noise[band] * draw.standard_normal(clear.shape[1:])
        seen = light.through_air(clear.astype(np.float32), sky, band).astype(np.float64)
        median, weight = _masked_median(seen, np.broadcast_to(masked, seen.shape))
        expected[:, band] = median.sum(axis=1) / weight.sum(axis=1)
    return expected


def _band_numbers(sensor: str, bands: Sequence[str]) -> list[int]:
    known = sensor_bands(sensor)
    for band in bands:
        if band not in known:
            raise unknown(f"simulated band of {sensor}", band, known)
    return [known.index(band) for band in bands]


def conditional_mean(
    spec: SimulatedSpec,
    region_name: str,
    sensor: str,
    *,
    context_end: int,
    targets: Sequence[int],
    bands: Sequence[str],
) -> F32:
    """Return E[yearly composite | the whole latent state at the end of ``context_end``].

    The state contains more information than the pixels, so no forecast from pixels up to
    ``context_end`` has a lower expected squared error. The probabilities of covers and crops and
    the mean of vigour are exact. The mean of the yearly median per cover is a seeded Monte Carlo
    mean (``_expected_medians``) at texture 1; it neglects only that texture changes the weight of
    clouds missed by the mask.

    Args:
        spec: the simulated Earth.
        region_name: ``sim-01`` …
        sensor: ``s2`` or ``landsat``.
        context_end: year of the known state; inside ``spec.years``.
        targets: years after it.
        bands: bands of the sensor.

    Returns:
        (T, C, H, W) reflectance, float32, on ``sensor_grid``.

    Raises:
        InputError: if ``context_end`` is not a simulated year, or a target is not after it.
        UnknownName: if a region, sensor or band is not simulated.
    """
    if not spec.years[0] <= context_end <= spec.years[1]:
        raise InputError(
            f"the conditional mean after {context_end}",
            f"the simulated years are {spec.years[0]}–{spec.years[1]}",
            "Choose the last context year among them",
        )
    if any(target <= context_end for target in targets):
        raise InputError(
            f"the conditional mean of {min(targets)}",
            f"the context ends in {context_end}",
            "Ask for later years",
        )
    numbers = _band_numbers(sensor, bands)
    sim = simulated(spec, region_name)
    frames = [_mean_of(sim, sensor, context_end, target, numbers) for target in targets]
    return np.stack(frames)


def _mean_of(sim: Simulated, sensor: str, now: int, target: int, numbers: Sequence[int]) -> F32:
    index = pixel_index(sim.region, sensor)
    unit = sim.units.index[index]
    chances = code_chances(sim.units, sim.history, sim.land, sim.params, now, target)
    medians = _expected_medians(sim.spec, sim.region.name, sensor, target)
    groups = code_groups()
    future = expected_vigour(sim.history, sim.land, sim.params, now, target)[index]
    gain = (chances @ sim.surfaces.gain).astype(np.float32)
    shares = [(chances[:, groups == g] @ medians[groups == g]) for g in range(GROUPS)]
    frame = np.empty((len(numbers), *unit.shape), dtype=np.float32)
    for at, band in enumerate(numbers):
        total = gain[:, band][unit] * future
        for group in range(GROUPS):
            share = shares[group][:, band].astype(np.float32)
            if share.any():
                total += sim.land.texture[group][index] * share[unit]
        frame[at] = total
    return frame
