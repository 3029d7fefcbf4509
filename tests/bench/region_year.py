"""One region and year made in several ways, each a process of its own, so that memory is its own.

    python -m tests.bench.region_year scenes FOLDER [--years 2021-2021] [--scenes 60]
    python -m tests.bench.region_year ours|tutorial|reader|bound FOLDER [--address URL] …
    python -m tests.bench.region_year years FOLDER --years 2017-2024
    python -m tests.bench.region_year serve FOLDER --latency 0.05

``scenes`` writes the scenes: 2048² pixels of 10 m, blocks of 512, DEFLATE with a ratio of about
1.2, classes of 20 m, half of all pixels clouded. Twelve different ones are repeated over the dates
by hard links, so that every date has files, addresses and caches of its own. ``tutorial`` is
stackstac as its tutorials show it; ``reader`` is stackstac for the pixels and the sorting network
for the median; ``bound`` is what nothing can beat: every block that the region needs decoded once,
straight into place, then the median. Every way prints one line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.compose.median import masked_median
from rsbench.build.engine.builder import build
from rsbench.build.engine.unit import UnitPlan, compose_unit
from rsbench.build.plan.lock import LockAsset, LockItem
from rsbench.build.read.opened import GDAL_ENV
from rsbench.build.read.raster import RasterioEngine
from rsbench.catalog import Recipe, Region, load_sensor
from rsbench.core.grid import Grid
from tests.build_fixtures import EPSG, ORIGIN, TILE, write_collection, write_raster
from tests.support.stac_server import Fault, serve

Pixels = npt.NDArray[Any]

BANDS = ("B02", "B03", "B04", "B08")
FILE, SIDE, BLOCK, FIRST = 2048, 1024, 512, 512
"""Pixels of a file, of the region and of a block, and where the region begins in the file."""
DISTINCT = 12
MASKED = (0, 1, 3, 8, 9, 10)
OFFSET = 1000
PLACE = Region.model_validate(
    {
        "name": "bench",
        "epsg": EPSG,
        "tile": TILE,
        "origin": (ORIGIN[0] + 10 * FIRST, ORIGIN[1] - 10 * FIRST),
        "split": "train",
        "size": SIDE,
    }
)
GRID = Grid(f"EPSG:{EPSG}", (10.0, 0.0, *(float(PLACE.origin[0]), 0.0), -10.0,
            float(PLACE.origin[1])), SIDE, SIDE)  # fmt: skip
ASSETS = (*BANDS, "SCL")


# Scenes ---------------------------------------------------------------------------------


def write_scenes(root: Path, years: tuple[int, int], scenes: int) -> None:
    """Write a static catalogue: ``scenes`` dates in every year."""
    pixels = root / "pixels"
    if not pixels.exists():
        draw = np.random.default_rng(0)
        for number in range(min(DISTINCT, scenes)):
            _write_scene(pixels / f"{number:02d}", draw)
    for year in range(years[0], years[1] + 1):
        for number in range(scenes):
            folder = root / f"S2_{year}_{number:02d}"
            if not folder.exists():
                folder.mkdir()
                for asset in ASSETS:
                    held = pixels / f"{number % DISTINCT:02d}" / f"{asset}.tif"
                    os.link(held, folder / f"{asset}.tif")
                (folder / "item.json").write_text(json.dumps(_item(folder.name, year, number)))
    write_collection(root)


def _write_scene(folder: Path, draw: np.random.Generator) -> None:
    """Smooth ground under noise, as incompressible as real scenes are; round clouds."""
    coarse = draw.integers(1200, 4000, (FILE // 64, FILE // 64))
    ground = np.kron(coarse, np.ones((64, 64), np.int64))
    for band in BANDS:
        noise = draw.integers(0, 2000, (FILE, FILE))
        values = (ground + noise).astype(np.uint16)
        values[:8] = 0
        write_raster(folder / f"{band}.tif", values, blockxsize=BLOCK, blockysize=BLOCK)
    side = FILE // 2
    y, x = np.mgrid[:side, :side]
    classes = np.full((side, side), 4, np.uint8)
    for kind in (8, 9, 3, 10, 8, 9) * 6:
        top, left, radius = *draw.integers(0, side, 2), draw.integers(40, 160)
        classes[(y - top) ** 2 + (x - left) ** 2 < radius**2] = kind
    write_raster(folder / "SCL.tif", classes, gsd=20.0, blockxsize=BLOCK, blockysize=BLOCK)


def _item(name: str, year: int, number: int) -> dict[str, Any]:
    """An item as Planetary Computer gives it."""
    from pyproj import Transformer

    x, y = ORIGIN
    to = Transformer.from_crs(f"EPSG:{EPSG}", "EPSG:4326", always_xy=True)
    west, south = to.transform(x, y - 10 * FILE)
    east, north = to.transform(x + 10 * FILE, y)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    day = np.datetime64(f"{year}-01-03") + 6 * number
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{day}T10:00:00Z",
            "eo:cloud_cover": 50.0,
            "proj:epsg": EPSG,
            "s2:mgrs_tile": TILE,
            "s2:datatake_id": f"GS2A_{name}",
            "s2:generation_time": f"{day}T20:00:00Z",
            "s2:processing_baseline": "05.09",
        },
        "links": [],
        "assets": {
            asset: {
                "href": f"./{asset}.tif",
                "type": "image/tiff",
                "proj:bbox": [x, y - 10 * FILE, x + 10 * FILE, y],
                "proj:shape": [FILE // (2 if asset == "SCL" else 1)] * 2,
                "proj:transform": [_gsd(asset), 0, x, 0, -_gsd(asset), y],
            }
            for asset in ASSETS
        },
    }


def _gsd(asset: str) -> float:
    return 20.0 if asset == "SCL" else 10.0


def _items(root: Path, year: int, scenes: int) -> list[dict[str, Any]]:
    paths = [root / f"S2_{year}_{number:02d}" / "item.json" for number in range(scenes)]
    return [json.loads(path.read_text()) for path in paths]


# Ways -----------------------------------------------------------------------------------


def ours(items: list[dict[str, Any]], root: str, threads: int | None) -> Pixels:
    """The builder's own unit."""
    sensor = load_sensor("s2")
    sensor = sensor.model_copy(update={"bands": tuple(sensor.band(b) for b in BANDS)})
    locked = [
        LockItem(
            id=item["id"],
            datetime=item["properties"]["datetime"],
            datatake=item["properties"]["s2:datatake_id"],
            offset=-OFFSET,
            assets={b: LockAsset(f"{item['id']}/{b}.tif") for b in BANDS},
            masks={"*": LockAsset(f"{item['id']}/SCL.tif")},
        )
        for item in items
    ]
    engine = RasterioEngine(root, threads=threads)
    try:
        made = compose_unit(engine, sensor, GRID, locked, UnitPlan(whole=True))
    finally:
        engine.close()
    return made.parts["values"]


