"""The simulated ground as it would be seen without an atmosphere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rsbench.catalog import SimulatedSpec
from rsbench.simulate import reflectance as light
from rsbench.simulate.dynamics import code_groups, codes, vigour
from rsbench.simulate.scene import pixel_index, sensor_bands, simulated, year_air


def yearly_truth(
    spec: SimulatedSpec,
    region_name: str,
    sensor: str,
    *,
    years: Sequence[int],
    bands: Sequence[str],
) -> npt.NDArray[np.float32]:
    """Return the yearly medians (T, C, H, W) without clouds, haze or noise, as reflectance."""
    numbers = [sensor_bands(sensor).index(band) for band in bands]
    sim = simulated(spec, region_name)
    index = pixel_index(sim.region, sensor)
    groups = code_groups()
    frames = []
    for year in years:
        air = year_air(sim, sensor, year)
        surface = light.reflectance(sim.surfaces, sim.params, air.days, air.wet)
        median = np.median(surface, axis=1)[:, numbers].astype(np.float32)
        code = codes(sim.units, sim.history, year)[sim.units.index][index]
        texture = np.take_along_axis(
            sim.land.texture[:, index[0], index[1]], groups[code][None], axis=0
        )[0]
        strength = vigour(sim.history, sim.land, sim.params, year)[index]
        gain = sim.surfaces.gain[:, numbers].astype(np.float32)
        frames.append(
            np.stack(
                [
                    texture * median[:, at][code] + gain[:, at][code] * strength
                    for at in range(len(numbers))
                ]
            )
        )
    return np.stack(frames)
