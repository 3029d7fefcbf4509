"""Simulated pairs: ground at 2.5 m with classes, an aerial image of it, and a satellite image.

Parcels of a region have one of five classes (:class:`Cover`). Classes and parcels follow the pixels
of the satellite image, so that every one of them has one class. The satellite image is the area
mean of the ground plus noise. The aerial image is the ground in display values, without noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import Region
from rsbench.core.grid import Grid
from rsbench.simulate.land import make_land
from rsbench.simulate.pair_spec import COARSE, RATIO, PairSpec
from rsbench.simulate.random import F64, open_field, settle, stream
from rsbench.simulate.regions import find_region, params
from rsbench.simulate.scene import Frame, Scene

NOISE = 0.004
"""Standard deviation of the satellite image's noise, in reflectance."""
RIM = 8
"""Satellite pixels by which all images reach beyond the region: a photograph covers it wholly."""
DISPLAY = 400.0
"""Display value of the aerial image for reflectance 1; values are rounded to integers."""
BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
"""Common names, in the order of the simulated bands, and the bands of the satellite image."""
PHOTO = ("red", "green", "blue", "nir")
"""Bands of the aerial image, in the order of its file."""


class Cover(IntEnum):
    """Codes of the label set ``sim-cover``, by what each is for.

    ``BRIGHT`` and ``DARK`` differ from the rest in the spectrum. ``GRASS``, ``FAINT`` and
    ``HIDDEN`` have one mean spectrum. ``FAINT`` has crowns on a lattice, which the satellite pixels
    do not resolve. ``HIDDEN`` has a checkerboard that sums to zero in every satellite pixel: a
    model that tells it from ``GRASS`` has seen the aerial image or the labels.
    """

    BRIGHT = 1
    DARK = 2
    GRASS = 3
    FAINT = 4
    HIDDEN = 5


_GRASS = (0.05, 0.09, 0.07, 0.30)
_SPECTRA = np.array([(0.12, 0.15, 0.19, 0.28), (0.03, 0.05, 0.04, 0.20), _GRASS, _GRASS, _GRASS])
"""Reflectance (class, band) in the order of ``Cover`` and ``BANDS``."""
_LIGHT, _PARCEL, _TEXTURE = 0.06, 0.10, 0.02
"""Half range of the brightness of an image and of a parcel; deviation of the texture."""
_CROWNS, _SPACING, _RADIUS = 0.38, 7, 2.3
"""Depth of a crown as a share of reflectance; spacing and radius in pixels of the aerial image."""
_CHECKER = 0.25
"""Amplitude of the checkerboard as a share of the reflectance of grass."""


@dataclass(frozen=True)
class PairScene:
    """One region on one day.

    ``region``: the region with a rim, on whose grid everything lies. ``labels``: (H, W) codes of
    ``Cover``. ``ground``: (C, kH, kW) reflectance in the order of ``BANDS``.
    ``pattern``: (C, kH, kW), the part of the ground that is the checkerboard. ``noise``: (C, H, W)
    of the satellite image.
    """

    region: Region
    when: datetime
    labels: npt.NDArray[np.uint8]
    ground: F64
    pattern: F64
    noise: F64

    @property
    def scene(self) -> Scene:
        """The scene of the satellite image."""
        return Scene(COARSE, 0, self.when, "02.14", "")

    def photo(self) -> npt.NDArray[np.uint8]:
        """Return the aerial image (C, kH, kW), display values in the order of ``PHOTO``."""
        order = [list(BANDS).index(name) for name in PHOTO]
        shown = np.rint(self.ground[order] * DISPLAY)
        stored: npt.NDArray[np.uint8] = np.clip(shown, 1, 255).astype(np.uint8)
        return stored

    def frame(self) -> Frame:
        """Return the satellite image as the provider stores it, without clouds."""
        seen = block_mean(self.ground) + self.noise
        values = np.clip(np.rint(seen * 10000.0), 1, 65535).astype(np.uint16)
        half = len(self.labels) // 2
        return Frame(values, np.full((half, half), 4, np.uint8), 0.0, 0.0)


def fine_grid(region: Region) -> Grid:
    """Return the pixel grid of the aerial image."""
    grid, step = region.grid(), region.gsd / RATIO
    a = (step, 0.0, grid.transform[2], 0.0, -step, grid.transform[5])
    return Grid(grid.crs, a, grid.height * RATIO, grid.width * RATIO)


def block_mean(values: F64) -> F64:
    """Return the area means (..., H, W) of blocks of ``RATIO`` × ``RATIO`` pixels."""
    *first, height, width = values.shape
    blocks = values.reshape(*first, height // RATIO, RATIO, width // RATIO, RATIO)
    mean: F64 = blocks.mean(axis=(-3, -1))
    return mean


@lru_cache(maxsize=4)
def pair_scene(spec: PairSpec, name: str) -> PairScene:
    """Simulate the ground of a region and the noise of its satellite image.

    Raises:
        UnknownName: if the specification has no region of this name.
    """
    region = _with_rim(find_region(spec, name))
    parcel = make_land(spec.seed, name, region.size, params(spec, region)).parcel
    draw = stream(spec.seed, name, "pair")
    count = int(parcel.max()) + 1
    cover = draw.integers(1, len(Cover) + 1, size=count)
    bright = 1.0 + _PARCEL * (2.0 * draw.random(count) - 1.0)
    light = 1.0 + _LIGHT * (2.0 * draw.random() - 1.0)
    labels = cover[parcel].astype(np.uint8)
    size = region.size * RATIO
    texture = 1.0 + _TEXTURE * open_field(draw, size, slope=2.4, outer=size / 6)
    shade = texture * (1.0 + _crowns(draw, size) * (_fine(labels) == Cover.FAINT))
    shade = settle(shade * _fine(light * bright[parcel]))
    plain = settle(_SPECTRA.T[:, _fine(labels) - 1] * shade)
    pattern = _checkerboard(labels)
    when = datetime(spec.years[0], 6, 1, 10, 12, 31, tzinfo=UTC)
    when += timedelta(days=int(draw.integers(0, 90)))
    noise = settle(NOISE * draw.standard_normal((len(BANDS), *labels.shape)))
    return PairScene(region, when, labels, plain + pattern, pattern, noise)


def _with_rim(region: Region) -> Region:
    (x, y), rim = region.origin, round(RIM * region.gsd)
    wide = {"origin": (x - rim, y + rim), "size": region.size + 2 * RIM}
    return region.model_copy(update=wide)


def _fine(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return every pixel repeated as ``RATIO`` × ``RATIO`` pixels of the aerial image."""
    return values.repeat(RATIO, axis=-2).repeat(RATIO, axis=-1)


def _crowns(draw: np.random.Generator, size: int) -> F64:
    """Return the relative darkening (size, size) by crowns on a lattice; its mean is 0."""
    shift = draw.integers(0, _SPACING, size=2)
    y, x = ((np.arange(size) + at) % _SPACING - _SPACING // 2 for at in shift)
    disc = (y[:, None] ** 2 + x[None, :] ** 2 <= _RADIUS**2).astype(np.float64)
    return settle(_CROWNS * (disc.mean() - disc))


def _checkerboard(labels: npt.NDArray[np.uint8]) -> F64:
    """Return the pattern (C, kH, kW) of the hidden class."""
    size = len(labels) * RATIO
    sign = 1.0 - 2.0 * (np.add.outer(np.arange(size), np.arange(size)) % 2)
    amplitude = settle(_CHECKER * np.array(_GRASS))
    pattern: F64 = amplitude[:, None, None] * (sign * (_fine(labels) == Cover.HIDDEN))
    return pattern