def _stack(items: list[dict[str, Any]], root: str, assets: Sequence[str], **options: Any) -> Any:
    import stackstac

    base = f"{root}/files" if root.startswith("http") else root
    moved = [
        item
        | {
            "assets": {
                k: a | {"href": f"{base}/{item['id']}/{k}.tif"} for k, a in item["assets"].items()
            }
        }
        for item in items
    ]
    left, top = float(PLACE.origin[0]), float(PLACE.origin[1])
    bounds = (left, top - 10 * SIDE, left + 10 * SIDE, top)
    return stackstac.stack(
        moved, assets=list(assets), epsg=EPSG, resolution=10, bounds=bounds,
        properties=False, band_coords=False, rescale=False, **options,
    )  # fmt: skip


def tutorial(items: list[dict[str, Any]], root: str, threads: int | None) -> Pixels:
    """float64, masks by ``where``, median by ``groupby``."""
    import dask

    stack = _stack(items, root, ASSETS)
    scl = stack.sel(band="SCL", drop=True)
    values = stack.sel(band=list(BANDS))
    values = (values - OFFSET).where(~scl.isin(MASKED) & (values != 0))
    with dask.config.set(scheduler="threads", num_workers=threads or os.cpu_count()):
        year = values.groupby("time.year").median("time", skipna=True).compute()
    return np.rint(np.nan_to_num(year.to_numpy()[0])).astype(np.uint16)


