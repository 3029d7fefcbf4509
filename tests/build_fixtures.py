"""Small catalogues for tests of the builder: hand-made Sentinel-2 scenes in a folder."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import Recipe, Region

EPSG = 32633
ORIGIN = (500_000, 5_000_020)
TILE = "33TVL"
BANDS = ("B02", "B03")


def recipe(**changes: Any) -> Recipe:
    """A recipe over hand-made scenes: one test and one train region of 48 px in a 96 px tile."""
    x, y = ORIGIN
    values: dict[str, Any] = {
        "name": "handmade",
        "title": "Hand-made",
        "sensors": ("s2",),
        "bands": {"s2": BANDS},
        "years": (2021, 2022),
        "provider": "planetary-computer",
        "regions": (
            region("west", (x, y), "test"),
            region("east", (x + 480, y - 480), "train"),
        ),
        "default_preset": "tiny",
        "default_protocol": "year7",
    }
    return Recipe.model_validate(values | changes)


def region(name: str, origin: tuple[int, int], split: str, **changes: Any) -> Region:
    values = {"name": name, "epsg": EPSG, "origin": origin, "split": split, "size": 48}
    return Region.model_validate({**values, "tile": TILE, **changes})


def simulated_recipe(**changes: Any) -> Recipe:
    """Three simulated regions of 64 px, two years."""
    spec = {
        "seed": 7,
        "regions": 3,
        "train": 1,
        "val": 1,
        "test": 1,
        "size": 64,
        "scenes_per_year": 4,
        "years": (2021, 2023),
        "sensors": ("s2",),
    }
    return Recipe.model_validate(
        {
            "name": "tiny-simulated",
            "title": "Tiny",
            "sensors": ("s2",),
            "bands": {"s2": ("B02", "B03", "B04", "B08")},
            "years": (2021, 2023),
            "provider": "simulated",
            "default_preset": "tiny",
            "default_protocol": "year7",
            "simulated": spec,
        }
        | changes
    )


@cache
def shared_cache() -> str:
    """One cache folder for all tests of a session."""
    folder = tempfile.mkdtemp(prefix="rsbench-test-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def write_raster(
    path: Path,
    values: npt.NDArray[Any],
    *,
    gsd: float = 10.0,
    origin: tuple[float, float] = ORIGIN,
    crs: str | None = f"EPSG:{EPSG}",
    nodata: float | None = None,
    **options: Any,
) -> None:
    import rasterio
    from affine import Affine

    values = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    side = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=values.shape[0],
        height=values.shape[1],
        width=values.shape[2],
        dtype=values.dtype,
        crs=crs,
        transform=Affine(gsd, 0, origin[0], 0, -gsd, origin[1]),
        nodata=nodata,
        **{**side, **options},
    ) as data:
        data.write(values)


def write_collection(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    document = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "sentinel-2-l2a",
        "description": "Hand-made scenes",
        "license": "CC0-1.0",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [
            {"rel": "item", "href": f"./{path.relative_to(root).as_posix()}"}
            for path in sorted(root.rglob("item.json"))
        ],
    }
    (root / "collection.json").write_text(json.dumps(document))


def write_scene(
    root: Path,
    name: str,
    when: str,
    bands: Mapping[str, npt.NDArray[Any]],
    scl: npt.NDArray[np.uint8],
    *,
    baseline: str | None = "02.14",
    datatake: str | None = None,
    generated: str = "2021-01-01T00:00:00Z",
    tile: str = TILE,
    **properties: Any,
) -> Path:
    """Write one scene: 10 m bands (H, W), 20 m classes (H/2, W/2), its item."""
    from pyproj import Transformer

    folder = root / name
    for band, values in bands.items():
        write_raster(folder / f"{band}.tif", values)
    write_raster(folder / "SCL.tif", scl, gsd=20.0)
    height, width = next(iter(bands.values())).shape
    x, y = ORIGIN
    to = Transformer.from_crs(f"EPSG:{EPSG}", "EPSG:4326", always_xy=True)
    west, south = to.transform(x, y - 10 * height)
    east, north = to.transform(x + 10 * width, y)
    box = [west, south, east, north]
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "bbox": box,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": when,
            "eo:cloud_cover": 10.0,
            "s2:mgrs_tile": tile,
            "s2:datatake_id": datatake or f"GS2A_{name}",
            "s2:generation_time": generated,
            **properties,
        },
        "links": [],
        "assets": {band: {"href": f"./{band}.tif"} for band in (*bands, "SCL")},
    }
    if baseline is not None:
        item["properties"]["s2:processing_baseline"] = baseline
    (folder / "item.json").write_text(json.dumps(item))
    write_collection(root)
    return folder


def random_folder(root: Path, *, per_year: int = 3, seed: int = 0) -> Path:
    """Scenes of 96 px in 2021 (no offset) and 2022 (offset 1000), with clouds and gaps."""
    draw = np.random.default_rng(seed)
    for year, baseline, offset in ((2021, "02.14", 0), (2022, "04.00", 1000)):
        for number in range(per_year):
            bands = {}
            for band in BANDS:
                values = draw.integers(1, 6000, (96, 96)).astype(np.uint16) + np.uint16(offset)
                values[draw.random((96, 96)) < 0.02] = 0
                bands[band] = values
            scl = draw.choice(np.array([4, 5, 6, 8, 9, 3, 0], np.uint8), (48, 48))
            when = f"{year}-0{number + 3}-1{number}T10:00:00Z"
            write_scene(root, f"S2_{year}_{number}", when, bands, scl, baseline=baseline)
    return root


def expected(root: Path, region_: Region, year: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The composite by another route: float64, NaN as mask, numpy's nanmedian."""
    import warnings

    import rasterio

    col = (region_.origin[0] - ORIGIN[0]) // 10
    row = (ORIGIN[1] - region_.origin[1]) // 10
    cut = np.s_[row : row + region_.size, col : col + region_.size]
    looks = []
    for path in sorted(root.glob(f"S2_{year}_*/item.json")):
        planes = []
        for band in BANDS:
            with rasterio.open(path.parent / f"{band}.tif") as data:
                planes.append(data.read(1).astype(np.float64)[cut])
        with rasterio.open(path.parent / "SCL.tif") as data:
            scl = np.kron(data.read(1), np.ones((2, 2), np.uint8))[cut]
        cube = np.stack(planes)
        clear = np.isin(scl, [2, 4, 5, 6, 7, 11]) & (cube > 0).all(axis=0)
        if not np.isin(scl, [2, 4, 5, 6, 7, 11]).mean() >= 0.01:
            continue
        if json.loads(path.read_text())["properties"]["s2:processing_baseline"] >= "04.00":
            cube = np.maximum(cube - 1000, 1)
        looks.append(np.where(clear, cube, np.nan))
    stack = np.stack(looks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        median = np.nanmedian(stack, axis=0)
    count = np.isfinite(stack[:, 0]).sum(axis=0)
    return np.nan_to_num(np.rint(median)).astype(np.uint16), count
