"""One sensor's files in order of time, and their pixels by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.build.importers.alike import shown
from rsbench.build.importers.api import ImportRequest, SensorOptions
from rsbench.build.importers.layout import Images
from rsbench.build.importers.plausibility import Plausibility
from rsbench.build.importers.raster import Raster
from rsbench.build.importers.stated import SensorIdentity, Stated, meta_of
from rsbench.build.importers.taken import Taken
from rsbench.build.importers.validity import Read, declared_nodata, valid_reader
from rsbench.core.digest import sha256_file, sha256_json
from rsbench.core.grid import Window
from rsbench.store.layout import SensorArrays, SensorMeta


@dataclass(frozen=True)
class SensorFiles:
    """One sensor's files in order of time, and how their numbers are to be read.

    ``folder``: the one below which all of them lie, where there is one. ``prefix``: of the
    options of this sensor, e.g. ``coarse-``.
    """

    files: tuple[Raster, ...]
    times: tuple[date, ...]
    meta: SensorMeta
    nodata: float | None
    read: Read
    folder: Path | None = None
    prefix: str = ""

    def at(self, day: date) -> Raster:
        """Return the file of a date."""
        return self.files[self.times.index(day)]

    def plausibility(self) -> Plausibility:
        """Return what tells whether the numbers of the files are plausible, before any window."""
        return Plausibility(self.files, self.meta, nodata=self.nodata, prefix=self.prefix)

    def recipe(self) -> dict[str, Any]:
        """Return how the files were read, and their digests, as JSON values."""
        return {
            "scale": self.meta.scale,
            "offset": self.meta.offset,
            "nodata": None if self.nodata is None else str(self.nodata),
            "files": {_below(p, self.folder): _digest(p) for p in self._paths()},
            **({"origins": self._moved()} if self._moved() else {}),
            **({} if all(raster.placed for raster in self.files) else {"unplaced": True}),
        }

    def _moved(self) -> dict[str, list[float]]:
        """Return file → pixels right and down that its own origin lies of that of the store."""
        return {
            _below(r.path, self.folder): [round(n, 6) for n in r.moved]
            for r in self.files
            if any(r.moved)
        }

    def moved(self) -> list[str]:
        """Say how many files have another origin than the store, and how far it lies."""
        if not (found := self._moved()):
            return []
        most = max(abs(number) for apart in found.values() for number in apart)
        return [
            f"{len(found)} of {len(self.files)} images of {self.meta.name} have an origin up to "
            f"{most:.2g} px beside that of the first; they are taken as on one grid, as stated"
        ]

    def repeated(self, digests: Mapping[str, str]) -> list[str]:
        """Return one line per image whose files are those of an earlier date.

        ``digests``: of the files, as in :meth:`recipe`.
        """
        first: dict[Any, Raster] = {}
        lines = []
        for raster in self.files:
            bands = replace(raster, mask=None).paths
            held = tuple(digests[_below(path, self.folder)] for path in bands)
            before = first.setdefault((held, raster.only, raster.variable), raster)
            if before is not raster:
                lines.append(
                    f"{raster.path.name} has the bytes of {before.path.name}: one of their dates "
                    "may be wrong"
                )
        return lines

    def taken(self, region: str, split: str) -> Iterator[Taken]:
        """Yield what each image is taken for, in order of time."""
        meta = self.meta
        for raster, day in zip(self.files, self.times, strict=True):
            offset = meta.offset - raster.added * meta.scale
            yield Taken(
                file=self._file(raster),
                sensor=meta.name, region=region, date=day, bands=_bands(raster, meta),
                unit=meta.unit, scale=f"{meta.scale:g}", offset=f"{offset:g}", dtype=raster.dtype,
                nodata=self._nodata(raster), mask=_mask(raster, self.folder),
                grid=shown(raster.native or raster.grid) + _place(raster), split=split,
            )  # fmt: skip

    def _file(self, raster: Raster) -> str:
        """Return the file of an image; of several how many, and the variables of a cube."""
        paths = [_below(path, self.folder) for path in replace(raster, mask=None).paths]
        variables = ",".join(part.variable for part in raster.parts or (raster,))
        if len(paths) > 1:
            return f"{paths[0]} and {len(paths) - 1} more"
        return f"{paths[0]}:{variables}" if raster.variable else paths[0]

    def _nodata(self, raster: Raster) -> str:
        held = {f"{n:g}" for n in (raster.nodata, self.nodata) if n is not None}
        return " or ".join(sorted(held))

    def _paths(self) -> list[Path]:
        return list(dict.fromkeys(path for raster in self.files for path in raster.paths))


def _below(path: Path, folder: Path | None) -> str:
    """Return a path below the folder of the files, or its name."""
    return path.name if folder is None else path.relative_to(folder).as_posix()


def _bands(raster: Raster, meta: SensorMeta) -> str:
    """Return the names of the bands, and their numbers in the file where the order is another."""
    numbers = ",".join(map(str, raster.only)) if raster.only and not raster.variable else ""
    return ",".join(meta.bands) + (f" (bands {numbers} of the file)" if numbers else "")


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, of a folder that of its files and their names."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return sha256_json([[p.relative_to(path).as_posix(), sha256_file(p)] for p in files])


def _mask(raster: Raster, folder: Path | None) -> str:
    """Return what beside a nodata number marks missing pixels."""
    if raster.mask is not None:
        valid = ",".join(map(str, raster.mask_valid))
        return f"{_below(raster.mask.path, folder)} where {valid}"
    if raster.alpha is not None:
        return f"band {raster.alpha} (alpha)"
    return "in the file" if raster.masked else ""


def _place(raster: Raster) -> str:
    """Return how a grid differs from what the file states."""
    said = [
        "" if raster.placed else "as stated: the file has no place",
        f"its own origin lies {raster.moved[0]:.2g}, {raster.moved[1]:.2g} px beside"
        if any(raster.moved)
        else "",
        "turned: its first row is in the south" if raster.south_up else "",
        "" if raster.native is None else "resampled to the fine grid: nearest",
    ]
    return "".join(f" ({text})" for text in said if text)


def dated_files(
    request: ImportRequest,
    images: Images,
    stated: Stated,
    given: SensorOptions,
    identity: SensorIdentity,
) -> SensorFiles:
    """Return files of one sensor in order of their dates.

    Args:
        request: the import.
        images: the files; all are alike.
        stated: how stored numbers are to be read.
        given: what is stated of the sensor.
        identity: what the sensor is called; the bands are those of the request.

    Raises:
        InputError: if the nodata number, the type or the range of a file is not known.
    """
    first = images.rasters[0]
    nodata = declared_nodata(given, first)
    named = replace(identity, bands=request.options.bands)
    return SensorFiles(
        files=images.rasters,
        times=images.times,
        meta=meta_of(request, first, stated, nodata, named),
        nodata=nodata,
        read=valid_reader(given.nodata, given.prefix),
        folder=images.folder,
        prefix=given.prefix,
    )


def read_block(sensor: SensorFiles, window: Window, found: Plausibility) -> SensorArrays:
    """Return one window of every file; what it says of plausibility is added to ``found``.

    Args:
        sensor: the files.
        window: rows and columns on the files' grid.
        found: of the sensor's files, over windows.
    """
    shape = (len(sensor.files), len(sensor.meta.bands), window.height, window.width)
    values = np.empty(shape, sensor.meta.dtype)
    valid = np.empty((shape[0], *shape[2:]), np.bool_)
    for t, raster in enumerate(sensor.files):
        pixels, valid[t] = sensor.read(raster, window)
        values[t] = np.where(valid[t], pixels, sensor.meta.nodata)
        found.add(t, pixels, valid[t])
    grid = sensor.files[0].grid.window(window)
    return SensorArrays(values, valid, valid.astype(np.uint16), sensor.times, grid)
