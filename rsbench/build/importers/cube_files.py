"""The bands of a Zarr cube as rasters, which the importers of series read."""

from __future__ import annotations

from pathlib import Path

from rsbench.build.importers import netcdf
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.placing import placed_grid
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.zarr_cubes import ZARR, bands_of, describe_band


def describe_cube(path: Path, options: ImportOptions) -> list[Raster]:
    """Return what every band of a Zarr cube says of itself, and the mask among its variables.

    Raises:
        InputError: if it is not stated which variables are bands, or one cannot be placed.
    """
    held = bands_of(path)
    chosen = netcdf.sources(path, held, options.bands, options.mask)
    return [_band(path, options, held[band], band) for band in chosen]


def _band(path: Path, options: ImportOptions, variable: str, band: str) -> Raster:
    from rasterio.crs import CRS

    cube = describe_band(path, variable)
    crs = CRS.from_wkt(cube.crs) if cube.crs else None
    grid = placed_grid(path, cube.shape, cube.place, crs, options)
    return Raster(
        path=path,
        grid=grid,
        bands=max(1, len(cube.times)),
        dtype=cube.dtype,
        nodata=cube.nodata,
        names=("",) * max(1, len(cube.times)),
        scale=cube.scale,
        offset=cube.offset,
        unit=cube.unit,
        driver=ZARR,
        south_up=cube.place is not None and cube.place[4] > 0,
        placed=cube.place is not None,
        source=variable,
        variable=band,
        times=cube.times,
    )
