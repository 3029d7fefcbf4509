"""The files of a task and of its answers: NumPy arrays, Zarr groups, GeoTIFFs or ENVI files.

Frames given are written per folder and date in the sensor's unit, 0 where not valid, with the mask
beside them, on the grid of the answer or on the one stated with them. Answers are read window by
window, so that memory does not grow with a region.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from rsbench.build.importers.flat_files import header_of, require_size
from rsbench.core.errors import InputError, PixelError, RsbenchError, first_line, unknown
from rsbench.core.grid import Grid, Window
from rsbench.core.io import write_npy
from rsbench.evaluation.submission_maps import is_class_map, one_hot
from rsbench.store.export.envi_file import write_envi
from rsbench.store.export.geotiff_file import geotiff, profile_of

if TYPE_CHECKING:
    from rsbench.models.api import Frames
    from rsbench.tasks.base import Asked

NOTE = "answer.json"
Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Pair = tuple[Array, Mask]
GRID_TOLERANCE = 1e-6  # of a pixel's side
SUFFIXES = (".dat", ".img", ".bsq", ".bil", ".bip", "")
"""Ends of the names of flat binaries with an ENVI header."""


class ContextFiles:
    """Writes the frames that a task gives.

    Args:
        folder: where they go.
        form: a key of ``LAYOUT``.
    """

    LAYOUT: ClassVar[dict[str, str]] = {
        "npy": "context/<folder>/<date>.npy float32 (C, H, W) and <date>.valid.npy bool (H, W)",
        "zarr": "context is a Zarr group; <folder>/<date> float32 (C, H, W), <folder>/<date>.valid",
        "geotiff": "context/<folder>/<date>.tif float32, a band each, mask inside the file",
        "envi": "context/<folder>/<date>.dat float32 BSQ, <date>.valid.dat uint8 0 or 1, with .hdr",
    }

    def __init__(self, folder: Path, form: str) -> None:
        if form not in self.LAYOUT:
            raise unknown("format", form, self.LAYOUT)
        folder.mkdir(parents=True)
        self._folder = folder
        self._put = {"npy": self._npy, "zarr": self._zarr, "geotiff": self._geotiff,
                     "envi": self._envi}[form]  # fmt: skip
        self._written: set[tuple[str, date]] = set()

    def lacks(self, item: Asked[Any]) -> bool:
        """Return whether a frame of a prediction is not written yet."""
        wanted = {(item.folders[s], day) for s, days in item.given.items() for day in days}
        return not wanted <= self._written

    def write(self, item: Asked[Any], frames: Mapping[str, Frames]) -> None:
        """Write the frames of one prediction that are not written yet."""
        for sensor, days in item.given.items():
            folder, shown = item.folders[sensor], frames[sensor]
            for place, day in enumerate(days):
                if (folder, day) in self._written:
                    continue
                values = shown.values[0, 0, place].numpy()
                valid = shown.valid[0, 0, place, 0].numpy()
                grid = item.grids.get(sensor, item.grid)
                self._put(f"{folder}/{day}", grid, shown.bands, (values, valid))
                self._written.add((folder, day))

    def _npy(self, name: str, grid: Grid, bands: Sequence[str], arrays: Pair) -> None:
        place = self._folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_npy(place.with_name(f"{place.name}.npy"), arrays[0])
        write_npy(place.with_name(f"{place.name}.valid.npy"), arrays[1])

    def _zarr(self, name: str, grid: Grid, bands: Sequence[str], arrays: Pair) -> None:
        import zarr

        group = zarr.open_group(self._folder, mode="a", zarr_format=3)
        for path, array in zip((name, f"{name}.valid"), arrays, strict=True):
            held = group.create_array(path, shape=array.shape, dtype=array.dtype)
            held[...] = array

    def _geotiff(self, name: str, grid: Grid, bands: Sequence[str], arrays: Pair) -> None:
        rasterio, place = _rasterio(), self._folder / f"{name}.tif"
        place.parent.mkdir(parents=True, exist_ok=True)
        profile = profile_of(rasterio, grid, "float32", len(bands))
        with geotiff(rasterio, place, profile) as file:
            file.write(arrays[0])
            file.write_mask(np.where(arrays[1], 255, 0).astype(np.uint8))
            file.descriptions = tuple(bands)

    def _envi(self, name: str, grid: Grid, bands: Sequence[str], arrays: Pair) -> None:
        place = self._folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_envi(place.with_name(f"{place.name}.dat"), arrays[0], grid, bands)
        valid = arrays[1][None].astype(np.uint8)
        write_envi(place.with_name(f"{place.name}.valid.dat"), valid, grid, ("valid",))


class AnswerFiles(ABC):
    """Reads predictions made elsewhere, in the sensor's unit.

    Args:
        folder: where they are.
        bands: names along C.
        codes: code → index of its class, where a prediction may be a map of class codes.
    """

    LAYOUT: ClassVar[dict[str, str]] = {
        "npy": "<region>/<name>.npy float32 (L, C, H, W) or (L, M, C, H, W) with members",
        "zarr": "a Zarr group; <region>/<name> float32 (L, C, H, W) or (L, M, C, H, W)",
        "geotiff": "<region>/<name>/<target>.tif float32, a band each, on the region's grid",
        "envi": "<region>/<name>/<target>.dat float32, a band each, any interleave, with .hdr; its "
        "place may be left out",
    }

    def __init__(
        self, folder: Path, bands: tuple[str, ...], codes: Mapping[int, int] | None = None
    ) -> None:
        self._folder, self._bands, self._codes = folder, bands, codes or {}
        self.class_maps = False

    def require(self, asked: Sequence[Asked[Any]]) -> None:
        """Check every file's header before any pixel is read.

        Raises:
            InputError: names the first prediction that is absent or has another shape, and how many
                are absent.
        """
        absent = [item for item in asked if not self._there(item)]
        if absent:
            raise InputError(
                f"the predictions {self._folder}",
                f"{len(absent)} of {len(asked)} predictions are absent, the first: {absent[0]}",
                f"Add them; they go where task.json says: {self.LAYOUT[self._form]}",
            )
        maps = []
        for item in asked:
            with _readable(item):
                maps.append(self._check(item))
        self.class_maps = any(maps)
        if len(set(maps)) > 1:
            raise InputError(
                f"the predictions {self._folder}",
                f"{sum(maps)} of {len(maps)} are maps of class codes, the others probabilities",
                "Write all of them in one way",
            )

    def read(self, item: Asked[Any], index: int, window: Window) -> Array:
        """Return ``(C, h, w)`` of one lead (from 0); of several members, their mean.

        Raises:
            PixelError: if a value is not finite.
            InputError: if the file is damaged.
        """
        with _readable(item):
            values = self._cut(item, index, window)
        if self.class_maps:
            return one_hot(values[0], self._codes, item, window)
        if not np.isfinite(values).all():
            *rest, band, row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
            member = f", member {rest[0]}" if rest else ""
            raise PixelError(
                f"the prediction of {item}",
                f"{int((~np.isfinite(values)).sum())} values are not finite, the first at lead "
                f"{index + 1}{member}, band {self._bands[band]}, row {window.y + row}, "
                f"column {window.x + column}",
                "Predict a finite value everywhere, also where the input is invalid",
            )
        return _mean(values)

    def look(self, item: Asked[Any], index: int, window: Window) -> Array:
        """Return the same without the check that values are finite."""
        with _readable(item):
            return _mean(self._cut(item, index, window))

    _form: ClassVar[str]

    @abstractmethod
    def _there(self, item: Asked[Any]) -> bool: ...

    @abstractmethod
    def _check(self, item: Asked[Any]) -> bool:
        """Refuse a file of another shape; return whether it is a map of class codes."""

    @abstractmethod
    def _cut(self, item: Asked[Any], index: int, window: Window) -> npt.NDArray[Any]: ...

    def _require_shape(self, item: Asked[Any], shape: tuple[int, ...], dtype: Any) -> bool:
        if self._codes and is_class_map(item, shape, dtype):
            return True
        lead, rest = len(item.targets), (len(self._bands), item.grid.height, item.grid.width)
        fits = shape == (lead, *rest) or (
            len(shape) == 5 and shape[1] > 0 and (shape[0], *shape[2:]) == (lead, *rest)
        )
        if not fits:
            raise InputError(
                f"the prediction of {item}",
                f"its shape is {shape}, asked for is {(lead, *rest)} (leads, bands, rows, columns)",
                "Write all leads, bands and pixels; members go between leads and bands"
                + (", and class codes are one band of integers" if self._codes else ""),
            )
        if np.dtype(dtype).newbyteorder("=") not in (np.float32, np.float64):
            raise InputError(
                f"the prediction of {item}",
                f"its type is {np.dtype(dtype)}",
                "Write float32 in the unit that task.json names; integers and half precision have "
                "lost the digits that metrics measure",
            )
        return False


def _mean(values: npt.NDArray[Any]) -> Array:
    """Return the mean of the members (M, C, h, w), or the only answer (C, h, w)."""
    mean = values.mean(axis=0, dtype=np.float64) if values.ndim == 4 else values
    return np.ascontiguousarray(mean, dtype=np.float32)


class _Arrays(AnswerFiles):
    """Answers as one array per prediction."""

    def _check(self, item: Asked[Any]) -> bool:
        array = self._open(item)
        return self._require_shape(item, tuple(array.shape), array.dtype)

    def _cut(self, item: Asked[Any], index: int, window: Window) -> npt.NDArray[Any]:
        return np.asarray(self._open(item)[(index, ..., *window.slices)])

    @abstractmethod
    def _open(self, item: Asked[Any]) -> Any: ...


class _Npy(_Arrays):
    _form = "npy"

    def _path(self, item: Asked[Any]) -> Path:
        return self._folder / item.region / f"{item.name}.npy"

    def _there(self, item: Asked[Any]) -> bool:
        return self._path(item).is_file()

    def _open(self, item: Asked[Any]) -> Any:
        try:
            return np.load(self._path(item), mmap_mode="r", allow_pickle=False)
        except Exception as error:
            raise InputError(
                f"the prediction of {item}",
                f"{self._path(item)} is cut short or no array of numbers",
                "Write it again with numpy.save",
            ) from error


class _Zarr(_Arrays):
    _form = "zarr"

    def _there(self, item: Asked[Any]) -> bool:
        return (self._folder / item.region / item.name).is_dir()

    def _open(self, item: Asked[Any]) -> Any:
        import zarr

        place = f"{item.region}/{item.name}"
        try:
            return zarr.open_array(self._folder, path=place, mode="r")
        except Exception as error:
            raise InputError(
                f"the prediction of {item}",
                f"{self._folder / place} is no Zarr array ({type(error).__name__})",
                "Write it again",
            ) from error


class _GeoTiff(AnswerFiles):
    _form = "geotiff"

    def _path(self, item: Asked[Any], index: int) -> Path:
        day = item.targets[index].isoformat()
        return self._folder / item.region / item.name / f"{day}.tif"

    def _there(self, item: Asked[Any]) -> bool:
        return all(self._path(item, index).is_file() for index in range(len(item.targets)))

    def _check(self, item: Asked[Any]) -> bool:
        maps = set()
        for index in range(len(item.targets)):
            with self._open(item, index) as file:
                shape = (len(item.targets), file.count, file.height, file.width)
                maps.add(self._require_shape(item, shape, file.dtypes[0]))
                self._require_grid(item, index, file)
        return maps == {True}

    def _require_grid(self, item: Asked[Any], index: int, file: Any) -> None:
        rasterio = _rasterio()
        wanted = rasterio.Affine(*item.grid.transform)
        near = wanted.almost_equals(file.transform, GRID_TOLERANCE * abs(wanted.a))
        if not near or file.crs != rasterio.crs.CRS.from_user_input(item.grid.crs):
            raise InputError(
                f"the prediction of {item}",
                f"{self._path(item, index).name} lies on another grid than the region",
                "Write it with the crs and transform that task.json names",
            )

    def _cut(self, item: Asked[Any], index: int, window: Window) -> npt.NDArray[Any]:
        from rsbench.build.read.opened import checked

        part = _rasterio().windows.Window(window.x, window.y, window.width, window.height)
        with (
            self._open(item, index) as file,
            checked(file, self._path(item, index)) as raster,
        ):
            return raster.read(list(range(1, file.count + 1)), part)

    def _open(self, item: Asked[Any], index: int) -> Any:
        rasterio = _rasterio()
        try:
            return rasterio.open(self._path(item, index), driver="GTiff")
        except rasterio.errors.RasterioIOError as error:
            raise InputError(
                f"the prediction of {item}", f"{self._path(item, index)} is no GeoTIFF",
                "Write it again",
            ) from error  # fmt: skip


class _Envi(_GeoTiff):
    _form = "envi"

    def _path(self, item: Asked[Any], index: int) -> Path:
        """Return the flat binary: ``.dat``, or ``.img``, ``.bsq``, ``.bil``, ``.bip`` or bare."""
        place = self._folder / item.region / item.name / item.targets[index].isoformat()
        places = [place.with_name(place.name + suffix) for suffix in SUFFIXES]
        return next((path for path in places if path.is_file()), places[0])

    def _there(self, item: Asked[Any]) -> bool:
        return super()._there(item) and all(
            header_of(self._path(item, index)).is_file() for index in range(len(item.targets))
        )

    def _require_grid(self, item: Asked[Any], index: int, file: Any) -> None:
        if file.crs or not file.transform.is_identity:
            super()._require_grid(item, index, file)

    def _cut(self, item: Asked[Any], index: int, window: Window) -> npt.NDArray[Any]:
        part = _rasterio().windows.Window(window.x, window.y, window.width, window.height)
        with self._open(item, index) as file:
            return np.asarray(file.read(window=part))

    def _open(self, item: Asked[Any], index: int) -> Any:
        path = self._path(item, index)
        with warnings.catch_warnings(action="ignore"):  # a file without a place is allowed
            file = _rasterio().open(path, driver="ENVI")
        require_size(path, file, file.tags(ns="ENVI"))
        return file


@contextmanager
def _readable(item: Asked[Any]) -> Iterator[None]:
    """Convert whatever a decoder raises for a damaged file."""
    try:
        yield
    except (RsbenchError, MemoryError):
        raise
    except Exception as error:
        found = f"its file cannot be read ({first_line(error)})"
        raise InputError(f"the prediction of {item}", found, "Write it again") from error


def open_answers(
    form: str, folder: Path, bands: tuple[str, ...], codes: Mapping[int, int] | None = None
) -> AnswerFiles:
    """Return what reads answers of a format; ``codes``: see :class:`AnswerFiles`."""
    kinds: dict[str, type[AnswerFiles]] = {"npy": _Npy, "zarr": _Zarr, "geotiff": _GeoTiff,
                                         "envi": _Envi}  # fmt: skip
    if form not in kinds:
        raise unknown("format", form, kinds)
    return kinds[form](folder, bands, codes)


def _rasterio() -> Any:
    try:
        import rasterio
    except ImportError as error:
        raise InputError(
            "GeoTIFFs", "rasterio is not installed", "Type: pip install 'rsbench[build]'"
        ) from error
    return rasterio
