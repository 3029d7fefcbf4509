"""What rasters say of themselves; see ``pixels`` for their stored numbers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.build.importers import netcdf
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.flat_files import (
    ARRAY,
    ENVI,
    header_crs,
    header_of,
    open_array,
    require_size,
)
from rsbench.build.importers.placing import placed_grid
from rsbench.build.read.opened import DRIVER, GDAL_ENV
from rsbench.build.read.radiometry import alike, radiometry_of
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

SUFFIXES = (".tif", ".tiff")
JPEG2000 = "JP2OpenJPEG"
NAMES = {DRIVER: "GeoTIFF", JPEG2000: "JPEG 2000", netcdf.DRIVER: "NetCDF"}
DRIVERS = {".tif": DRIVER, ".tiff": DRIVER, ".jp2": JPEG2000,
           **dict.fromkeys(netcdf.SUFFIXES, netcdf.DRIVER)}  # fmt: skip
OTHERS = (".zarr", ".h5", ".hdf", ".hdf5", ".he5", ".npy", ".npz", ".png", ".jpg",
          ".jpeg", ".img", ".vrt", ".grb", ".asc", ".zip", ".gz", ".safe")  # fmt: skip
"""Suffixes of images of other kinds, which are named where a folder holds nothing else."""
# The files are local: what lies beside them is looked for by name, as masks (.msk), headers (.hdr),
# world files (.tfw), and .aux.xml with nodata, scale and offset.
_ENV = GDAL_ENV | {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",
    "GDAL_PAM_ENABLED": "YES",
    "GDAL_GEOREF_SOURCES": "PAM,INTERNAL,WORLDFILE",
}
_ROWS = _ENV | {"GDAL_NETCDF_BOTTOMUP": "NO"}


@dataclass(frozen=True)
class Raster:
    """What a file says of itself.

    Args:
        bands: number of bands, without an alpha band.
        nodata: its tag, also where numbers of its type cannot be so.
        driver: GDAL driver that reads it, or ``npy``.
        alpha: number of its alpha band, counted from 1; None where it has none.
        bits: bits that its numbers use, where it says so and they are fewer than the type has.
        scale, offset: ``value = stored · scale + offset``; 1 and 0 where the file states none.
        unit: the file's own text; empty where it states none.
        parts: files of one band each, where it is made of them.
        only: numbers of its bands, counted from 1; all where empty.
        mask, mask_valid: a mask that is a file of its own, and its numbers that mean valid.
        source, variable, times: of a NetCDF, what GDAL opens, the band, and the dates of ``only``.
        native: grid of the file, where ``grid`` is another one.
        moved: pixels right and down that the file's own origin lies of that of ``grid``.
        added: what brings its numbers to the offset of the others.
        masked: whether the file has a mask of its own.
        colours: what the file marks its bands as, e.g. ``red``, in their order.
        placed: whether the file states its place; else ``grid`` is one at the origin.
        south_up: whether the first row of the file is the southernmost; ``grid`` is north-up.
    """

    path: Path
    grid: Grid
    bands: int
    dtype: str
    nodata: float | None
    names: tuple[str, ...]
    scale: float
    offset: float
    unit: str
    driver: str = DRIVER
    alpha: int | None = None
    bits: int | None = None
    parts: tuple[Raster, ...] = ()
    only: tuple[int, ...] = ()
    south_up: bool = False
    masked: bool = False
    placed: bool = True
    added: float = 0.0
    moved: tuple[float, float] = (0.0, 0.0)
    mask: Raster | None = None
    mask_valid: tuple[int, ...] = ()
    native: Grid | None = None
    source: str = ""
    variable: str = ""
    times: tuple[date, ...] = ()
    colours: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that hold the bands and the mask."""
        bands = tuple(dict.fromkeys(p.path for p in self.parts)) or (self.path,)
        return bands if self.mask is None else (*bands, self.mask.path)


@dataclass(frozen=True)
class Known:
    """What is known of the files of a published set.

    Args:
        bands: number of bands of every file.
        place: makes a grid of height and width for a file that states no place.
    """

    bands: int
    place: Callable[[int, int], Grid]


# Files ----------------------------------------------------------------------------------


def open_all(folder: Path, options: ImportOptions) -> list[Raster]:
    """Return what every image of a folder says of itself, sorted by path.

    If the folder itself holds none, the images in folders below are taken.

    Raises:
        InputError: if there is none, or one cannot be read or placed.
    """
    files = sorted(p for p in folder.iterdir() if is_image(p))
    files = files or sorted(p for p in folder.rglob("*") if is_image(p))
    if not files:
        raise _no_image(folder)
    return [raster for path in files for raster in described(path, options)]


