"""GeoTIFFs of class maps: codes with a colour table, and the names of the classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.class_colours import class_colours
from rsbench.core.grid import Grid
from rsbench.core.io import write_atomic
from rsbench.store.export.geotiff_file import geotiff, profile_of
from rsbench.store.read import Store

CLASSES = "classes.json"


@dataclass(frozen=True)
class ClassMap:
    """How a class map is written.

    Args:
        names: code → name of its class.
        nodata: code of pixels without a class.
        tags: further metadata of the file.
    """

    names: Mapping[int, str]
    nodata: int
    tags: Mapping[str, str] = field(default_factory=dict)

    def colours(self) -> dict[int, tuple[int, int, int, int]]:
        """Return code → red, green, blue, alpha; pixels without a class are transparent."""
        rows = class_colours(len(self.names)).tolist()
        opaque = {
            code: (red, green, blue, 255)
            for code, (red, green, blue) in zip(sorted(self.names), rows, strict=True)
        }
        return {self.nodata: (0, 0, 0, 0), **opaque}

    def write(self, rasterio: Any, path: Path, grid: Grid, codes: npt.NDArray[np.uint8]) -> None:
        """Write ``(H, W)`` codes; the file is written aside and renamed when whole."""
        profile = profile_of(rasterio, grid, "uint8", 1, self.nodata)
        with geotiff(rasterio, path, profile) as file:
            file.write(codes, 1)
            file.write_colormap(1, self.colours())
            file.descriptions = ("class",)
            file.update_tags(1, **{f"CLASS_{code}": name for code, name in self.names.items()})
            file.update_tags(**self.tags)


def export_labels(
    rasterio: Any, store: Store, out: Path, region: str, sensor: str
) -> Iterator[Path]:
    """Write the labels of a sensor, yield the files; none where it has no labels.

    ``<out>/<region>/<sensor>.labels`` has one GeoTIFF per date of the sensor and ``classes.json``
    with the attributes of the label array.
    """
    if "labels" not in store.arrays(region, sensor):
        return
    stated = store.attributes(region, sensor, "labels")
    names = {int(code): str(name) for code, name in stated["rsbench:classes"].items()}
    folder = out / region / f"{sensor}.labels"
    folder.mkdir(parents=True, exist_ok=True)
    entry, codes = store.region(region), store.read(region, sensor, array="labels")
    for day, layer in zip(entry.times[sensor], codes, strict=True):
        tags = {
            "DATE": day.isoformat(), "REGION": region, "SENSOR": sensor,
            "LABELS": str(stated["rsbench:labels"]),
            "DATASET": f"{store.recipe}@{store.digest[:12]}",
            "SIMULATED": str(store.simulated).lower(),
        }  # fmt: skip
        target = folder / f"{day.isoformat()}.tif"
        ClassMap(names, int(stated["nodata"]), tags).write(
            rasterio, target, entry.grids[sensor], layer
        )
        yield target
    write_atomic(folder / CLASSES, json.dumps(stated, indent=1, ensure_ascii=False) + "\n")
    yield folder / CLASSES