def reader(items: list[dict[str, Any]], root: str, threads: int | None) -> Pixels:
    """stackstac in integers, then our median."""
    import dask

    stack = _stack(items, root, ASSETS, dtype="uint16", fill_value=np.uint16(0))
    with dask.config.set(scheduler="threads", num_workers=threads or os.cpu_count()):
        pixels = stack.data.compute()
    clear = ~np.isin(pixels[:, -1], MASKED) & (pixels[:, :-1] != 0).all(axis=1)
    with ThreadPoolExecutor(2) as pool:
        medians = pool.map(lambda b: masked_median(pixels[:, b], clear), range(len(BANDS)))
        return np.stack([np.where(n > 0, m - OFFSET, 0) for m, n in medians]).astype(np.uint16)


def bound(items: list[dict[str, Any]], root: str, threads: int | None) -> Pixels:
    """Blocks whose places are known beforehand, decoded into place; then the median."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        pixels = np.empty((len(items), len(BANDS), SIDE, SIDE), np.uint16)
        classes = np.empty((len(items), SIDE // 2, SIDE // 2), np.uint8)
        tasks = []
        for t, item in enumerate(items):
            for c, band in enumerate(BANDS):
                path = f"{root}/{item['id']}/{band}.tif"
                tasks.append(pool.submit(_decode, path, 2, pixels[t, c], FIRST))
            path = f"{root}/{item['id']}/SCL.tif"
            tasks.append(pool.submit(_decode, path, 1, classes[t], FIRST // 2))
        for task in tasks:
            task.result()
        good = np.ones(256, np.bool_)
        good[list(MASKED)] = False
        rows = 16
        parts = pool.map(
            lambda top: _median(pixels, classes, good, top, rows), range(0, SIDE, rows)
        )
        return np.concatenate(list(parts), axis=1)


def _median(pixels: Pixels, classes: Pixels, good: Pixels, top: int, rows: int) -> Pixels:
    half = good[classes[:, top // 2 : (top + rows) // 2]]
    clear = half.repeat(2, axis=1).repeat(2, axis=2)
    part = pixels[:, :, top : top + rows]
    clear &= part[:, 0] != 0
    found = [masked_median(part[:, b], clear) for b in range(len(BANDS))]
    return np.stack([np.where(n > 0, m - OFFSET, 0) for m, n in found]).astype(np.uint16)


@functools.cache
def _blocks(path: str) -> dict[tuple[int, int], tuple[int, int]]:
    import rasterio

    with rasterio.open(path) as data:
        across, down = (-(-size // BLOCK) for size in (data.width, data.height))
        found = {}
        for y in range(down):
            for x in range(across):
                at, size = (
                    int(data.get_tag_item(f"BLOCK_{k}_{x}_{y}", "TIFF", bidx=1))
                    for k in ("OFFSET", "SIZE")
                )
                found[y, x] = at, size
    return found


def _decode(path: str, width: int, out: Pixels, first: int) -> None:
    side = out.shape[-1]
    held = np.empty((BLOCK, BLOCK), out.dtype)
    blocks = _blocks(path)
    with Path(path).open("rb") as file:
        for by in range(first // BLOCK, -(-(first + side) // BLOCK)):
            for bx in range(first // BLOCK, -(-(first + side) // BLOCK)):
                at, size = blocks[by, bx]
                file.seek(at)
                _inflate(file.read(size), held)
                y, x = by * BLOCK - first, bx * BLOCK - first
                target = np.s_[max(y, 0) : y + BLOCK, max(x, 0) : x + BLOCK]
                source = np.s_[max(-y, 0) : side - y, max(-x, 0) : side - x]
                out[target] = held[source]


@functools.cache
def _deflate() -> Any:
    """libdeflate as it lies in rasterio's wheel; the fastest decoder of these blocks."""
    import rasterio

    folder = Path(rasterio.__file__).parent.parent / "rasterio.libs"
    library = ctypes.CDLL(str(next(folder.glob("libdeflate*"))))
    library.libdeflate_alloc_decompressor.restype = ctypes.c_void_p
    library.libdeflate_zlib_decompress.argtypes = [
        *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t),
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p),
    ]
    library.libdeflate_free_decompressor.argtypes = [ctypes.c_void_p]
    return library