def described(path: Path, options: ImportOptions) -> list[Raster]:
    """Return what a file says of itself, of a NetCDF every variable that is a band."""
    if path.suffix.lower() not in netcdf.SUFFIXES:
        return [describe(path, options)]
    with opened(path, netcdf.DRIVER) as data:
        held = {name.rpartition(":")[2]: name for name in data.subdatasets}
    alone = {(options.bands or ("",))[0]: str(path)}
    found = netcdf.bands(path, held or alone, options.bands, lambda name: _look(path, name))
    if held or any(source.numbers for source in found.values()):
        found = netcdf.sources(path, found, options.bands, options.mask)
    return [_described(path, options, band, source) for band, source in found.items()]


def _look(path: Path, source: str) -> tuple[int, Mapping[str, str]]:
    """Return the number of rasters of a variable of a NetCDF, and its tags."""
    with opened(path, netcdf.DRIVER, source) as data:
        return int(data.count), data.tags()


def _described(path: Path, options: ImportOptions, band: str, source: netcdf.Source) -> Raster:
    """Return what a NetCDF says of a band: a variable, or one along a dimension of it."""
    whole = describe(path, options, source=source.name, variable=band)
    count = len(source.numbers)
    if not count:
        return whole
    return replace(whole, bands=count, names=whole.names[:count], only=source.numbers)


def is_image(path: Path) -> bool:
    """Return whether a file is a GeoTIFF, a JPEG 2000 or a flat binary with an ENVI header."""
    if path.suffix.lower() in DRIVERS:
        return path.is_file()
    if path.suffix.lower() in (".hdr", *OTHERS) or not path.is_file():
        return path.suffix.lower() == ".img" and has_header(path)
    return has_header(path)


def has_header(path: Path) -> bool:
    """Return whether an ENVI header lies beside a file."""
    try:
        header_of(path)
    except InputError:
        return False
    return True


def _no_image(folder: Path) -> InputError:
    """Return what to say of a folder without images; what it holds instead is named."""
    other = sorted(p for p in (folder, *folder.rglob("*")) if p.suffix.lower() in OTHERS)
    if not other:
        return InputError(
            f"importing {folder}", "it holds no GeoTIFF", "Give a folder of .tif files"
        )
    kind = other[0].suffix.lower()
    remedy = (
        "Write each date to a GeoTIFF first, e.g. with gdal_translate or rioxarray's rio.to_raster"
    )
    if kind == ".zarr":
        remedy = "A Zarr cube is imported by netcdf-series: rsbench import-dataset netcdf-series …"
    return InputError(
        f"importing {folder}",
        f"it holds no GeoTIFF, but {len(other)} {kind} files, which are not read",
        remedy,
    )


def describe(
    path: Path,
    options: ImportOptions,
    *,
    known: Known | None = None,
    source: str = "",
    variable: str = "",
) -> Raster:
    """Return what a GeoTIFF says of itself; of a published set also an array or flat binary.

    Args:
        path: the file.
        options: what is stated of the files; an alpha band that ``bands`` names is a band.
        known: what is known of the set that the file belongs to.
        source: what GDAL opens, where it is not the file.
        variable: of a NetCDF, the one that is read; its bands are dates.

    Raises:
        InputError: if it cannot be read or placed, its bands differ in type or scale, its numbers
            are indices of a palette, or it holds several images.
    """
    from rasterio.enums import MaskFlags

    if known is not None and path.suffix.lower() == ".npy":
        return _describe_array(path, known)
    driver = DRIVERS.get(path.suffix.lower(), ENVI)
    if driver == ENVI:
        header_of(path)
    with opened(path, driver, source) as data:
        alpha = _alpha(data, options)
        bands = int(data.count) - (alpha is not None)
        _require_one_image(path, data, bands, known)
        stated = radiometry_of(path, data, bands)
        if driver == netcdf.DRIVER and data.transform.is_identity:
            driver = netcdf.ROWS
        grid, place = _grid_of(path, data, options, known, driver)
        return Raster(
            path=path,
            grid=grid,
            south_up=place is not None and place[4] > 0,
            masked=MaskFlags.per_dataset in data.mask_flag_enums[0] and alpha is None,
            placed=place is not None,
            bands=bands,
            dtype=alike(path, "types", data.dtypes[:bands]),
            nodata=_nodata_tag(data),
            names=tuple(name or "" for name in data.descriptions[:bands]),
            scale=stated.scale,
            offset=stated.offset,
            unit=alike(path, "units", tuple(u or "" for u in data.units[:bands])),
            bits=stated.bits,
            driver=driver,
            alpha=alpha,
            colours=tuple(kind.name for kind in data.colorinterp[:bands]),
            source=source,
            variable=variable,
            times=netcdf.times(path, data) if driver in (netcdf.DRIVER, netcdf.ROWS) else (),
        )


