"""Images that are imported: GeoTIFF, ENVI and NumPy arrays; lists of dates."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import numpy as np
from build_fixtures import write_raster

from fuzz.damage import of_bytes, of_text
from fuzz.driver import Format, Subject
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.dates import file_dates
from rsbench.build.importers.registry import import_dataset

OPTIONS = ImportOptions(unit="reflectance", scale=1e-4, region_size=32)


def _imported(source: Path, out: Path, options: ImportOptions) -> str:
    shutil.rmtree(out, ignore_errors=True)
    try:
        return import_dataset("geotiff-series", source, out, options).digest
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _geotiff(folder: Path) -> Subject:
    files = []
    for year, options in (
        (2019, {}), (2020, {"tiled": False, "compress": None}), (2021, {"compress": "lzw"}),
    ):  # fmt: skip
        path = folder / "in" / f"{year}.tif"
        values = np.random.default_rng(year).integers(300, 3000, (2, 32, 160)).astype(np.uint16)
        write_raster(path, values, nodata=0, **options)
        files.append(path)
    read = lambda: _imported(folder / "in", folder / "out", OPTIONS)  # noqa: E731
    return Subject(files, read, _of_tiff)


def _of_tiff(data: bytes, draw: Random) -> bytes:
    """Half of the time the header and the directory at its end are damaged, else any byte."""
    if draw.random() < 0.5:
        return of_bytes(data, draw)
    at = draw.choice((0, max(0, int.from_bytes(data[4:8], "little") - 8), len(data) - 600))
    part = of_bytes(data[at : at + 600], draw)
    return data[:at] + part + data[at + 600 :]


def _dates(folder: Path) -> Subject:
    names = [folder / f"s_{year}.tif" for year in (2019, 2020, 2021)]
    path = folder / "dates.csv"
    rows = "".join(f"{name.name},{2019 + i}-06-0{i + 1}\n" for i, name in enumerate(names))
    path.write_text("file,date\n" + rows)
    return Subject([path], lambda: file_dates(names, str(path)), of_text)


FORMATS = (Format("GeoTIFF", _geotiff, 100), Format("list of dates", _dates, 1200))
