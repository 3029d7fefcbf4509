"""STAC documents of simulated scenes, with the properties a provider's items have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from rsbench.catalog import Region, SimulatedSpec
from rsbench.core.grid import Grid
from rsbench.simulate.coarse import BANDS, NODATA, SCALE, STATE
from rsbench.simulate.pair_spec import FINE as PHOTO
from rsbench.simulate.pair_spec import LABELS
from rsbench.simulate.random import VERSION
from rsbench.simulate.scene import Frame, Scene, sensor_bands, sensor_grid

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSIONS = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
]
_COMMON = {
    "B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "blue": "blue", "green": "green",
    "red": "red", "nir08": "nir08", "swir16": "swir16", "swir22": "swir22",
}  # fmt: skip
_TITLES = {
    "s2": "Sentinel-2 Level-2A",
    "landsat": "Landsat C2 Level-2",
    "mod09a1": "MODIS surface reflectance of single days",
    PHOTO: "aerial photographs",
    LABELS: "map of classes",
}
_NOTE = "Simulated by rsbench; it shows no real place."


def _stamp(when: datetime) -> str:
    return when.strftime("%Y%m%dT%H%M%S")


def _iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def _generated(scene: Scene, *, older: bool) -> datetime:
    late = scene.older and not older
    return scene.when + (timedelta(days=2100) if late else timedelta(hours=5, minutes=7))


def scene_id(region: Region, scene: Scene, *, older: bool = False) -> str:
    """Return the item id, in the pattern of the provider's ids."""
    if scene.sensor == "landsat":
        path, row = _path_row(region)
        number = "08" if scene.when.year < 2022 or scene.number % 2 else "09"
        return f"LC{number}_L2SP_{path}{row}_{scene.when:%Y%m%d}_02_T1"
    craft = "S2A" if scene.number % 2 else "S2B"
    made = _stamp(_generated(scene, older=older))
    return f"{craft}_MSIL2A_{_stamp(scene.when)}_R{_orbit(region)}_T{region.tile}_{made}"


def _number(region: Region) -> int:
    return int(region.name.rpartition("-")[2])


def _orbit(region: Region) -> str:
    return f"{1 + 11 * _number(region) % 143:03d}"


def _path_row(region: Region) -> tuple[str, str]:
    return f"{1 + _number(region) % 233:03d}", f"{1 + _number(region) // 233:03d}"


def footprint(grid: Grid) -> tuple[dict[str, Any], list[float]]:
    """Return GeoJSON polygon and bounding box of a grid, in degrees."""
    from rasterio.warp import transform

    a, _, west, _, e, north = grid.transform
    east, south = west + a * grid.width, north + e * grid.height
    xs, ys = [west, east, east, west, west], [south, south, north, north, south]
    lon, lat = transform(grid.crs, "EPSG:4326", xs, ys)
    ring = [[round(x, 6), round(y, 6)] for x, y in zip(lon, lat, strict=True)]
    box = [round(v, 6) for v in (min(lon), min(lat), max(lon), max(lat))]
    return {"type": "Polygon", "coordinates": [ring]}, box


def coarse_id(region: Region, when: datetime, tile: str) -> str:
    """Return the item id of a coarse image, in the pattern of MODIS.

    The time of production has the region's number in place of the day, since regions may share a
    tile.
    """
    return f"MOD09A1.A{when:%Y%j}.{tile}.061.{when.year + 1}{_number(region):03d}000000"


def coarse_json(region: Region, when: datetime, tile: str, grid: Grid) -> dict[str, Any]:
    """Return the STAC item of a coarse image of one day; asset links are relative to the item."""
    day = f"{when:%Y-%m-%d}"
    properties = {
        "datetime": None,
        "start_datetime": f"{day}T00:00:00Z",
        "end_datetime": f"{day}T23:59:59Z",
        "created": f"{when.year + 1}-12-31T00:00:00Z",
        "description": _NOTE,
        "rsbench:simulated": VERSION,
        "proj:code": None,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": _transform(grid),
    }
    declared = {"scale": SCALE, "offset": 0.0, "nodata": NODATA, "data_type": "int16"}
    assets: dict[str, Any] = {
        f"sur_refl_{band}": {**_asset(f"sur_refl_{band}", grid, 1), "raster:bands": [declared]}
        for band in BANDS.values()
    }
    assets[STATE] = _asset(STATE, grid, 1)
    name = coarse_id(region, when, tile)
    return _document(name, "modis-09A1-061", grid, properties, assets)


def raster_json(
    name: str, collection: str, asset: str, when: datetime, grid: Grid
) -> dict[str, Any]:
    """Return the STAC item of an aerial photograph or a map of classes, with one file."""
    properties = {
        "datetime": _iso(when),
        "description": _NOTE,
        "gsd": grid.transform[0],
        "rsbench:simulated": VERSION,
        "proj:code": grid.crs,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": _transform(grid),
    }
    return _document(name, collection, grid, properties, {asset: _asset(asset, grid, 1)})


