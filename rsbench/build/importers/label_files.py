"""Label rasters beside images: codes of a label set on the pixels of the coarse images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.importers.alike import same_grid, shown
from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.pair_files import LABELS, source_of, year_in
from rsbench.build.importers.pixels import damage_refused
from rsbench.build.importers.raster import Raster, opened
from rsbench.build.kinds.labels import label_attributes, require_known
from rsbench.build.read.opened import DRIVER, checked
from rsbench.catalog.labels import LabelSet
from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labels:
    """The label set of an import, and its files by region.

    Args:
        labels: the label set.
        folder: where the files are.
        files: region → its file; the name of a single place is empty.
    """

    labels: LabelSet
    folder: Path
    files: Mapping[str, Path]

    @classmethod
    def of(cls, request: ImportRequest, labels: LabelSet) -> Labels:
        """Return the label files of an import.

        Raises:
            InputError: if there are none, or several of one region.
        """
        folder, files = source_of(request.folder(), LABELS)
        files = files or sorted(
            p for p in folder.rglob("*") if p.suffix.lower() in (".tif", ".tiff")
        )
        found: dict[str, Path] = {}
        for path in files:
            region = "-".join(path.relative_to(folder).parts[:-1])
            if region in found:
                raise InputError(
                    f"importing {folder}",
                    f"{found[region].name} and {path.name} are labels of one region",
                    "Keep one label raster per region; it is that of all its images",
                )
            found[region] = path
        if not found:
            raise InputError(
                f"importing {folder}", "it holds no GeoTIFF of labels", "Put one there per region"
            )
        return cls(labels, folder, found)

    def read(self, region: str, coarse: Raster) -> Codes:
        """Return ``(H, W)`` codes of a region on the grid of its coarse images.

        Raises:
            InputError: if the file is damaged, lies on another grid, holds no codes, or one that
                the label set does not name.
        """
        from rasterio.windows import Window

        path = self.files[region]
        with opened(path, DRIVER) as data, damage_refused(path), checked(data, path) as raster:
            _require_grid(path, _grid_of(data), coarse.grid, coarse.path)
            if data.count != 1 or np.dtype(data.dtypes[0]).kind not in "iu":
                raise InputError(
                    f"labels {path}",
                    f"it has {data.count} bands of {data.dtypes[0]}",
                    "Write one band of integers, the codes of the label set",
                )
            codes, nodata = raster.read([1], Window(0, 0, data.width, data.height))[0], data.nodata
            missing = data.read_masks(1) == 0
        if nodata in self.labels.classes:
            raise InputError(
                f"labels {path}",
                f"its nodata tag is {nodata:g}, the class {self.labels.classes[int(nodata)]}",
                "Repair the tag",
            )
        codes = np.where(missing, self.labels.nodata, codes)
        require_known(self.labels, codes, f"labels {path}", "correct them in the file")
        return codes.astype(np.uint8)

    def about(self, region: str, images: int) -> dict[str, Any]:
        """Return what the label array of a region says of itself."""
        years = [year_in(self.files[region])] * images
        return {**label_attributes(self.labels, years), "rsbench:resampling": "none"}

    def recipe(self) -> dict[str, Any]:
        """Return label set and digests of the files, as JSON values."""
        files = {p.relative_to(self.folder).as_posix(): sha256_file(p) for p in self.files.values()}
        return {"name": self.labels.name, "files": files}


def _grid_of(data: Any) -> Grid:
    a, b, c, d, e, f = (float(v) for v in tuple(data.transform)[:6])
    code = data.crs.to_epsg() if data.crs else None
    crs = f"EPSG:{code}" if code else data.crs.to_wkt() if data.crs else ""
    return Grid(crs, (a, b, c, d, e, f), data.height, data.width)


def _require_grid(path: Path, found: Grid, wanted: Grid, like: Path) -> None:
    if not found.crs:
        raise InputError(
            f"labels {path}",
            "they have no CRS",
            f"Write it: rio edit-info {path} --crs {wanted.crs}",
        )
    if not same_grid(found, wanted):
        raise InputError(
            f"labels {path}",
            f"they lie on another grid than the coarse images: {shown(found)}, not {shown(wanted)}",
            "Bring them to it by the most frequent class: "
            f"rio warp {path} OUT.tif --like {like} --resampling mode",
        )
