"""A small made-up catalogue of Landsat scenes and MODIS tiles over one place in Australia.

The ground is a function of place and day. Landsat's pixels take it at their middles; MODIS's are
means over places of their own sinusoidal pixels, by the closed form of that projection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from build_fixtures import write_raster
from pyproj import Transformer

from rsbench.catalog import Recipe, recipe_of

EPSG = 32655
SIZE = 160  # fine pixels of the place: 10 blocks
# Landsat's corners are 15 m past multiples of 30; here the tiles h29v12 and h30v12 meet.
PLACE = (483_855, -3_892_305)
SCENE = (PLACE[0] - 960, PLACE[1] + 960)
SCENE_SIZE = 224
R, PIXEL = 6_371_007.181, 463.3127165279165
TILE = 2400 * PIXEL
LEFT, TOP = -20_015_109.354, 10_007_554.677
SINUSOIDAL = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={R} +units=m +no_defs"
BANDS = {"blue": 0.5, "green": 0.7, "red": 0.9, "nir08": 1.6, "swir16": 1.3, "swir22": 1.0}
MODIS = {3: "blue", 4: "green", 1: "red", 2: "nir08", 6: "swir16", 7: "swir22"}
NATIVE = (28, 48)  # rows, columns of MODIS pixels around the place

_DRAW = np.random.default_rng(5)
WAVES = list(
    zip(
        2 * np.pi / _DRAW.uniform(2500, 8000, 24),
        _DRAW.uniform(0, np.pi, 24),
        _DRAW.uniform(0, 2 * np.pi, 24),
        strict=True,
    )
)


def ground(x: npt.NDArray[Any], y: npt.NDArray[Any], day: date) -> npt.NDArray[np.float64]:
    """Reflectance of the band of gain 1 at places of the UTM zone: 0.02 to 0.38."""
    total = np.zeros(np.broadcast(x, y).shape)
    turn = day.timetuple().tm_yday / 365
    for n, (k, angle, phase) in enumerate(WAVES):
        east, north = k * np.cos(angle) * (x - PLACE[0]), k * np.sin(angle) * (y - PLACE[1])
        weight = 1 + 0.5 * np.sin(2 * np.pi * turn + n)
        total += weight * np.sin(east + north + phase)
    return np.asarray(0.2 + 0.18 * np.clip(total / 10, -1, 1))


def fine_ground(day: date, origin: tuple[int, int], size: int) -> npt.NDArray[np.float64]:
    x = origin[0] + 30 * (np.arange(size) + 0.5)
    y = origin[1] - 30 * (np.arange(size) + 0.5)
    return ground(*np.meshgrid(x, y), day)


def begin_of(day: date) -> date:
    """The first day of the eight-day composite that holds a day."""
    first = date(day.year, 1, 1)
    return first + timedelta(days=8 * ((day - first).days // 8))


def native_corner() -> tuple[int, int]:
    """Row and column (over the whole Earth) of the first MODIS pixel that is written."""
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(
        PLACE[0] + 15 * SIZE, PLACE[1] - 15 * SIZE
    )
    x = R * np.radians(lon) * np.cos(np.radians(lat))
    y = R * np.radians(lat)
    row, column = int((TOP - y) / PIXEL), int((x - LEFT) / PIXEL)
    return row - NATIVE[0] // 2, column - NATIVE[1] // 2


@cache
def native_ground(day: date, east: float = 0.0) -> npt.NDArray[np.float64]:
    """Mean ground of MODIS pixels; ``east``: metres that it lies too far east."""
    row, column = native_corner()
    n = 5
    y = TOP - PIXEL * (row + (np.arange(NATIVE[0] * n) + 0.5) / n)
    x = LEFT + PIXEL * (column + (np.arange(NATIVE[1] * n) + 0.5) / n)
    xs, ys = np.meshgrid(x, y)
    lat = ys / R
    lon = xs / (R * np.cos(lat))
    to = Transformer.from_crs(4326, EPSG, always_xy=True)
    e, north = to.transform(np.degrees(lon), np.degrees(lat))
    shown = ground(e - east, north, day)
    return np.asarray(shown.reshape(NATIVE[0], n, NATIVE[1], n).mean(axis=(1, 3)))


def _box(corners: list[tuple[float, float]]) -> dict[str, Any]:
    ring = [[float(a), float(b)] for a, b in (*corners, corners[0])]
    xs, ys = [p[0] for p in ring], [p[1] for p in ring]
    return {
        "bbox": [min(xs), min(ys), max(xs), max(ys)],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def _item(root: Path, name: str, collection: str, **rest: Any) -> None:
    item = {"type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection}
    (root / name / "item.json").write_text(json.dumps({**item, "links": [], **rest}))


def landsat(
    root: Path,
    day: date,
    *,
    path: str = "091",
    platform: str = "landsat-8",
    epsg: int = EPSG,
    rows: slice = slice(None),
    spoil: Callable[[npt.NDArray[Any], npt.NDArray[Any]], None] | None = None,
) -> str:
    """A scene of a local day, seen a few minutes before midnight of UTC of the day before.

    ``rows``: only these are in the file, as in one of two rows of a pass. ``spoil`` changes QA
    words and values ``(C, H, W)`` of the whole scene in place.
    """
    seen = datetime.combine(day, datetime.min.time()) - timedelta(minutes=7)
    name = f"L_{platform}_{path}_{seen:%Y%m%d}_{rows.start or 0}"
    land = fine_ground(day, SCENE, SCENE_SIZE)
    values = np.stack([np.rint((g * land + 0.2) / 2.75e-5) for g in BANDS.values()])
    values = values.astype(np.uint16)
    words = np.full((SCENE_SIZE, SCENE_SIZE), 1 << 6, np.uint16)
    if spoil:
        spoil(words, values)
    top = SCENE[1] - 30 * (rows.start or 0)
    grid = {"gsd": 30.0, "origin": (SCENE[0], top), "crs": f"EPSG:{epsg}"}
    for band, plane in zip(BANDS, values, strict=True):
        write_raster(root / name / f"{band}.tif", plane[rows], **grid)  # type: ignore[arg-type]
    write_raster(root / name / "qa.tif", words[rows], **grid)  # type: ignore[arg-type]
    height = words[rows].shape[0]
    to = Transformer.from_crs(EPSG, 4326, always_xy=True)
    right, bottom = SCENE[0] + 30 * SCENE_SIZE, top - 30 * height
    corners = [
        to.transform(*p)
        for p in ((SCENE[0], bottom), (right, bottom), (right, top), (SCENE[0], top))
    ]
    declared = [{"scale": 2.75e-5, "offset": -0.2}]
    assets = {b: {"href": f"./{b}.tif", "raster:bands": declared} for b in BANDS}
    _item(
        root,
        name,
        "landsat-c2-l2",
        **_box(corners),
        properties={
            "datetime": f"{seen.isoformat()}Z",
            "eo:cloud_cover": 5.0,
            "landsat:collection_category": "T1",
            "landsat:wrs_path": path,
            "platform": platform,
            "proj:epsg": epsg,
            "created": "2021-01-01T00:00:00Z",
        },
        assets={**assets, "qa_pixel": {"href": "./qa.tif"}},
    )
    return name


def modis(
    root: Path,
    day: date,
    *,
    product: str = "MOD09A1",
    shows: date | None = None,
    east: float = 0.0,
    made: str = "2021001000000",
    spoil: Callable[[dict[str, npt.NDArray[Any]]], None] | None = None,
) -> list[str]:
    """Both tiles of the image that holds a day; ``shows``: ground of another day.

    ``spoil`` changes planes in place: a plane per band number, ``state`` and ``day``.
    """
    daily = product == "MCD43A4"
    begin = day if daily else begin_of(day)
    land = native_ground(shows or day, east)
    planes: dict[str, npt.NDArray[Any]] = {
        str(b): np.rint(1e4 * BANDS[MODIS[b]] * land).astype(np.int16)
        if b in MODIS
        else np.zeros(NATIVE, np.int16)
        for b in range(1, 8)
    }
    planes["state"] = np.zeros(NATIVE, np.uint8 if daily else np.uint16)
    planes["day"] = np.full(NATIVE, day.timetuple().tm_yday, np.uint16)
    if spoil:
        spoil(planes)
    row, column = native_corner()
    names = []
    for h in (29, 30):
        inside = (column + np.arange(NATIVE[1])) // 2400 == h
        assert inside.any(), "the place lies on both tiles"
        first = int(np.flatnonzero(inside)[0])
        name = f"{product}.A{begin:%Y%j}.h{h}v12.061.{made}"
        origin = (LEFT + PIXEL * (column + first), TOP - PIXEL * row)
        for key, plane in planes.items():
            write_raster(
                root / name / f"{key}.tif",
                plane[:, inside],
                gsd=PIXEL,
                origin=origin,
                crs=SINUSOIDAL,
            )
        _modis_item(root, name, begin, daily=daily)
        names.append(name)
    return names


def _modis_item(root: Path, name: str, begin: date, *, daily: bool) -> None:
    band = "Nadir_Reflectance_Band{}" if daily else "sur_refl_b0{}"
    word = "BRDF_Albedo_Band_Mandatory_Quality_Band{}"
    declared = [{"scale": 1e-4, "data_type": "int16"}]
    assets: dict[str, Any] = {
        band.format(b): {"href": f"./{b}.tif", "raster:bands": declared} for b in range(1, 8)
    }
    if daily:
        assets |= {word.format(b): {"href": "./state.tif"} for b in range(1, 8)}
    else:
        assets["sur_refl_state_500m"] = {"href": "./state.tif"}
        assets["sur_refl_day_of_year"] = {"href": "./day.tif"}
    last = begin + timedelta(days=7)
    middle = f"{begin + timedelta(days=3)}T23:59:59.999500Z" if daily else None
    _item(
        root,
        name,
        "modis-43A4-061" if daily else "modis-09A1-061",
        **_box([(135.0, -40.0), (155.0, -40.0), (155.0, -30.0), (135.0, -30.0)]),
        properties={
            "datetime": middle,
            "start_datetime": f"{begin}T00:00:00Z",
            "end_datetime": f"{last}T23:59:59Z",
            "proj:epsg": None,
            "platform": "",
            "created": f"{name[-13:-9]}-01-01T00:00:00Z",
        },
        assets=assets,
    )


def recipe(daily: bool = False, **changes: Any) -> Recipe:
    coarse = "mcd43a4" if daily else "mod09a1"
    spec: dict[str, Any] = {"fine": "landsat", "coarse": coarse}
    if daily:
        spec |= {"product": "MCD43A4.*", "days": 1}
    else:
        spec |= {"product": "MOD09A1.*", "days": 8, "day_layer": "sur_refl_day_of_year"}
    spec |= changes.pop("fusion", {})
    place: Mapping[str, Any] = {
        "name": "Fields", "epsg": EPSG, "origin": PLACE, "size": SIZE, "gsd": 30.0,
        "split": "test", "stratum": "phenology",
    }  # fmt: skip
    values = {
        "name": "handmade-triplets",
        "title": "Hand-made triplets",
        "kind": "triplets",
        "sensors": ("landsat", coarse),
        "bands": {"landsat": tuple(BANDS), coarse: ("b03", "b04", "b01", "b02", "b06", "b07")},
        "years": (2020, 2020),
        "floor": False,
        "fusion": spec,
        "provider": "planetary-computer",
        "regions": (place,),
        "default_preset": "default",
        "default_protocol": "fusion2",
    }
    return recipe_of(values | changes)


def collect(root: Path) -> Path:
    """Write the documents that list the items."""
    from build_fixtures import write_collection

    write_collection(root)
    return root