def item_json(region: Region, scene: Scene, frame: Frame, *, older: bool) -> dict[str, Any]:
    """Return the STAC item of a scene; asset links are relative to the item."""
    grid = sensor_grid(region, scene.sensor)
    s2 = scene.sensor == "s2"
    collection = "sentinel-2-l2a" if s2 else "landsat-c2-l2"
    properties = {
        "datetime": _iso(scene.when),
        "description": _NOTE,
        "rsbench:simulated": VERSION,
        "proj:code": grid.crs,
        "proj:shape": [grid.height, grid.width],
        "proj:transform": _transform(grid),
        "eo:cloud_cover": round(frame.cloud_cover, 4),
        **(_s2(region, scene, frame, older=older) if s2 else _landsat(region, scene)),
    }
    name = scene_id(region, scene, older=older)
    return _document(name, collection, grid, properties, _assets(scene.sensor, grid))


def _document(
    name: str, collection: str, grid: Grid, properties: dict[str, Any], assets: dict[str, Any]
) -> dict[str, Any]:
    geometry, box = footprint(grid)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": _EXTENSIONS,
        "id": name,
        "collection": collection,
        "bbox": box,
        "geometry": geometry,
        "properties": properties,
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": "application/json"},
            {"rel": "parent", "href": "../../collection.json", "type": "application/json"},
            {"rel": "root", "href": "../../../catalog.json", "type": "application/json"},
        ],
        "assets": assets,
    }


def _transform(grid: Grid) -> list[float]:
    return list(grid.transform)


def _s2(region: Region, scene: Scene, frame: Frame, *, older: bool) -> dict[str, Any]:
    baseline = scene.older if older else scene.baseline
    craft = "S2A" if scene.number % 2 else "S2B"
    made = _generated(scene, older=older)
    absolute = 20000 + (scene.when.year - 2017) * 5000 + scene.when.timetuple().tm_yday * 14
    code = baseline.replace(".", "")
    orbit = _orbit(region)
    sensed = _stamp(scene.when)
    return {
        "platform": "Sentinel-2A" if craft == "S2A" else "Sentinel-2B",
        "constellation": "Sentinel 2",
        "instruments": ["msi"],
        "sat:relative_orbit": int(orbit),
        "sat:orbit_state": "descending",
        "s2:mgrs_tile": region.tile,
        "s2:product_type": "S2MSI2A",
        "s2:datatake_id": f"G{craft}_{sensed}_{absolute:06d}_N{baseline}",
        "s2:product_uri": (
            f"{craft}_MSIL2A_{sensed}_N{code}_R{orbit}_T{region.tile}_{_stamp(made)}.SAFE"
        ),
        "s2:processing_baseline": baseline,
        "s2:generation_time": _iso(made),
        "s2:nodata_pixel_percentage": round(frame.nodata, 4),
    }


def _landsat(region: Region, scene: Scene) -> dict[str, Any]:
    path, row = _path_row(region)
    nine = scene_id(region, scene).startswith("LC09")
    return {
        "platform": "landsat-9" if nine else "landsat-8",
        "instruments": ["oli", "tirs"],
        "gsd": 30,
        "landsat:wrs_path": path,
        "landsat:wrs_row": row,
        "landsat:collection_number": "02",
        "landsat:collection_category": "T1",
        "landsat:correction": "L2SP",
    }


def _assets(sensor: str, grid: Grid) -> dict[str, Any]:
    assets: dict[str, Any] = {}
    for band in sensor_bands(sensor):
        assets[band] = {
            **_asset(band, grid, 1),
            "eo:bands": [{"name": band, "common_name": _COMMON[band]}],
        }
        if sensor == "landsat":
            assets[band]["raster:bands"] = [
                {"scale": 2.75e-05, "offset": -0.2, "nodata": 0, "data_type": "uint16"}
            ]
    mask, step = ("SCL", 2) if sensor == "s2" else ("qa_pixel", 1)
    assets[mask] = _asset(mask, grid, step)
    return assets


def _asset(name: str, grid: Grid, step: int) -> dict[str, Any]:
    a, b, c, d, e, f = grid.transform
    return {
        "href": f"./{name}.tif",
        "type": _COG,
        "roles": ["data"],
        "gsd": a * step,
        "proj:shape": [grid.height // step, grid.width // step],
        "proj:transform": [a * step, b, c, d, e * step, f],
        "proj:bbox": [c, f + e * grid.height, c + a * grid.width, f],
    }


def collection_json(
    spec: SimulatedSpec,
    name: str,
    sensor: str,
    boxes: Sequence[Sequence[float]],
    links: Sequence[str],
) -> dict[str, Any]:
    """Return a collection that links all its items."""
    lows = [min(box[i] for box in boxes) for i in (0, 1)]
    highs = [max(box[i] for box in boxes) for i in (2, 3)]
    first, last = f"{spec.years[0]}-01-01T00:00:00Z", f"{spec.years[1]}-12-31T23:59:59Z"
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "title": f"Simulated {_TITLES[sensor]}",
        "description": f"{_NOTE} Version {VERSION}.",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[*lows, *highs]]},
            "temporal": {"interval": [[first, last]]},
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{link}", "type": "application/geo+json"}
                for link in links
            ),
        ],
    }


def root_json(collections: Sequence[str]) -> dict[str, Any]:
    """Return the root of the static catalogue."""
    return {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": VERSION,
        "title": "Simulated Earth",
        "description": _NOTE,
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            *(
                {"rel": "child", "href": f"./{name}/collection.json", "type": "application/json"}
                for name in collections
            ),
        ],
    }
