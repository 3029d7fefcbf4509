"""Write the simulated Earth as cloud-optimised GeoTIFFs with a static STAC catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, singledispatch
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rsbench.catalog import Region, SimulatedSpec
from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.core.io import atomic_directory, read_json, write_atomic
from rsbench.simulate import pair_scenes as pairs
from rsbench.simulate.coarse import BANDS, NODATA, STATE, coarse_grid, tile_of
from rsbench.simulate.pair_spec import COARSE as SATELLITE
from rsbench.simulate.pair_spec import FINE as PHOTO
from rsbench.simulate.pair_spec import LABELS, PairSpec
from rsbench.simulate.random import VERSION
from rsbench.simulate.regions import simulated_regions
from rsbench.simulate.scene import (
    Frame,
    Scene,
    YearView,
    calendar,
    sensor_bands,
    sensor_grid,
    simulated,
)
from rsbench.simulate.stac_items import (
    coarse_id,
    coarse_json,
    collection_json,
    item_json,
    raster_json,
    root_json,
    scene_id,
)
from rsbench.simulate.triplet_scenes import taken_scenes
from rsbench.simulate.triplet_slots import COARSE, FINE, TripletSpec, kinds_of, slots

MARK = ".simulated.json"
COLLECTIONS = {
    "s2": "sentinel-2-l2a", "landsat": "landsat-c2-l2", "mod09a1": "modis-09A1-061",
    PHOTO: "naip", LABELS: "sim-cover",
}  # fmt: skip
MASKS = {"s2": "SCL", "landsat": "qa_pixel"}
Progress = Callable[[int, int], None]


def catalogue_digest(spec: SimulatedSpec) -> str:
    """Return the SHA-256 of specification and version, which determine every pixel."""
    return sha256_json({"version": VERSION, "spec": spec.model_dump(mode="json")})


def write_catalogue(
    spec: SimulatedSpec, root: Path | str, *, progress: Progress | None = None, workers: int = 2
) -> Path:
    """Write the simulated Earth below ``root`` and return ``root``.

    A finished catalogue of the same specification is not changed. An unfinished one is completed
    scene by scene.

    Args:
        spec: what to simulate.
        root: folder for ``catalog.json``, a folder per collection, and one per scene below it.
        progress: called with (scenes done, scenes in all).
        workers: number of threads.

    Raises:
        InputError: if the folder holds other files, or a catalogue of another specification.
    """
    folder = Path(root)
    groups = _groups(spec, folder)
    if _ready(spec, folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / MARK, _mark(spec, complete=False))
    total = sum(part.scenes for group in groups for part in group)
    done = 0
    if progress:
        progress(0, total)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for group in groups:
            _warm(spec, group[0].region)
            for count in pool.map(_run, group):
                done += count
                if progress:
                    progress(done, total)
    _write_collections(spec, folder)
    _write_json(folder / MARK, _mark(spec, complete=True))
    return folder


@dataclass(frozen=True)
class _Part:
    """A part of the catalogue that one thread writes: ``scenes`` of one region."""

    region: Region
    scenes: int
    write: Callable[[], None]


def _run(part: _Part) -> int:
    part.write()
    return part.scenes


@singledispatch
def _warm(spec: SimulatedSpec, region: Region) -> None:
    """Simulate a region before the threads need it; the result is cached."""
    simulated(spec, region.name)


@singledispatch
def _labels(spec: SimulatedSpec) -> tuple[str, ...]:
    """Return the collections of labels beside those of the sensors."""
    return ()


@singledispatch
def _groups(spec: SimulatedSpec, root: Path) -> list[list[_Part]]:
    """Return a part for every sensor and year, grouped by region.

    Raises:
        UnknownName: if a sensor is not simulated.
    """
    for sensor in spec.sensors:
        sensor_bands(sensor)
    count = spec.scenes_per_year
    return [
        [
            _Part(region, count, partial(_write_year, spec, root, region, sensor, year))
            for sensor in spec.sensors
            for year in range(spec.years[0], spec.years[1] + 1)
        ]
        for region in simulated_regions(spec)
    ]


@_groups.register
def _(spec: TripletSpec, root: Path) -> list[list[_Part]]:
    """Return a part for every region, in one group."""
    kinds, year = kinds_of(spec), spec.years[0]
    return [
        [
            _Part(r, len(slots(kinds[r.name], year)), partial(_write_dates, spec, root, r))
            for r in simulated_regions(spec)
        ]
    ]


@_groups.register
def _(spec: PairSpec, root: Path) -> list[list[_Part]]:
    """Return a part for every region, in one group."""
    regions = simulated_regions(spec)
    return [[_Part(r, 2, partial(_write_pair, spec, root, r)) for r in regions]]


@_warm.register
def _(spec: PairSpec, region: Region) -> None:
    """Each region is simulated once, by its own part."""


@_labels.register
def _(spec: PairSpec) -> tuple[str, ...]:
    return (LABELS,)


def _mark(spec: SimulatedSpec, *, complete: bool) -> dict[str, Any]:
    return {
        "simulated": True,
        "version": VERSION,
        "digest": catalogue_digest(spec),
        "spec": spec.model_dump(mode="json"),
        "complete": complete,
    }


def _ready(spec: SimulatedSpec, folder: Path) -> bool:
    """Return whether the catalogue is finished; reject a folder that holds something else."""
    mark = folder / MARK
    if not mark.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"writing the simulated Earth to {folder}",
                "the folder holds something else",
                "Give an empty folder or one that does not exist",
            )
        return False
    found = read_json(mark, remedy="Give another folder or remove this one")
    if found.get("digest") != catalogue_digest(spec):
        raise InputError(
            f"writing the simulated Earth to {folder}",
            f"it holds one of another specification or version ({found.get('version')})",
            "Give another folder or remove this one",
        )
    return bool(found["complete"])


def _write_year(spec: SimulatedSpec, root: Path, region: Region, sensor: str, year: int) -> None:
    view: YearView | None = None
    for scene in calendar(spec, region.name, sensor, year):
        for older in (False, True) if scene.older else (False,):
            name = scene_id(region, scene, older=older)
            target = root / COLLECTIONS[sensor] / region.name / name
            if target.is_dir():
                continue
            view = view or YearView(simulated(spec, region.name), sensor, year)
            frame = view.render(scene, older=older)
            _write_scene(target, region, scene, frame, older=older)


def _write_dates(spec: TripletSpec, root: Path, region: Region) -> None:
    """Write the fine and the coarse scene of every date of a region."""
    grid = coarse_grid(region)
    tile = tile_of(grid)
    for taken in taken_scenes(spec, region.name):
        when = taken.scene.when
        fine = root / COLLECTIONS[FINE] / region.name / scene_id(region, taken.scene)
        coarse = root / COLLECTIONS[COARSE] / region.name / coarse_id(region, when, tile)
        if fine.is_dir() and coarse.is_dir():
            continue
        shown, low = taken.frames()
        if not fine.is_dir():
            _write_scene(fine, region, taken.scene, shown, older=False)
        if not coarse.is_dir():
            item = coarse_json(region, when, tile, grid)
            files = [
                _File(f"sur_refl_{band}", plane, grid, NODATA)
                for band, plane in zip(BANDS.values(), low.values, strict=True)
            ]
            _write_item(coarse, [*files, _File(STATE, low.state, grid, None)], item)


def _write_pair(spec: PairSpec, root: Path, region: Region) -> None:
    """Write the aerial photograph, the satellite scene and the classes of a region."""
    made = pairs.pair_scene(spec, region.name)
    region = made.region
    target = root / COLLECTIONS[SATELLITE] / region.name / scene_id(region, made.scene)
    if not target.is_dir():
        _write_scene(target, region, made.scene, made.frame(), older=False)
    for kind, asset, values, grid in (
        (PHOTO, "image", made.photo(), pairs.fine_grid(region)),
        (LABELS, "data", made.labels, region.grid()),
    ):
        name = f"{kind}_{region.name}_{made.when:%Y%m%d}"
        target = root / COLLECTIONS[kind] / region.name / name
        if not target.is_dir():
            item = raster_json(name, COLLECTIONS[kind], asset, made.when, grid)
            _write_item(target, [_File(asset, values, grid, None)], item)


@dataclass(frozen=True)
class _File:
    """One raster of an item: its name without ending, pixels ``([C,] H, W)``, and nodata tag."""

    name: str
    values: npt.NDArray[Any]
    grid: Grid
    nodata: int | None


def _write_scene(target: Path, region: Region, scene: Scene, frame: Frame, *, older: bool) -> None:
    """Write the bands and the mask of a scene, and its item."""
    grid = sensor_grid(region, scene.sensor)
    # As at providers, only some files state their nodata value.
    nodata = 0 if scene.sensor != "s2" or scene.number % 3 else None
    bands = zip(sensor_bands(scene.sensor), frame.values, strict=True)
    files = [_File(band, values, grid, nodata) for band, values in bands]
    coarser = _coarser(grid, 2 if scene.sensor == "s2" else 1)
    files.append(_File(MASKS[scene.sensor], frame.mask, coarser, None))
    _write_item(target, files, item_json(region, scene, frame, older=older))


def _write_item(target: Path, files: Sequence[_File], item: Mapping[str, Any]) -> None:
    """Write an item's files into a folder that appears only when it is whole."""
    # Thousands of scenes, each simulated again where it is absent: not worth a flush per file.
    with atomic_directory(target, durable=False) as work:
        for file in files:
            _write_cog(work / f"{file.name}.tif", file.values, file.grid, file.nodata)
        text = json.dumps(item, ensure_ascii=False)
        (work / f"{target.name}.json").write_text(text, encoding="utf-8")