def _alpha(data: Any, options: ImportOptions) -> int | None:
    """Return the number of the alpha band; a last band that is named is no alpha band.

    Some photographs have infrared as a fourth band that is marked as alpha.

    Raises:
        InputError: if another band than the last is marked as alpha, and the bands are not named.
    """
    from rasterio.enums import ColorInterp

    last = int(data.count)
    name = (data.descriptions[-1] or "alpha").lower()
    stated = options.bands is not None and len(options.bands) == last
    marked = [i for i, kind in enumerate(data.colorinterp[:-1], 1) if kind == ColorInterp.alpha]
    if marked and not stated:
        raise InputError(
            f"importing {data.name}",
            f"its band {marked[0]} of {last} is marked as alpha, which only the last band can be",
            "If it is data, name all bands with --bands; else write it as the last band",
        )
    is_alpha = last > 1 and data.colorinterp[-1] == ColorInterp.alpha
    return last if is_alpha and name == "alpha" and not stated else None


def _require_one_image(path: Path, data: Any, bands: int, known: Known | None) -> None:
    """Refuse palettes, files of several images, and a published set's file with other bands."""
    from rasterio.enums import ColorInterp

    if known is not None and bands != known.bands:
        raise InputError(
            f"reading {path}",
            f"it has {bands} bands, not {known.bands}",
            "Leave it out, or give the file of the published set",
        )
    if ColorInterp.palette in data.colorinterp:
        raise InputError(
            f"importing {path}",
            "its numbers are indices of a palette, not brightness",
            "Expand it first, e.g. with gdal_translate -expand rgb",
        )
    if len(data.subdatasets) > 1:
        raise InputError(
            f"importing {path}",
            f"it holds {len(data.subdatasets)} images",
            "Write each image to a file of its own, e.g. with gdal_translate GTIFF_DIR:1:FILE",
        )


def _nodata_tag(data: Any) -> float | None:
    """Return the nodata tag; rasterio keeps back one that numbers of the type cannot be."""
    if data.nodata is not None or np.dtype(data.dtypes[0]).kind not in "iu":
        return None if data.nodata is None else float(data.nodata)
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    with MemoryFile(ext=".vrt") as described:
        copy(data, described.name, driver="VRT")
        found = re.search(rb"<NoDataValue>([^<]+)</NoDataValue>", described.read())
    return float(found[1]) if found else None


def _describe_array(path: Path, known: Known) -> Raster:
    values = open_array(path, known.bands)
    return Raster(
        path=path,
        grid=known.place(*values.shape[1:]),
        placed=False,
        bands=known.bands,
        dtype=values.dtype.newbyteorder("=").name,
        nodata=None,
        names=("",) * known.bands,
        scale=1.0,
        offset=0.0,
        unit="",
        driver=ARRAY,
    )


@contextmanager
def opened(path: Path, driver: str, source: str = "") -> Iterator[Any]:
    """Open a raster with one driver; its own errors become ours."""
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    env, plain = (_ENV, driver) if driver != netcdf.ROWS else (_ROWS, netcdf.DRIVER)
    try:
        with (
            # A file without a place is an error of ours, or is placed by what is known of it.
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            rasterio.Env(**env),
            rasterio.open(source or path, driver=plain) as data,
        ):
            yield data
    except (RasterioError, CPLE_BaseError) as error:  # GDAL's own errors are no RasterioErrors
        header = driver == ENVI
        raise InputError(
            f"reading {header_of(path) if header else path}",
            "samples, lines, bands, data type and interleave cannot be read from it"
            if header
            else f"it cannot be read as {NAMES[plain]} ({type(error).__name__})",
            "Repair the header" if header else "Remove it from the folder, or repair it",
        ) from error


# Grids ----------------------------------------------------------------------------------


def _grid_of(
    path: Path, data: Any, options: ImportOptions, known: Known | None, driver: str
) -> tuple[Grid, Sequence[float] | None]:
    """Return a file's grid with north up, and the affine transform that it states, if any."""
    from rasterio.crs import CRS

    held = data.crs
    if driver == ENVI:
        header = data.tags(ns="ENVI")
        require_size(path, data, header)
        text = header_crs(header)
        held = CRS.from_string(text) if text else None
    if known is not None and not held:
        return known.place(data.height, data.width), None
    place = None if data.transform.is_identity else tuple(data.transform)[:6]
    if driver == netcdf.ROWS:
        place = netcdf.place(path, data.shape)
    grid = placed_grid(path, (data.height, data.width), place, held, options)
    return grid, place
