"""Export of a store as GeoTIFFs, one file per region, sensor and date."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.core.errors import InputError
from rsbench.core.io import write_atomic
from rsbench.store.export.class_map import export_labels
from rsbench.store.export.geotiff_file import geotiff, profile_of
from rsbench.store.read import Store


def export_geotiff(store: Store, out: Path, region: str | None = None) -> tuple[Path, ...]:
    """Write ``<out>/<region>/<sensor>/<date>.tif`` and return the files.

    Each file holds the stored numbers of all bands with band names, scale and offset, and the
    validity as an internal GDAL mask. The files of a sensor have a nodata tag only if no valid
    pixel of the exported regions holds that number. A file is written aside and renamed when whole.

    Args:
        store: an open store.
        out: the folder.
        region: export this region only.

    Raises:
        InputError: if rasterio is not installed.
        UnknownName: if the store has no region of this name.
    """
    try:
        import rasterio
    except ImportError as error:
        raise InputError(
            "exporting GeoTIFFs", "rasterio is not installed", "Type: pip install 'rsbench[build]'"
        ) from error
    names = store.regions if region is None else (store.region(region).record.name,)
    tags = {sensor: _nodata_tag(store, names, sensor) for sensor in store.meta.sensors}
    written: list[Path] = []
    for name in names:
        for sensor in sorted(store.region(name).grids):
            written += _export(rasterio, store, Path(out), name, sensor, tags[sensor])
            written += export_labels(rasterio, store, Path(out), name, sensor)
    _write_note(store, Path(out))
    return tuple(written)


def _nodata_tag(store: Store, regions: Sequence[str], sensor: str) -> float | None:
    """Return the nodata number of a sensor; None if a valid pixel of the regions holds it.

    Programs take every pixel that holds the tagged number as missing, whatever the mask says.
    """
    nodata = store.sensor(sensor).nodata
    for region in regions:
        if sensor in store.region(region).grids:
            valid = store.read(region, sensor, array="valid")
            held = (store.read(region, sensor) == nodata).any(axis=1)
            if (held & valid).any():
                return None
    return nodata


def _export(
    rasterio: Any, store: Store, out: Path, region: str, sensor: str, nodata: float | None
) -> list[Path]:
    arrays, meta = store.read_region(region, sensor), store.sensor(sensor)
    folder = out / region / sensor
    folder.mkdir(parents=True, exist_ok=True)
    profile = profile_of(rasterio, arrays.grid, meta.dtype, len(meta.bands), nodata)
    written = []
    for index, day in enumerate(arrays.times):
        target = folder / f"{day.isoformat()}.tif"
        with geotiff(rasterio, target, profile) as file:
            file.write(arrays.values[index])
            file.write_mask(np.where(arrays.valid[index], 255, 0).astype(np.uint8))
            file.descriptions = meta.bands
            file.scales = (meta.scale,) * len(meta.bands)
            file.offsets = (meta.offset,) * len(meta.bands)
            file.units = (meta.unit,) * len(meta.bands)
            file.update_tags(
                DATE=day.isoformat(),
                REGION=region,
                SENSOR=sensor,
                DATASET=f"{store.recipe}@{store.digest[:12]}",
                SIMULATED=str(store.simulated).lower(),
            )
        written.append(target)
    return written


def _write_note(store: Store, out: Path) -> None:
    note = {
        "dataset": store.recipe,
        "digest": store.digest,
        "simulated": store.simulated,
        "complete": store.complete,
        "sensors": {name: meta.to_json() for name, meta in store.meta.sensors.items()},
        "splits": {name: store.listed[name]["split"] for name in store.regions},
    }
    write_atomic(out / "dataset.json", json.dumps(note, indent=1))
