"""What a coarse sensor sees of the simulated ground: MODIS pixels in their sinusoidal grid.

The image is the mean of the ground without atmosphere over each MODIS pixel, with a gain per band
and date (view and light differ from those of the fine sensor) and noise of its own. It is not made
from the fine image, whose noise it does not share. Beyond the edge of the simulated ground the
pixels at the edge are repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rsbench.catalog import Region
from rsbench.core.grid import Grid
from rsbench.core.sinusoidal import CORNER, CRS, PIXEL, TILE, native_grid
from rsbench.simulate.random import settle, stream
from rsbench.simulate.scene import Scene, YearView, clear_words, sensor_grid
from rsbench.simulate.triplet_slots import COARSE, FINE

BANDS = {"blue": "b03", "green": "b04", "red": "b01", "nir08": "b02", "swir16": "b06",
         "swir22": "b07"}  # fmt: skip
"""Band of the fine sensor → band of the coarse one at the same wavelength."""
STATE = "sur_refl_state_500m"
SCALE, NODATA, STORED = 1e-4, -28672, (-100, 16000)
SEEN = 0.5
"""Share of clear ground from which a pixel is clear."""
CLEAR, CLOUDY = 0b001000, 0b001001
"""State words of MOD09A1: land under a clear sky, and under clouds."""
_GAIN = 0.015
_NOISE = 0.0015
_PLACES = 16
"""Places along a side of a pixel at which the ground is looked up, about a fine pixel apart."""
_CELLS = 32


@dataclass(frozen=True)
class CoarseFrame:
    """Pixels as the provider stores them: ``values`` (C, h, w) in the order of ``BANDS``.

    ``state``: (h, w) words of quality.
    """

    values: npt.NDArray[np.int16]
    state: npt.NDArray[np.uint16]


def coarse_grid(region: Region) -> Grid:
    """Return the window of MODIS pixels over the fine scenes of a region."""
    fine = sensor_grid(region, FINE)
    a, b, c, d, e, f = fine.transform
    high, wide = fine.height / _CELLS, fine.width / _CELLS
    return native_grid(Grid(fine.crs, (a * wide, b, c, d, e * high, f), _CELLS, _CELLS))


def tile_of(grid: Grid) -> str:
    """Return the name of the MODIS tile of a grid's first pixel, as ``h18v04``."""
    column = round((grid.transform[2] - CORNER[0]) / PIXEL)
    row = round((CORNER[1] - grid.transform[5]) / PIXEL)
    return f"h{column // TILE:02d}v{row // TILE:02d}"


def coarse_frame(view: YearView, scene: Scene, mask: npt.NDArray[np.uint16]) -> CoarseFrame:
    """Return the image of the ground of a fine scene.

    Args:
        view: the fine sensor's year of the region.
        scene: the fine scene.
        mask: (H, W) quality words of the fine scene, whose clouds hide the coarse image, too.
    """
    index = _fine_pixels(view.sim.region)
    bands = range(len(BANDS))
    draw = stream(view.sim.spec.seed, view.sim.region.name, COARSE, view.year, scene.number)
    ground = np.stack([view.ground(scene, band).ravel()[index] for band in bands])
    mean = ground.astype(np.float64).mean(axis=-1)
    gain = 1.0 + _GAIN * draw.standard_normal((len(bands), 1, 1))
    seen = settle(mean * gain + _NOISE * draw.standard_normal(mean.shape))
    stored = np.clip(np.rint(seen / SCALE), *STORED).astype(np.int16)
    clear = clear_words(mask).ravel()[index].mean(axis=-1) >= SEEN
    return CoarseFrame(stored, np.where(clear, CLEAR, CLOUDY).astype(np.uint16))


@lru_cache(maxsize=32)
def _fine_pixels(region: Region) -> npt.NDArray[np.int64]:
    """Return the fine pixels, counted row by row, at every place of the coarse ones (h, w, n)."""
    from pyproj import Transformer

    fine, coarse = sensor_grid(region, FINE), coarse_grid(region)
    a, _, c, _, e, f = coarse.transform
    x = c + a * (np.arange(coarse.width * _PLACES) + 0.5) / _PLACES
    y = f + e * (np.arange(coarse.height * _PLACES) + 0.5) / _PLACES
    to = Transformer.from_crs(CRS, fine.crs, always_xy=True)
    east, north = to.transform(*np.meshgrid(x, y))
    a, _, c, _, e, f = fine.transform
    columns = np.clip(np.floor((east - c) / a).astype(np.int64), 0, fine.width - 1)
    rows = np.clip(np.floor((north - f) / e).astype(np.int64), 0, fine.height - 1)
    index: npt.NDArray[np.int64] = rows * fine.width + columns
    blocks = index.reshape(coarse.height, _PLACES, coarse.width, _PLACES).swapaxes(1, 2)
    return blocks.reshape(coarse.height, coarse.width, _PLACES**2)
