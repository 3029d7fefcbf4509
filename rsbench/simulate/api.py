"""The simulated Earth: its regions, its catalogue, its pixels, and the conditional mean of a year.

It is made for demonstrations and tests, and everything built from it is marked *simulated*. The
process was fixed before any model was trained on it (``VERSION``). It draws fields, forest, water
and towns on real UTM grids. Towns grow, forest is cleared along fronts, cleared land regrows,
crops rotate, and vegetation varies from year to year. Images show the ground through seasons,
clouds, shadows, haze and noise. Test regions have other parameters than training regions. No
result on it says anything about real places or about the ranking of models on real data.
"""

from __future__ import annotations

from functools import singledispatch

from rsbench.catalog import Region, SimulatedSpec
from rsbench.simulate.land_cover import COVERS, first_land_cover
from rsbench.simulate.oracle import conditional_mean
from rsbench.simulate.random import VERSION
from rsbench.simulate.regions import simulated_regions
from rsbench.simulate.scene import sensor_bands, sensor_grid
from rsbench.simulate.triplet_slots import TripletSpec, triplet_regions
from rsbench.simulate.write import catalogue_digest, write_catalogue

__all__ = [
    "COVERS",
    "VERSION",
    "TripletSpec",
    "catalogue_digest",
    "conditional_mean",
    "first_land_cover",
    "regions_of_spec",
    "sensor_bands",
    "sensor_grid",
    "simulated_regions",
    "write_catalogue",
]


@singledispatch
def regions_of_spec(spec: SimulatedSpec) -> tuple[Region, ...]:
    """Return the regions of a simulated Earth with the strata of its dates."""
    return simulated_regions(spec)


regions_of_spec.register(TripletSpec, triplet_regions)
