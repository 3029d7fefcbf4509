"""Land cover of the simulated Earth in its first year."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from rsbench.catalog import SimulatedSpec
from rsbench.simulate.dynamics import (
    CODE_BUILT,
    CODE_CROP,
    CODE_PASTURE,
    CODE_REGROWTH,
    CODES,
    codes,
)
from rsbench.simulate.land import BARE, CROP, FOREST, GRASS, ROAD, WATER
from rsbench.simulate.scene import pixel_index, simulated

COVERS = ("water", "forest", "cleared", "grass", "crops", "bare", "built")


def _table() -> npt.NDArray[np.uint8]:
    """Return the cover (index in ``COVERS``) of every surface code, (CODES,)."""
    table = np.empty(CODES, dtype=np.uint8)
    for codes_of, cover in (
        (slice(CODE_CROP, CODE_PASTURE), "crops"),
        (slice(CODE_PASTURE, CODE_REGROWTH), "grass"),
        (slice(CODE_REGROWTH, CODE_BUILT), "cleared"),
        (slice(CODE_BUILT, CODES), "built"),
        (WATER, "water"),
        (ROAD, "built"),
        (FOREST, "forest"),
        (GRASS, "grass"),
        (BARE, "bare"),
    ):
        table[codes_of] = COVERS.index(cover)
    assert CROP == CODE_CROP  # the code of a crop pixel is that of one of the crops
    return table


@lru_cache(maxsize=64)
def first_land_cover(spec: SimulatedSpec, region: str, sensor: str) -> npt.NDArray[np.uint8]:
    """Return the land cover of the first simulated year, which precedes every forecast year.

    Args:
        spec: the simulated Earth.
        region: ``sim-01`` …
        sensor: ``s2`` or ``landsat``; a coarse pixel has the cover at its centre.

    Returns:
        (H, W) indices in ``COVERS``, uint8, on ``sensor_grid``.
    """
    sim = simulated(spec, region)
    code = codes(sim.units, sim.history, spec.years[0])[sim.units.index]
    return _table()[code[pixel_index(sim.region, sensor)]]
