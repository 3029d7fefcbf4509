"""Changes of the ground: clearing, regrowth, building, crop rotation and vigour.

Every parcel carries a yearly state: untouched, cleared (with an age) or built (with an age).
Parcels are cleared and built on independently, given their distance to a front that moves at
constant speed (hazards of this kind are fitted to forest loss by Rosa et al. 2013, Predictive
modelling of contagious deforestation in the Brazilian Amazon, PLoS ONE 8(10)). The probability of
every state in a later year therefore follows exactly from the state in an earlier one. Crops
follow a Markov chain. Vigour raises near infrared and lowers red; it is a first-order
autoregression over years.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsbench.core.errors import InputError
from rsbench.simulate.land import (
    BARE,
    CANOPY,
    CROP,
    FIELD,
    FOREST,
    GRASS,
    NATURAL,
    ROAD,
    SMOOTH,
    TOWN,
    WATER,
    Land,
)
from rsbench.simulate.random import F32, F64, logistic, open_field, settle, stream
from rsbench.simulate.regions import Params

I16 = npt.NDArray[np.int16]
ORIGIN = 2017  # year in which fronts are at ``*_start``
SPIN_UP = 2005  # first year of the process
CROPS = 4  # winter cereal, summer crop, late crop, ley
CLEARED_AGES = 16  # years until regrowth no longer changes
PASTURE_AGES = 4
BUILT_AGES = 3  # building site, young, established
# Parcel states: untouched, cleared of age 0…15, built of age 0…2.
UNTOUCHED, CLEARED, BUILT = 0, 1, 1 + CLEARED_AGES
STATES = BUILT + BUILT_AGES
# Surface codes: the surface of a pixel, from the state of its parcel and its own cover.
CODE_CROP = 5
CODE_PASTURE = CODE_CROP + CROPS
CODE_REGROWTH = CODE_PASTURE + PASTURE_AGES
CODE_BUILT = CODE_REGROWTH + CLEARED_AGES
CODES = CODE_BUILT + BUILT_AGES
_FRONT_WIDTH = 4.0
_BACKGROUND = 0.002


def code_groups() -> npt.NDArray[np.int64]:
    """Return the texture group of every surface code (CODES,)."""
    groups = np.full(CODES, FIELD, dtype=np.int64)
    groups[[WATER, ROAD]] = SMOOTH
    groups[FOREST] = CANOPY
    groups[[GRASS, BARE]] = NATURAL
    groups[CODE_REGROWTH + 3 : CODE_BUILT] = CANOPY
    groups[CODE_BUILT:] = TOWN
    return groups


@dataclass(frozen=True)
class History:
    """The yearly states of one region; the first axis runs over ``years``.

    ``state`` (T, P): parcel state. ``crop`` (T, P): crop of a cropped parcel. ``wide`` (T, H, W)
    and ``local`` (T, P): the two parts of vigour, in greenness. ``regrows`` (P,): whether a
    cleared parcel is left to regrow.
    """

    years: tuple[int, ...]
    state: I16
    crop: I16
    wide: F32
    local: F64
    regrows: npt.NDArray[np.bool_]
    rotation: F64


def hazards(land: Land, params: Params, year: int) -> tuple[F64, F64]:
    """Return the probabilities (P,) that a parcel is cleared and that it is built on in a year."""
    moved = year - ORIGIN
    clear_front = params.clear_start + params.clear_speed * moved
    urban_front = params.urban_start + params.urban_speed * moved
    clear = params.clear_hazard * logistic((clear_front - land.frontier) / _FRONT_WIDTH)
    urban = params.urban_hazard * logistic((urban_front - land.town) / (0.6 * _FRONT_WIDTH))
    allowed = (params.clear_hazard > 0) * land.wooded
    return settle((clear + _BACKGROUND) * allowed), settle(urban)


def step_chances(chances: F64, clear: F64, urban: F64) -> F64:
    """Return state probabilities (P, STATES) one year later."""
    after = np.zeros_like(chances)
    free = 1.0 - urban
    after[:, UNTOUCHED] = chances[:, UNTOUCHED] * free * (1.0 - clear)
    after[:, CLEARED] = chances[:, UNTOUCHED] * free * clear
    after[:, CLEARED + 1 : BUILT] = chances[:, CLEARED : BUILT - 1] * free[:, None]
    after[:, BUILT - 1] += chances[:, BUILT - 1] * free
    after[:, BUILT] = chances[:, :BUILT].sum(axis=1) * urban
    after[:, BUILT + 1 :] = chances[:, BUILT:-1]
    after[:, -1] += chances[:, -1]
    return after


def rotation_matrix(params: Params) -> F64:
    """Return the Markov matrix (from, to) of crops.

    The rotation continues with probability ``params.rotation``; else the next crop is uniform.
    """
    keep = params.rotation
    matrix = np.full((CROPS, CROPS), (1.0 - keep) / CROPS)
    for crop, following in enumerate((1, 2, 0)):
        matrix[crop, following] += keep
    matrix[3, 3] += keep  # ley is followed by ley
    return matrix


def make_history(
    seed: int, name: str, land: Land, params: Params, years: tuple[int, ...]
) -> History:
    """Run the process from the spin-up to the last year and keep ``years``.

    Raises:
        InputError: if a year lies before the first year of the process.
    """
    if min(years) < SPIN_UP:
        raise InputError(
            f"simulating the year {min(years)}",
            f"the simulated Earth begins in {SPIN_UP}",
            f"Give years from {SPIN_UP} on",
        )
    size = land.cover.shape[0]
    draw = stream(seed, name, "history")
    matrix = rotation_matrix(params)
    state = _first_state(draw, land, params)
    crop = draw.choice(CROPS, size=land.parcels, p=(0.34, 0.26, 0.22, 0.18)).astype(np.int16)
    regrows = draw.random(land.parcels) < params.regrow
    memory = params.vigour_memory
    local_memory = 0.5 * memory
    wide = _wide(stream(seed, name, "vigour", SPIN_UP), size, params)
    local = 0.7 * params.vigour * draw.standard_normal(land.parcels)
    kept = []
    for year in range(SPIN_UP, max(years) + 1):
        if year > SPIN_UP:
            # One stream per year: tests draw other futures after the same past.
            draw = stream(seed, name, "history", year)
            dice = draw.random((3, land.parcels))
            state = _step_state(state, dice[0], dice[1], *hazards(land, params, year))
            crop = _step_crop(crop, dice[2], matrix)
            wind = _wide(stream(seed, name, "vigour", year), size, params)
            wide = settle(memory * wide + np.sqrt(1 - memory**2) * wind)
            fresh = 0.7 * params.vigour * draw.standard_normal(land.parcels)
            local = settle(local_memory * local + np.sqrt(1 - local_memory**2) * fresh)
        if year in years:
            kept.append((state, crop, wide.astype(np.float32), local))
    states, crops, wides, locals_ = (np.stack(part) for part in zip(*kept, strict=True))
    return History(
        tuple(sorted(years)), states, crops, wides.astype(np.float32), locals_, regrows, matrix
    )


def _wide(draw: np.random.Generator, size: int, params: Params) -> F64:
    return params.vigour * open_field(draw, size, slope=2.8, outer=size / 3)


def _first_state(draw: np.random.Generator, land: Land, params: Params) -> I16:
    behind = SPIN_UP - ORIGIN
    clear_front = params.clear_start + params.clear_speed * behind
    urban_front = params.urban_start + params.urban_speed * behind
    state = np.zeros(land.parcels, dtype=np.int16)
    ages = draw.integers(0, CLEARED_AGES, size=land.parcels)
    old = land.wooded & (land.frontier < clear_front) & (params.clear_hazard > 0)
    state[old] = CLEARED + ages[old]
    state[land.town < urban_front] = STATES - 1
    return state


def _step_state(state: I16, dice: F64, dice_urban: F64, clear: F64, urban: F64) -> I16:
    after = state.copy()
    cleared = (state >= CLEARED) & (state < BUILT)
    after[cleared] = np.minimum(state[cleared] + 1, BUILT - 1)
    after[(state == UNTOUCHED) & (dice < clear)] = CLEARED
    after[(state < BUILT) & (dice_urban < urban)] = BUILT
    built = state >= BUILT
    after[built] = np.minimum(state[built] + 1, STATES - 1)
    return after


def _step_crop(crop: I16, dice: F64, matrix: F64) -> I16:
    cumulative = np.cumsum(matrix, axis=1)[crop]
    after: I16 = (dice[:, None] >= cumulative[:, :-1]).sum(axis=1).astype(np.int16)
    return after


@dataclass(frozen=True)
class Units:
    """Pixels that share parcel and cover, and so a surface code in every year.

    ``index`` (H, W): unit of each pixel; ``parcel`` (U,), ``cover`` (U,).
    """

    index: npt.NDArray[np.int32]
    parcel: npt.NDArray[np.int64]
    cover: npt.NDArray[np.int64]


def make_units(land: Land) -> Units:
    """Group pixels by parcel and cover."""
    key = land.parcel.astype(np.int64) * 8 + land.cover
    found, index = np.unique(key, return_inverse=True)
    return Units(index.reshape(key.shape).astype(np.int32), found // 8, found % 8)


def surface_table(regrows: bool) -> I16:
    """Return the surface code (STATES, 6 covers); −1 means the crop of the year."""
    table = np.empty((STATES, 6), dtype=np.int16)
    table[:] = np.arange(6)
    table[:, CROP] = -1
    for age in range(CLEARED_AGES):
        pasture = CODE_PASTURE + min(age, PASTURE_AGES - 1)
        table[CLEARED + age, FOREST] = CODE_REGROWTH + age if regrows else pasture
    for age in range(BUILT_AGES):
        table[BUILT + age, FOREST:] = CODE_BUILT + age
    return table


def codes(units: Units, history: History, year: int) -> I16:
    """Return the surface code of every unit (U,) in a year."""
    at = history.years.index(year)
    state, crop = history.state[at][units.parcel], history.crop[at][units.parcel]
    tables = np.stack([surface_table(False), surface_table(True)])
    code = tables[history.regrows[units.parcel].astype(np.int64), state, units.cover]
    found: I16 = np.where(code < 0, CODE_CROP + crop, code).astype(np.int16)
    return found


def code_chances(
    units: Units, history: History, land: Land, params: Params, now: int, target: int
) -> F64:
    """Return the probability (U, CODES) of each surface code in ``target``, given ``now``."""
    at = history.years.index(now)
    chances = np.zeros((land.parcels, STATES))
    chances[np.arange(land.parcels), history.state[at]] = 1.0
    for year in range(now + 1, target + 1):
        chances = step_chances(chances, *hazards(land, params, year))
    crops = np.linalg.matrix_power(history.rotation, target - now)[history.crop[at]]
    tables = np.stack([surface_table(False), surface_table(True)])
    result = np.zeros((units.parcel.size, CODES + 1))
    rows = np.arange(units.parcel.size)
    kind = history.regrows[units.parcel].astype(np.int64)
    for state in range(STATES):
        # The code −1 adds to the last, spare column, which is then divided among the crops.
        np.add.at(result, (rows, tables[kind, state, units.cover]), chances[units.parcel, state])
    result[:, CODE_CROP:CODE_PASTURE] += result[:, -1:] * crops[units.parcel]
    return result[:, :-1]


def vigour(history: History, land: Land, params: Params, year: int) -> F32:
    """Return the vigour (H, W) of a year, in greenness."""
    at = history.years.index(year)
    return _vigour(history.wide[at], history.local[at], land, params, year)


def expected_vigour(history: History, land: Land, params: Params, now: int, target: int) -> F32:
    """Return the mean vigour (H, W) of ``target``, given the state of ``now``."""
    at, lead = history.years.index(now), target - now
    wide = np.float32(params.vigour_memory**lead) * history.wide[at]
    local = (0.5 * params.vigour_memory) ** lead * history.local[at]
    return _vigour(wide.astype(np.float32), local, land, params, target)


def _vigour(wide: F32, local: F64, land: Land, params: Params, year: int) -> F32:
    trend = np.float32(params.trend * (year - ORIGIN))
    total: F32 = wide + settle(local).astype(np.float32)[land.parcel] + trend * land.slope
    return total
