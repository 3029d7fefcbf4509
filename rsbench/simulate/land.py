"""Static ground of a region: parcels, cover, roads, water and texture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rsbench.simulate.random import F32, F64, open_field, settle, stream
from rsbench.simulate.regions import Params

I32 = npt.NDArray[np.int32]
# Cover of a pixel before anything is cleared or built.
WATER, ROAD, FOREST, GRASS, BARE, CROP = range(6)
# Texture groups: the brightness pattern of a cover.
SMOOTH, NATURAL, FIELD, CANOPY, TOWN = range(5)
GROUPS = 5


@dataclass(frozen=True)
class Land:
    """Static ground of one region.

    ``cover`` (H, W): the six covers above. ``parcel`` (H, W): parcel number.
    ``texture`` (G, H, W): multiplies reflectance, about 1. ``frontier``, ``town``: distance of
    each parcel (P,) from the start of clearing and building, in pixels. ``wooded`` (P,): contains
    forest that can be cleared. ``slope`` (H, W): pattern of the trend of vigour, about ±1.
    """

    cover: npt.NDArray[np.uint8]
    parcel: I32
    texture: F32
    frontier: F64
    town: F64
    wooded: npt.NDArray[np.bool_]
    slope: F32
    parcels: int


def make_land(seed: int, name: str, size: int, params: Params) -> Land:
    """Make the static ground of a region (size × size pixels of 10 m)."""
    fields = stream(seed, name, "land")
    warp = np.stack([open_field(fields, size, slope=7.0, outer=size / 4) for _ in range(2)])
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    bent = (y + 6.0 * warp[0], x + 6.0 * warp[1])
    district, angles = _districts(fields, size, bent)
    parcel = _parcels(fields, bent, district, angles, params)
    count = int(parcel.max()) + 1
    road_distance = _roads(fields, size, bent, params)
    cover = _cover(fields, size, bent, parcel, road_distance, params)
    town_distance = _town(fields, size, bent, road_distance)
    forest = cover == FOREST
    return Land(
        cover=cover,
        parcel=parcel,
        texture=_texture(fields, parcel, district, angles, bent, params),
        frontier=_mean(parcel, road_distance, count),
        town=_mean(parcel, town_distance, count),
        wooded=_mean(parcel, forest.astype(np.float64), count) > 0.3,
        slope=open_field(fields, size, slope=3.0, outer=size / 2).astype(np.float32),
        parcels=count,
    )


def _mean(parcel: I32, values: F64, count: int) -> F64:
    flat = parcel.ravel()
    total = np.bincount(flat, weights=values.ravel(), minlength=count)
    mean: F64 = total / np.maximum(np.bincount(flat, minlength=count), 1)
    return settle(mean)


def _districts(draw: np.random.Generator, size: int, bent: tuple[F64, F64]) -> tuple[I32, F64]:
    """Return the district (H, W) of every pixel, and the direction of its fields in radians."""
    count = 3 + int(draw.integers(0, 3))
    centres = draw.random((count, 2)) * size
    angles = draw.random(count) * np.pi
    rough = [open_field(draw, size, slope=2.6, outer=40.0) * 4.0 for _ in range(2)]
    y, x = bent[0] + rough[0], bent[1] + rough[1]
    distance = [(y - cy) ** 2 + (x - cx) ** 2 for cy, cx in centres]
    return np.argmin(np.stack(distance), axis=0).astype(np.int32), angles


def _parcels(
    draw: np.random.Generator,
    bent: tuple[F64, F64],
    district: I32,
    angles: F64,
    params: Params,
) -> I32:
    """Return the parcel (H, W): districts cut into rectangles down to a random size."""
    parcel = np.zeros(district.shape, dtype=np.int32)
    flat, number = parcel.ravel(), 0
    for k, angle in enumerate(angles):
        index = np.flatnonzero(district.ravel() == k)
        if not index.size:
            continue
        cos, sin = float(settle(np.cos(angle))), float(settle(np.sin(angle)))
        y, x = bent[0].ravel()[index], bent[1].ravel()[index]
        u, v = settle(cos * x + sin * y), settle(cos * y - sin * x)
        stack = [np.arange(index.size)]
        while stack:
            part = stack.pop()
            limit = params.parcel * float(settle(np.exp(0.55 * draw.standard_normal(1)))[0])
            if part.size <= limit or part.size < 24:
                flat[index[part]] = number
                number += 1
                continue
            along_u = np.ptp(u[part]) > np.ptp(v[part]) * (0.75 + 0.5 * draw.random())
            axis = (u if along_u else v)[part]
            low, high = axis.min(), axis.max()
            below = axis < low + (0.35 + 0.3 * draw.random()) * (high - low)
            stack += [part[below], part[~below]]
    return parcel


def _roads(draw: np.random.Generator, size: int, bent: tuple[F64, F64], params: Params) -> F64:
    """Distance (pixels) to the nearest road: a main road, and side roads across it."""
    angle = draw.random() * np.pi
    cos, sin = float(settle(np.cos(angle))), float(settle(np.sin(angle)))
    y, x = bent[0] - size / 2, bent[1] - size / 2
    along, across = cos * x + sin * y, cos * y - sin * x
    offset = (draw.random() - 0.5) * 0.4 * size
    distance = np.abs(across - offset)
    spacing = size * (0.34 if params.kind == "tropical-frontier" else 0.5)
    phase = draw.random() * spacing
    side = np.abs((along + phase) % spacing - spacing / 2)
    reach = np.maximum(np.abs(across - offset) - 0.42 * size, 0.0)
    return settle(np.minimum(distance, side + 3.0 * reach))


def _town(draw: np.random.Generator, size: int, bent: tuple[F64, F64], road: F64) -> F64:
    """Distance from the town, shorter along roads, longer in some directions."""
    cy, cx = (0.25 + 0.5 * draw.random(2)) * size
    y, x = bent[0] - cy, bent[1] - cx
    turn = draw.random() * 2 * np.pi
    direction = settle(np.cos(3 * np.arctan2(y, x) + turn))
    radius = settle(np.sqrt(y**2 + x**2)) * (1.0 + 0.2 * direction)
    rough = 3.0 * open_field(draw, size, slope=2.6, outer=30.0)
    return settle(radius - 10.0 * np.exp(-road / 6.0) + rough)


def _quantile(field: F64, share: float) -> npt.NDArray[np.bool_]:
    """Return where a field is in its top ``share``."""
    if share <= 0:
        return np.zeros(field.shape, dtype=bool)
    return field > np.quantile(field, 1.0 - min(share, 1.0))


def _river(
    draw: np.random.Generator, size: int, bent: tuple[F64, F64], params: Params
) -> npt.NDArray[np.bool_]:
    """A winding band of water across the region."""
    angle = draw.random() * np.pi
    cos, sin = float(settle(np.cos(angle))), float(settle(np.sin(angle)))
    y, x = bent[0] - size / 2, bent[1] - size / 2
    bends = open_field(draw, size, slope=5.5, outer=size / 4) * 0.09 * size
    offset = (draw.random() - 0.5) * 0.6 * size
    centre = np.abs(cos * y - sin * x + bends - offset)
    width = 0.9 + (0.2 + 0.8 * draw.random()) * 40.0 * params.water
    return centre < width


def _cover(
    draw: np.random.Generator,
    size: int,
    bent: tuple[F64, F64],
    parcel: I32,
    road: F64,
    params: Params,
) -> npt.NDArray[np.uint8]:
    count = int(parcel.max()) + 1
    wood = open_field(draw, size, slope=2.8, outer=size / 4)
    tilled = open_field(draw, size, slope=3.0, outer=size / 4)
    lakes = open_field(draw, size, slope=3.2, outer=size / 6)
    dice = draw.random((2, count))
    # Fields are whole parcels; most are adjacent, some are isolated.
    score = _mean(parcel, tilled, count) + 0.9 * (dice[0] - 0.5)
    cropped = _quantile(score, params.crop)[parcel]
    # Natural forest follows the ground; planted forest fills parcels.
    grove = (_mean(parcel, wood, count) + 0.8 * (dice[1] - 0.5))[parcel]
    wooded = _quantile(wood if params.forest > 0.5 else 0.5 * wood + 0.5 * grove, params.forest)
    cover = np.full((size, size), BARE if params.bare >= 1 else GRASS, dtype=np.uint8)
    if 0 < params.bare < 1:
        cover[_quantile(lakes - wood, params.bare)] = BARE
    cover[cropped] = CROP
    cover[wooded] = FOREST
    cover[road < 0.8] = ROAD
    if params.kind == "delta-coast":
        sea = open_field(draw, size, slope=3.8, outer=float(size))
        cover[_quantile(sea, params.water * 0.75)] = WATER
    if params.kind == "forest":
        cover[_quantile(lakes, params.water)] = WATER
    channels = {"delta-coast": 3, "tropical-frontier": 1, "rainfed": 1, "irrigated": 1}
    for _ in range(channels.get(params.kind, 0)):
        cover[_river(draw, size, bent, params)] = WATER
    return cover


def _texture(
    draw: np.random.Generator,
    parcel: I32,
    district: I32,
    angles: F64,
    bent: tuple[F64, F64],
    params: Params,
) -> F32:
    """Return brightness patterns (G, H, W) with mean about 1, from 0.45 to 1.9."""
    size, count = parcel.shape[0], int(parcel.max()) + 1
    ground = open_field(draw, size, slope=2.4, outer=size / 3)
    fine = open_field(draw, size, slope=1.2, outer=24.0)
    crown = open_field(draw, size, slope=0.9, outer=8.0)
    height = open_field(draw, size, slope=3.4, outer=size / 2)
    shade = np.gradient(height)[0] - np.gradient(height)[1]
    relief = params.relief * shade / max(float(shade.std()), 1e-6)
    house = draw.standard_normal((size, size))
    block = (draw.standard_normal(count) * 0.10)[parcel]
    lawn = draw.random(count)[parcel]

    edge = np.zeros(parcel.shape, dtype=bool)
    edge[1:] |= parcel[1:] != parcel[:-1]
    edge[:, 1:] |= parcel[:, 1:] != parcel[:, :-1]
    cos, sin = settle(np.cos(angles))[district], settle(np.sin(angles))[district]
    across = cos * bent[0] - sin * bent[1]
    along = cos * bent[1] + sin * bent[0]
    rows = settle(np.sin(across * 2.0 + block * 40.0))
    street = ((across % 9.0) < 1.1) | ((along % 13.0) < 1.1)

    texture = np.ones((GROUPS, size, size))
    texture[SMOOTH] += 0.05 * ground + 0.01 * fine
    texture[NATURAL] += 0.07 * ground + 0.06 * fine + 1.2 * relief
    texture[FIELD] += 0.7 * block + 0.035 * ground + 0.02 * fine + 0.015 * rows
    texture[FIELD] -= 0.16 * (edge & (lawn < 0.7))
    texture[CANOPY] += 0.05 * ground + 0.09 * crown + 1.5 * relief
    texture[TOWN] += 0.6 * block + 0.34 * house * (0.6 + 0.8 * lawn) - 0.24 * street
    return settle(np.clip(_through_optics(texture), 0.45, 1.9)).astype(np.float32)


def _through_optics(texture: F64) -> F64:
    """Blur patterns (G, H, W) with the weights 1, 2, 1 along rows and columns."""
    for axis in (1, 2):
        pad = [(1, 1) if k == axis else (0, 0) for k in range(3)]
        wide = np.pad(texture, pad, mode="edge")
        low, middle, high = (
            np.take(wide, range(i, i + texture.shape[axis]), axis=axis) for i in (0, 1, 2)
        )
        texture = 0.25 * (low + high) + 0.5 * middle
    return texture
