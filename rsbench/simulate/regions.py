"""Places of the simulated regions and the parameters of their processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rsbench.catalog import Region, SimulatedSpec
from rsbench.catalog.tiles import LATTICE_M, tile_epsg, tile_origin
from rsbench.core.errors import unknown
from rsbench.simulate.random import VERSION, stream

Kind = Literal[
    "rainfed", "tropical-frontier", "urban-fringe", "irrigated",
    "forest", "savanna", "delta-coast", "desert",
]  # fmt: skip


@dataclass(frozen=True)
class _Place:
    tile: str
    country: str
    continent: str


# Real MGRS tiles on land, more than 100 km apart, several for each kind of ground. Only the grids
# are real: no pixel was taken from these places.
_PLACES: dict[Kind, tuple[_Place, ...]] = {
    "rainfed": (
        _Place("31UFS", "BEL", "Europe"), _Place("15TVG", "USA", "North America"),
        _Place("33UVR", "CZE", "Europe"), _Place("37UCR", "UKR", "Europe"),
        _Place("20HNH", "ARG", "South America"),
    ),
    "tropical-frontier": (
        _Place("20LMR", "BRA", "South America"), _Place("21LXF", "BRA", "South America"),
        _Place("18LXR", "PER", "South America"), _Place("50NKG", "IDN", "Asia"),
        _Place("34NGH", "COD", "Africa"),
    ),
    "urban-fringe": (
        _Place("43RGM", "IND", "Asia"), _Place("14QMG", "MEX", "North America"),
        _Place("32UPU", "DEU", "Europe"), _Place("37MBU", "KEN", "Africa"),
        _Place("51STR", "CHN", "Asia"),
    ),
    "irrigated": (
        _Place("36RTU", "EGY", "Africa"), _Place("41TPE", "UZB", "Asia"),
        _Place("11SPS", "USA", "North America"), _Place("42RVU", "PAK", "Asia"),
    ),
    "forest": (
        _Place("34VFN", "FIN", "Europe"), _Place("10UDV", "CAN", "North America"),
        _Place("55HEV", "AUS", "Oceania"), _Place("18TVS", "CAN", "North America"),
    ),
    "savanna": (
        _Place("36KVE", "ZMB", "Africa"), _Place("30PXS", "BFA", "Africa"),
        _Place("23KLB", "BRA", "South America"), _Place("53LPC", "AUS", "Oceania"),
    ),
    "delta-coast": (
        _Place("48PXS", "VNM", "Asia"), _Place("15RYP", "USA", "North America"),
        _Place("31UET", "NLD", "Europe"), _Place("46QBK", "BGD", "Asia"),
    ),
    "desert": (
        _Place("32RPQ", "LBY", "Africa"), _Place("38RLP", "SAU", "Asia"),
        _Place("19KEQ", "CHL", "South America"), _Place("52JFS", "AUS", "Oceania"),
    ),
}  # fmt: skip
_ORDER: tuple[Kind, ...] = (
    "tropical-frontier", "rainfed", "urban-fringe", "forest",
    "irrigated", "savanna", "delta-coast", "desert",
)  # fmt: skip
_BIOMES: dict[Kind, str] = {
    "rainfed": "Temperate Broadleaf & Mixed Forests",
    "tropical-frontier": "Tropical & Subtropical Moist Broadleaf Forests",
    "urban-fringe": "Temperate Broadleaf & Mixed Forests",
    "irrigated": "Deserts & Xeric Shrublands",
    "forest": "Boreal Forests/Taiga",
    "savanna": "Tropical & Subtropical Grasslands, Savannas & Shrublands",
    "delta-coast": "Flooded Grasslands & Savannas",
    "desert": "Deserts & Xeric Shrublands",
}


@dataclass(frozen=True)
class Params:
    """Process parameters of one region; lengths in 10 m pixels, rates per year, times in days.

    Shares are fractions of the area (forest, water) or of the open land (crop). Fronts move at
    ``*_speed`` from ``*_start`` in 2017; inside the front a parcel converts with ``*_hazard``.
    """

    kind: Kind
    south: bool
    forest: float
    crop: float
    bare: float
    water: float
    parcel: float
    clear_hazard: float
    clear_start: float
    clear_speed: float
    regrow: float
    urban_hazard: float
    urban_start: float
    urban_speed: float
    rotation: float
    season: float
    stretch: float
    greenness: float
    evergreen: float
    soil: float
    vigour: float
    vigour_memory: float
    trend: float
    cloudiness: float
    relief: float


@dataclass(frozen=True)
class _Base:
    """Centre values of the parameters for one kind of ground."""

    forest: float
    crop: float
    bare: float
    water: float
    parcel: float
    clear: float
    urban: float
    green: float
    evergreen: float
    soil: float
    cloud: float
    relief: float


_BASES: dict[Kind, _Base] = {
    "rainfed": _Base(0.16, 0.88, 0.0, 0.02, 160, 0.05, 0.30, 1.0, 0.3, 0.9, 0.45, 0.03),
    "tropical-frontier": _Base(0.78, 0.25, 0.0, 0.03, 190, 0.40, 0.15, 1.0, 1.0, 0.8, 0.50, 0.05),
    "urban-fringe": _Base(0.12, 0.80, 0.02, 0.02, 100, 0.04, 0.55, 0.95, 0.4, 1.0, 0.40, 0.02),
    "irrigated": _Base(0.0, 0.72, 1.0, 0.02, 130, 0.0, 0.25, 1.0, 0.5, 1.5, 0.12, 0.02),
    "forest": _Base(0.74, 0.15, 0.0, 0.07, 230, 0.16, 0.10, 0.95, 0.8, 0.7, 0.50, 0.10),
    "savanna": _Base(0.24, 0.32, 0.05, 0.01, 140, 0.12, 0.20, 0.8, 0.3, 1.2, 0.30, 0.04),
    "delta-coast": _Base(0.08, 0.85, 0.0, 0.24, 110, 0.05, 0.30, 1.0, 0.5, 0.8, 0.45, 0.0),
    "desert": _Base(0.0, 0.04, 1.0, 0.0, 200, 0.0, 0.12, 0.5, 0.5, 1.7, 0.06, 0.12),
}


def params(spec: SimulatedSpec, region: Region) -> Params:
    """Draw the process parameters of a region; test regions are drawn from other ranges.

    Test regions have faster fronts, larger hazards and parcels, and shifted, longer seasons. A
    model has to infer the process from the context, because the training regions do not show it.
    """
    base = _BASES[_kind(spec, region.name)]
    draw = stream(spec.seed, region.name, "params")
    test = region.split == "test"
    scale = spec.size / 256.0

    def around(centre: float, spread: float) -> float:
        return float(centre * (1.0 + spread * (2.0 * draw.random() - 1.0)))

    def between(low: float, high: float) -> float:
        return float(low + (high - low) * draw.random())

    side = 1.0 if draw.random() < 0.5 else -1.0
    return Params(
        kind=_kind(spec, region.name),
        south=region.epsg >= 32700,
        forest=around(base.forest, 0.15),
        crop=around(base.crop, 0.08),
        bare=base.bare,
        water=around(base.water, 0.4),
        parcel=around(base.parcel, 0.2) * (between(1.3, 1.7) if test else 1.0),
        clear_hazard=min(0.75, around(base.clear, 0.25) * (between(1.2, 1.6) if test else 1.0)),
        clear_start=between(7.0, 11.0) * scale,
        clear_speed=(between(3.2, 4.8) if test else between(1.8, 3.4)) * scale,
        regrow=between(0.3, 0.6),
        urban_hazard=min(0.75, around(base.urban, 0.2) * (between(1.1, 1.35) if test else 1.0)),
        urban_start=between(18.0, 30.0) * scale * (1.5 if base.urban > 0.4 else 0.8),
        urban_speed=(between(1.6, 3.0) if test else between(0.8, 2.0)) * scale,
        rotation=between(0.72, 0.82) if test else between(0.82, 0.94),
        season=side * between(12.0, 28.0) if test else between(-10.0, 10.0),
        stretch=between(1.1, 1.25) if test else between(0.9, 1.08),
        greenness=around(base.green, 0.06),
        evergreen=base.evergreen,
        soil=around(base.soil, 0.12),
        vigour=between(0.05, 0.08) if test else between(0.04, 0.07),
        vigour_memory=between(0.45, 0.75),
        trend=between(-0.008, 0.008),
        cloudiness=around(0.75 * base.cloud, 0.2),
        relief=base.relief,
    )


def _kind(spec: SimulatedSpec, name: str) -> Kind:
    number = _number(spec, name)
    split_start = 0
    for count in (spec.train, spec.val, spec.test):
        if number < split_start + count:
            # Every split starts with the first kind.
            return _ORDER[(number - split_start) % len(_ORDER)]
        split_start += count
    raise AssertionError("a region number lies in some split")


def _number(spec: SimulatedSpec, name: str) -> int:
    known = [_name(i) for i in range(spec.regions)]
    if name not in known:
        raise unknown("simulated region", name, known)
    return known.index(name)


def _name(number: int) -> str:
    return f"sim-{number + 1:02d}"


def simulated_regions(spec: SimulatedSpec) -> tuple[Region, ...]:
    """Return the regions of a simulated Earth: ``sim-01`` … in the order train, val, test.

    Their grids are real: UTM, on the 5120 m lattice of existing MGRS tiles. Their pixels are
    simulated; title and reason state this.
    """
    splits = ["train"] * spec.train + ["val"] * spec.val + ["test"] * spec.test
    used: dict[Kind, int] = {}
    found = []
    for number, split in enumerate(splits):
        kind = _kind(spec, _name(number))
        turn = used.get(kind, 0)
        used[kind] = turn + 1
        found.append(_region(spec, number, split, kind, turn))
    return tuple(found)


def _region(spec: SimulatedSpec, number: int, split: str, kind: Kind, turn: int) -> Region:
    place = _PLACES[kind][turn % len(_PLACES[kind])]
    left, top = tile_origin(place.tile)
    draw = stream(spec.seed, _name(number), "place")
    extent = spec.size * 10
    # If a kind has more regions than tiles, a tile is used again at another lattice point.
    last = (109_800 - 2_000 - extent) // LATTICE_M
    east, south = (int(v) for v in draw.integers(1, last + 1, size=2))
    return Region.model_validate(
        {
            "name": _name(number),
            "epsg": tile_epsg(place.tile),
            "origin": (left + LATTICE_M * east, top - LATTICE_M * south),
            "split": split,
            "tile": place.tile,
            "size": spec.size,
            "title": f"Simulated {kind.replace('-', ' ')} {number + 1}",
            "country": place.country,
            "continent": place.continent,
            "biome": _BIOMES[kind],
            "stratum": kind,
            "why": "Simulated ground on a real grid; it says nothing about this place.",
            "change": f"Simulated process {VERSION}.",
            "role": "stable" if kind == "desert" else "change-prone",
            "pseudo_invariant": kind == "desert",
            "water": round(float(np.clip(_BASES[kind].water, 0, 1)), 2),
        }
    )


def find_region(spec: SimulatedSpec, name: str) -> Region:
    """Return one simulated region.

    Raises:
        UnknownName: if there is none of this name.
    """
    return simulated_regions(spec)[_number(spec, name)]