def _coarser(grid: Grid, step: int) -> Grid:
    a, b, c, d, e, f = grid.transform
    return Grid(grid.crs, (a * step, b, c, d, e * step, f), grid.height // step, grid.width // step)


def _write_cog(path: Path, values: npt.NDArray[Any], grid: Grid, nodata: int | None) -> None:
    """Write bands as a cloud-optimised GeoTIFF: tiled, DEFLATE, overviews when large."""
    import rasterio
    from rasterio.transform import Affine

    planes = values.reshape(-1, grid.height, grid.width)
    profile = {
        "driver": "COG", "height": grid.height, "width": grid.width, "count": len(planes),
        "dtype": values.dtype, "crs": grid.crs, "transform": Affine(*grid.transform),
        "nodata": nodata, "compress": "DEFLATE",
        "predictor": "YES" if values.dtype.itemsize == 2 else "NO", "level": 6,
        "blocksize": min(512, max(128, 16 * (grid.width // 16))),
        "overview_resampling": "NEAREST", "num_threads": 1,
    }  # fmt: skip
    # GDAL does not report every failed write to a disk.
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(planes)
        path.write_bytes(memory.getbuffer())


def _write_collections(spec: SimulatedSpec, root: Path) -> None:
    names = []
    for sensor in (*spec.sensors, *_labels(spec)):
        folder = root / COLLECTIONS[sensor]
        items = sorted(folder.glob("sim-*/*/*.json"))
        boxes = [read_json(path)["bbox"] for path in items]
        links = [path.relative_to(folder).as_posix() for path in items]
        document = collection_json(spec, COLLECTIONS[sensor], sensor, boxes, links)
        _write_json(folder / "collection.json", document)
        names.append(COLLECTIONS[sensor])
    _write_json(root / "catalog.json", root_json(names))


def _write_json(path: Path, document: Any) -> None:
    write_atomic(path, json.dumps(document, ensure_ascii=False))