def _inflate(packed: bytes, out: Pixels) -> None:
    library = _deflate()
    decoder = library.libdeflate_alloc_decompressor()
    at = out.ctypes.data_as(ctypes.c_void_p)
    failed = library.libdeflate_zlib_decompress(decoder, packed, len(packed), at, out.nbytes, None)
    library.libdeflate_free_decompressor(decoder)
    if failed:
        raise ValueError(f"a block of {len(packed)} bytes does not decode")


WAYS: dict[str, Callable[[list[dict[str, Any]], str, int | None], Pixels]] = {
    "ours": ours,
    "tutorial": tutorial,
    "reader": reader,
    "bound": bound,
}


# Processes ------------------------------------------------------------------------------


def measure(way: str, folder: Path, address: str | None, args: argparse.Namespace) -> None:
    """Time one way ``--rounds`` times after a small first round that loads libraries."""
    import rasterio

    root = address or str(folder)
    items = _items(folder, args.years[0], args.scenes)
    if way == "bound":
        for item in items:
            for asset in ASSETS:
                _blocks(f"{root}/{item['id']}/{asset}.tif")
    run = WAYS[way]
    first = str(folder)  # the first round reads files, so that no address is known beforehand
    seconds, processor = [], []
    with rasterio.Env(**GDAL_ENV):
        run(items[:2], first, args.threads)
        for _ in range(args.rounds):
            wall, cpu = time.perf_counter(), time.process_time()
            made = run(items, root, args.threads)
            seconds.append(time.perf_counter() - wall)
            processor.append(time.process_time() - cpu)
    digest = hashlib.sha256(np.ascontiguousarray(made).tobytes()).hexdigest()
    say(
        way=way, seconds=seconds, processor=processor, digest=digest, valid=float((made > 0).mean())
    )


def years(folder: Path, args: argparse.Namespace) -> None:
    """Build a whole store of one region, as the command does."""
    recipe = Recipe.model_validate(
        {
            "name": "bench",
            "title": "One region",
            "sensors": ("s2",),
            "bands": {"s2": BANDS},
            "years": args.years,
            "provider": "planetary-computer",
            "regions": (PLACE,),
            "default_preset": "tiny",
            "default_protocol": "year7",
        }
    )
    out = folder.parent / f"{folder.name}-{args.years[0]}-{args.years[1]}.zarr"
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    result = build(recipe, out, provider=str(folder))
    say(seconds=time.perf_counter() - began, digest=result.digest, complete=result.complete)
    shutil.rmtree(out, ignore_errors=True)


def say(**values: Any) -> None:
    """Print what was found, with the most memory that this process has held."""
    print(json.dumps({**values, "peak_megabytes": _peak()}))


def _peak() -> float:
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    # What getrusage tells of a process begins with the memory of whoever started it.
    line = next(v for v in status.read_text().splitlines() if v.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="One region and year, made in several ways")
    parser.add_argument("what", choices=(*WAYS, "scenes", "years", "serve"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--years", default="2021-2021")
    args = parser.parse_args()
    first, _, last = args.years.partition("-")
    args.years = (int(first), int(last or first))
    if args.what == "scenes":
        write_scenes(args.folder, args.years, args.scenes)
    elif args.what == "years":
        years(args.folder, args)
    elif args.what == "serve":
        fault = Fault(latency=args.latency)
        with serve(args.folder, fault=lambda request: fault) as address:
            print(address, flush=True)
            sys.stdin.read()  # until whoever started it closes the pipe
    else:
        measure(args.what, args.folder, args.address, args)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
