"""The simulated Earth: regions, catalogue, truth, and what can be known of it in advance.

It feeds demonstrations and tests, and whatever is made from it says *simulated*. A process fixed
before any model was trained on it (``VERSION``) makes fields, woods, water and towns on real UTM
grids; lets towns grow and clearings eat into woods along fronts, cleared land regrow, crops rotate
and vigour swing from year to year; and looks at the ground through seasons, clouds, shadows, haze
and noise. Test regions follow other parameters than training regions. It says nothing about real
places, and no superiority of a model is to be claimed from it.
"""

from __future__ import annotations

from rsbench.simulate.land_cover import COVERS, first_land_cover
from rsbench.simulate.oracle import conditional_mean, yearly_truth
from rsbench.simulate.random import VERSION
from rsbench.simulate.regions import simulated_regions
from rsbench.simulate.scene import sensor_bands, sensor_grid
from rsbench.simulate.write import (
    catalogue_bytes,
    catalogue_digest,
    write_catalogue,
)

__all__ = [
    "COVERS",
    "VERSION",
    "catalogue_bytes",
    "catalogue_digest",
    "conditional_mean",
    "first_land_cover",
    "sensor_bands",
    "sensor_grid",
    "simulated_regions",
    "write_catalogue",
    "yearly_truth",
]
