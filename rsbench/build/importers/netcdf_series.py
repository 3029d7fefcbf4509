"""Import NetCDF files and Zarr cubes as a store of one sensor; variables are bands.

Dates are those along the time of the variables, or those in the names of files. A variable of a
cube may have a dimension of bands. Everything else is as for ``geotiff-series``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rsbench.build.importers.api import ImportRequest
from rsbench.build.importers.cube_files import describe_cube
from rsbench.build.importers.geotiff_series import GeoTiffSeries
from rsbench.build.importers.netcdf import SUFFIXES
from rsbench.build.importers.raster import Raster, described
from rsbench.build.importers.zarr_cubes import is_cube
from rsbench.core.errors import InputError


class NetCdfSeries(GeoTiffSeries):
    """Cubes of one place, or of many regions."""

    title = "NetCDF files and Zarr cubes of one place or many regions; variables are bands"

    def rasters(self, request: ImportRequest) -> tuple[Path, Sequence[Raster]]:
        """Return the folder of the cubes, and what each band of each says of itself."""
        source = request.source
        alone = is_cube(source) or source.is_file()
        cubes = [source] if alone else _cubes(request.folder())
        found = [raster for path in cubes for raster in _bands(path, request)]
        return (source.parent if alone else source), found


def _is_cube(path: Path) -> bool:
    return is_cube(path) or (path.suffix.lower() in SUFFIXES and path.is_file())


def _cubes(folder: Path) -> list[Path]:
    """Return the cubes of a folder; if it holds none, those in folders below."""
    found = sorted(filter(_is_cube, folder.iterdir()))
    found = found or sorted(filter(_is_cube, folder.glob("*/*")))
    if not found:
        raise InputError(
            f"importing {folder}",
            "it holds no NetCDF file (.nc) and no Zarr group",
            "Give one of these or a folder of them; GeoTIFFs are imported by geotiff-series",
        )
    return found


def _bands(path: Path, request: ImportRequest) -> list[Raster]:
    if is_cube(path):
        return describe_cube(path, request.options)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"importing {path}",
            "it is no NetCDF file (.nc) and no Zarr group",
            "Give one of these or a folder of them",
        )
    return described(path, request.options)


IMPORTER = NetCdfSeries()
