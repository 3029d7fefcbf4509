"""Reflectance of every surface on a date, and the effects of the atmosphere.

A pixel shows ``texture · (surface + haze + noise) + vigour gain · vigour``. Texture is positive
and, like vigour, constant within a year. The median over the dates of a year is therefore
``texture · median(surface + haze + noise) + vigour gain · vigour``. It has to be computed per
surface code only, not per pixel, which makes the conditional mean computable.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from rsbench.simulate.dynamics import (
    BUILT_AGES,
    CLEARED_AGES,
    CODE_BUILT,
    CODE_CROP,
    CODE_PASTURE,
    CODE_REGROWTH,
    CODES,
    PASTURE_AGES,
)
from rsbench.simulate.land import BARE, FOREST, GRASS, ROAD, WATER
from rsbench.simulate.random import F32, F64, periodic_field, settle
from rsbench.simulate.regions import Params

U8 = npt.NDArray[np.uint8]
# Internal band order: blue, green, red, near infrared, shortwave infrared 1.6 and 2.2 µm.
NBANDS = 6
_SOIL = np.array([0.072, 0.100, 0.130, 0.215, 0.270, 0.225])
_SAND = np.array([0.120, 0.180, 0.245, 0.315, 0.390, 0.345])
_LITTER = np.array([0.034, 0.050, 0.062, 0.150, 0.150, 0.090])
_LEAF = np.array([0.028, 0.066, 0.036, 0.430, 0.190, 0.090])
_CANOPY = np.array([0.018, 0.040, 0.022, 0.300, 0.135, 0.062])
_WATER = np.array([0.038, 0.050, 0.034, 0.019, 0.010, 0.007])
_ROAD = np.array([0.100, 0.115, 0.130, 0.180, 0.200, 0.185])
_ROOF = np.array([0.118, 0.132, 0.145, 0.205, 0.215, 0.190])
_SITE = np.array([0.150, 0.185, 0.220, 0.290, 0.330, 0.290])
# Standard deviations, between scenes, of haze and sensor noise, reflectance.
_HAZE = np.array([0.0060, 0.0042, 0.0030, 0.0018, 0.0010, 0.0008])
_NOISE = np.array([0.0013, 0.0014, 0.0016, 0.0028, 0.0022, 0.0020])
_GAIN = 0.022  # illumination and view geometry, common to all bands
_ONSET = 6.0  # days, early or late years
# Reflectance of clouds and cirrus, and the share of light in a shadow.
CLOUD = np.array([0.56, 0.55, 0.55, 0.58, 0.42, 0.32])
_CIRRUS = np.array([0.30, 0.29, 0.29, 0.30, 0.20, 0.16])
_SHADE = np.array([0.42, 0.47, 0.52, 0.60, 0.66, 0.68])


@dataclass(frozen=True)
class Surfaces:
    """Surface of every code (CODES, …): end members in six bands and greenness over the year."""

    ground: F64
    leaf: F64
    base: F64
    height: F64
    onset: F64
    fall: F64
    gain: F64  # (CODES, NBANDS): change of reflectance per unit of vigour


def make_surfaces(params: Params) -> Surfaces:
    """Return the surfaces of a region, from its soil and its seasons."""
    sandy = min(1.0, max(0.0, (params.soil - 0.9) / 0.8))
    soil = ((1 - sandy) * _SOIL + sandy * _SAND) * (0.85 + 0.15 * params.soil)
    ground, leaf = np.tile(soil, (CODES, 1)), np.tile(_LEAF, (CODES, 1))
    base, height = np.zeros(CODES), np.zeros(CODES)
    onset, fall = np.full(CODES, 105.0), np.full(CODES, 290.0)
    weight = np.zeros(CODES)

    def put(code: int, values: tuple[float, float, float, float], share: float) -> None:
        base[code], height[code], onset[code], fall[code] = values
        weight[code] = share

    green = params.greenness
    evergreen = params.evergreen
    ground[WATER], leaf[WATER] = _WATER, _WATER
    ground[ROAD] = 0.5 * (_ROAD + soil)
    put(ROAD, (0.04, 0.05, 110, 285), 0.1)
    ground[FOREST], leaf[FOREST] = _LITTER, _CANOPY
    put(FOREST, (0.35 + 0.45 * evergreen, (0.5 - 0.42 * evergreen) * green, 115, 285), 0.5)
    put(GRASS, (0.22, 0.42 * green, 100, 265), 0.9)
    put(BARE, (0.03, 0.03 * green, 90, 200), 0.12)
    put(CODE_CROP, (0.20, 0.68 * green, 70, 205), 1.0)
    put(CODE_CROP + 1, (0.08, 0.82 * green, 160, 275), 1.0)
    put(CODE_CROP + 2, (0.16, 0.72 * green, 125, 305), 1.0)
    put(CODE_CROP + 3, (0.48, 0.34 * green, 80, 300), 0.9)
    for age in range(PASTURE_AGES):
        cover = (0.06, 0.25, 0.32, 0.36)[age]
        put(CODE_PASTURE + age, (cover, 0.36 * green, 100, 275), 0.6)
    for age in range(CLEARED_AGES):
        grown = 1.0 - float(np.exp(-age / 4.0))
        put(CODE_REGROWTH + age, (0.06 + 0.66 * grown, 0.14 * green, 105, 285), 0.55)
        mature = 1.0 - float(np.exp(-age / 8.0))
        leaf[CODE_REGROWTH + age] = (1 - mature) * _LEAF + mature * _CANOPY
        ground[CODE_REGROWTH + age] = (1 - mature) * soil + mature * _LITTER
    for age in range(BUILT_AGES):
        ground[CODE_BUILT + age] = (_SITE, 0.5 * (_SITE + _ROOF), _ROOF)[age]
        put(CODE_BUILT + age, ((0.02, 0.10, 0.17)[age], 0.10 * green, 105, 290), 0.15)
    gain = weight[:, None] * (leaf - ground)
    return Surfaces(*(settle(part) for part in (ground, leaf, base, height, onset, fall, gain)))


def reflectance(surfaces: Surfaces, params: Params, days: F64, wet: F64) -> F64:
    """Return reflectance (CODES, *days.shape, NBANDS) on days of the year.

    Args:
        surfaces: the region's surfaces.
        params: the region's parameters.
        days: day of the year, shifted by the start of spring of the year.
        wet: wetness of the ground on each day, 0…1; same shape as ``days``.
    """
    shift = params.season + (182.6 if params.south else 0.0)
    centre = 180.0 + (days - 180.0 - shift + 182.6) % 365.25 - 182.6
    shape = (CODES,) + (1,) * days.ndim
    rise = _rise(centre, surfaces.onset.reshape(shape), params)
    drop = _rise(centre, surfaces.fall.reshape(shape), params)
    green = surfaces.base.reshape(shape) + surfaces.height.reshape(shape) * (rise - drop)
    green = np.clip(green, 0.0, 0.97)[..., None]
    bands = (CODES,) + (1,) * days.ndim + (NBANDS,)
    dry = 1.0 - 0.22 * wet[None, ..., None]
    value = (
        surfaces.ground.reshape(bands) * dry * (1 - green) + surfaces.leaf.reshape(bands) * green
    )
    return settle(value)


def _rise(days: F64, day: F64, params: Params) -> F64:
    middle = 180.0 + (day - 180.0) * params.stretch
    return settle(1.0 / (1.0 + np.exp(-(days - middle) / 9.0)))


@dataclass(frozen=True)
class Air:
    """What differs between the S dates of one year; ``…``: leading axes, such as draws.

    ``days`` (…, S): day of the year; ``wet`` (…, S): 0…1; ``light`` (…, S): gain of a scene.
    """

    days: F64
    wet: F64
    light: F64


def draw_air(draw: np.random.Generator, doys: F64, shape: tuple[int, ...] = ()) -> Air:
    """Draw the spring of the year, and wetness and light of the scenes on days ``doys`` (S,)."""
    spring = _ONSET * draw.standard_normal((*shape, 1))
    wet = draw.random((*shape, doys.size)) ** 2
    light = 1.0 + _GAIN * draw.standard_normal((*shape, doys.size))
    return Air(doys - spring, settle(wet), settle(light))


def haze_sigma() -> F64:
    """Return the standard deviation of haze per band (NBANDS,)."""
    return _HAZE.copy()


def noise_sigma() -> F64:
    """Return the standard deviation of pixel noise per band (NBANDS,)."""
    return _NOISE.copy()


@dataclass(frozen=True)
class Weather:
    """The atmosphere of one scene; all pixels have the same marginal distribution.

    ``cloud``, ``cirrus``, ``shadow`` (H, W): share of the light, 0…1. ``bright`` (H, W): gain of
    the cloud's reflectance, about 1. ``seen`` (H, W): inside the swath. ``haze`` (H, W): smooth,
    standard normal.
    """

    cloud: F32
    cirrus: F32
    shadow: F32
    bright: F32
    seen: npt.NDArray[np.bool_]
    haze: F32


def draw_weather(draw: np.random.Generator, size: int, params: Params) -> Weather:
    """Draw clouds with soft edges, their shadows, cirrus, haze and the edge of the swath."""
    mean = params.cloudiness
    # Most scenes are nearly clear or nearly overcast: a U-shaped beta distribution.
    share = float(np.clip(draw.beta(0.55 * mean / 0.5, 0.55 * (1 - mean) / 0.5), 0.002, 0.985))
    share = round(share, 6)
    field = periodic_field(draw, size, slope=3.5, outer=90.0)
    field = field + 0.10 * periodic_field(draw, size, slope=2.2, outer=12.0)
    level = 1.005 * NormalDist().inv_cdf(1.0 - share)
    excess = field - level
    cloud = np.clip(excess / 0.55, 0.0, 1.0)
    angle, length = draw.random() * 2 * np.pi, 8.0 + 14.0 * draw.random()
    step = (round(length * np.sin(angle)), round(length * np.cos(angle)))
    shadow = np.roll(cloud, step, axis=(0, 1)) * (1.0 - cloud)
    thin = periodic_field(draw, size, slope=3.2, outer=140.0)
    cirrus = np.clip((thin - 0.9) * 0.22, 0.0, 0.5) if draw.random() < 0.25 else np.zeros_like(thin)
    haze = periodic_field(draw, size, slope=3.0, outer=200.0)
    return Weather(
        settle(cloud).astype(np.float32),
        settle(cirrus).astype(np.float32),
        settle(shadow).astype(np.float32),
        settle(0.8 + np.clip(0.28 * excess, 0.0, 0.7)).astype(np.float32),
        _swath(draw, size),
        haze.astype(np.float32),
    )


def _swath(draw: np.random.Generator, size: int) -> npt.NDArray[np.bool_]:
    """Return which pixels (H, W) are inside the swath: all of them in most scenes."""
    partial, slant, edge = draw.random(3)
    if partial >= 0.08:
        return np.ones((size, size), dtype=bool)
    y, x = np.mgrid[0:size, 0:size]
    line = x + (0.2 + 0.2 * slant) * y
    limit = edge * 1.4 * size
    seen: npt.NDArray[np.bool_] = line < limit if slant < 0.5 else line >= limit
    return seen


def classify(weather: Weather, ground: U8, dice: F64) -> U8:
    """Return the scene classification (SCL) on pixel pairs: (H/2, W/2).

    Args:
        weather: atmosphere of the scene at full resolution.
        ground: class of the ground under it (H/2, W/2): 4 vegetation, 5 bare, 6 water.
        dice: uniform (H/2, W/2), for random misclassification.

    As in real masks, thin edges of clouds and shadows are below the thresholds.
    """

    def halve(values: F32) -> F32:
        height, width = values.shape
        blocks = values.reshape(height // 2, 2, width // 2, 2)
        # Written out, so that the order of summation is fixed.
        total: F32 = blocks[:, 0, :, 0] + blocks[:, 0, :, 1] + blocks[:, 1, :, 0]
        return (total + blocks[:, 1, :, 1]) * np.float32(0.25)

    cloud, cirrus, shadow = halve(weather.cloud), halve(weather.cirrus), halve(weather.shadow)
    scl = ground.copy()
    scl[dice < 0.004] = 7
    scl[shadow > 0.20] = 3
    scl[cirrus > 0.05] = 10
    scl[(cloud > 0.15) | (dice > 0.9985)] = 8
    scl[cloud > 0.50] = 9
    scl[halve(weather.seen.astype(np.float32)) < 1.0] = 0
    return scl


def through_air(surface: F32, weather: Weather, band: int) -> F32:
    """Return the reflectance (H, W) at the sensor in one band, with clouds and shadows."""
    lit = surface * (1 - weather.shadow * np.float32(_SHADE_LOSS[band]))
    thin = lit * (1 - weather.cirrus) + weather.cirrus * np.float32(_CIRRUS[band] * 2.0)
    seen: F32 = thin * (1 - weather.cloud) + weather.cloud * weather.bright * np.float32(
        CLOUD[band]
    )
    return seen


_SHADE_LOSS = 1.0 - _SHADE
