"""Write the simulated Earth as cloud-optimised GeoTIFFs with a static STAC catalogue."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import Region, SimulatedSpec
from rsbench.core.digest import sha256_json
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.core.io import atomic_directory, read_json, write_atomic
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
from rsbench.simulate.stac_items import collection_json, item_json, root_json, scene_id

MARK = ".simulated.json"
COLLECTIONS = {"s2": "sentinel-2-l2a", "landsat": "landsat-c2-l2"}
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
    for sensor in spec.sensors:
        sensor_bands(sensor)
    if _ready(spec, folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / MARK, _mark(spec, complete=False))
    jobs = list(_jobs(spec))
    total = len(jobs) * spec.scenes_per_year
    done = 0
    if progress:
        progress(0, total)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for region in simulated_regions(spec):
            simulated(spec, region.name)  # cached before the threads need it
            mine = [job for job in jobs if job[0].name == region.name]
            for count in pool.map(lambda job: _write_year(spec, folder, *job), mine):
                done += count
                if progress:
                    progress(done, total)
    _write_collections(spec, folder)
    _write_json(folder / MARK, _mark(spec, complete=True))
    return folder


def _jobs(spec: SimulatedSpec) -> Iterator[tuple[Region, str, int]]:
    for region in simulated_regions(spec):
        for sensor in spec.sensors:
            for year in range(spec.years[0], spec.years[1] + 1):
                yield region, sensor, year


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


def _write_year(spec: SimulatedSpec, root: Path, region: Region, sensor: str, year: int) -> int:
    view: YearView | None = None
    scenes = calendar(spec, region.name, sensor, year)
    for scene in scenes:
        for older in (False, True) if scene.older else (False,):
            name = scene_id(region, scene, older=older)
            target = root / COLLECTIONS[sensor] / region.name / name
            if target.is_dir():
                continue
            view = view or YearView(simulated(spec, region.name), sensor, year)
            frame = view.render(scene, older=older)
            _write_scene(target, region, scene, frame, older=older)
    return len(scenes)


def _write_scene(target: Path, region: Region, scene: Scene, frame: Frame, *, older: bool) -> None:
    """Write a scene's files into a folder that appears only when it is whole."""
    # Thousands of scenes, each simulated again where it is absent: not worth a flush per file.
    with atomic_directory(target, durable=False) as work:
        grid = sensor_grid(region, scene.sensor)
        # As at providers, only some files state their nodata value.
        nodata = 0 if scene.sensor != "s2" or scene.number % 3 else None
        for band, values in zip(sensor_bands(scene.sensor), frame.values, strict=True):
            _write_cog(work / f"{band}.tif", values, grid, nodata)
        step = 2 if scene.sensor == "s2" else 1
        _write_cog(work / f"{MASKS[scene.sensor]}.tif", frame.mask, _coarser(grid, step), None)
        item = item_json(region, scene, frame, older=older)
        text = json.dumps(item, ensure_ascii=False)
        (work / f"{target.name}.json").write_text(text, encoding="utf-8")


def _coarser(grid: Grid, step: int) -> Grid:
    a, b, c, d, e, f = grid.transform
    return Grid(grid.crs, (a * step, b, c, d, e * step, f), grid.height // step, grid.width // step)


def _write_cog(path: Path, values: npt.NDArray[Any], grid: Grid, nodata: int | None) -> None:
    """Write one band as a cloud-optimised GeoTIFF: tiled, DEFLATE, overviews when large."""
    import rasterio
    from rasterio.transform import Affine

    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=grid.height,
        width=grid.width,
        count=1,
        dtype=values.dtype,
        crs=grid.crs,
        transform=Affine(*grid.transform),
        nodata=nodata,
        compress="DEFLATE",
        predictor="YES" if values.dtype == np.uint16 else "NO",
        level=6,
        blocksize=min(512, max(128, 16 * (grid.width // 16))),
        overview_resampling="NEAREST",
        num_threads=1,
    ) as dataset:
        dataset.write(values, 1)


def _write_collections(spec: SimulatedSpec, root: Path) -> None:
    names = []
    for sensor in spec.sensors:
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
