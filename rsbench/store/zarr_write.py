"""Writing the Zarr groups and arrays of a sensor, with CF attributes for xarray and rioxarray."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rsbench.core.dates import day_numbers
from rsbench.core.errors import InputError
from rsbench.core.grid import Grid
from rsbench.store.layout import (
    CHUNK,
    IMAGE,
    ROOT_KEY,
    SCHEMA,
    VALUES,
    Array,
    SensorArrays,
    SensorMeta,
)

SETTLE_S = 10.0
"""Longest time that :func:`finish_writes` waits, in seconds."""
CODECS = ("zstd", "lz4", "zstd-shuffle", "none")
CF_UNITS = {"reflectance": "1", "kelvin": "K", "display": "1", "index": "1"}
"""Unit of a sensor → unit as CF writes it."""
LONG_NAMES = {
    "valid": "whether the pixel is valid in all bands",
    "n_valid": "number of valid observations",
    "odd": "composite of the odd dates",
    "even": "composite of the even dates",
    "spread": "median absolute deviation of the observations",
    "source": "number of the selected observation, from 1",
    "labels": "class codes",
}


def write_group(
    folder: Path, attributes: dict[str, Any], consolidated: Mapping[str, Any] | None = None
) -> None:
    """Write the metadata file of a Zarr v3 group.

    Args:
        folder: the group.
        attributes: its attributes.
        consolidated: path below the group → metadata of that array or group; readers then open one
            file instead of one per array.
    """
    text: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if consolidated is not None:
        text |= consolidation(consolidated)
    (folder / "zarr.json").write_text(json.dumps(text), encoding="utf-8")


def consolidation(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entry of a group's metadata that repeats that of the nodes below it."""
    held = {"kind": "inline", "must_understand": False, "metadata": dict(sorted(nodes.items()))}
    return {"consolidated_metadata": held}


def nodes_below(folder: Path) -> dict[str, Any]:
    """Return path → metadata of all arrays and groups below a group, without its own."""
    files = (path for path in folder.rglob("zarr.json") if path.parent != folder)
    return {
        path.parent.relative_to(folder).as_posix(): {
            key: value
            for key, value in json.loads(path.read_text(encoding="utf-8")).items()
            if key != "consolidated_metadata"
        }
        for path in files
    }


def write_sensor(target: Path, arrays: SensorArrays, meta: SensorMeta, codec: str) -> None:
    """Write a sensor's arrays and coordinates into the new folder ``target``."""
    target.mkdir()
    for key, array in arrays.named().items():
        about = _attributes(key, arrays, meta) | dict(arrays.about.get(key, {}))
        _write_cube(target, key, array, meta, codec, about)
    _write_coords(target, arrays, meta)
    sensor = {"schema": SCHEMA, **meta.to_json(), "grid": arrays.grid.to_json()}
    attributes = {"Conventions": "CF-1.11", ROOT_KEY: sensor}
    write_group(target, attributes, nodes_below(target))


def _write_cube(
    target: Path,
    key: str,
    array: Array,
    meta: SensorMeta,
    codec: str,
    attributes: Mapping[str, Any],
) -> None:
    """Write one array with time and pixel axes."""
    height, width = array.shape[-2:]
    inner = (*array.shape[:-2], min(CHUNK, height), min(CHUNK, width))
    shard = tuple(-(-n // c) * c for n, c in zip(array.shape, inner, strict=True))
    is_cube = array.ndim == 4
    is_value = is_cube and key != "spread"
    _create(
        target,
        IMAGE if key == VALUES else key,
        array,
        chunks=inner,
        shards=shard,
        compressors=_compressors(codec, array.dtype.itemsize),
        fill_value=array.dtype.type(meta.nodata if is_value else 0),
        dimension_names=("time", "band", "y", "x") if is_cube else ("time", "y", "x"),
        attributes=dict(attributes),
    )


def _attributes(key: str, arrays: SensorArrays, meta: SensorMeta) -> dict[str, Any]:
    """Return the CF attributes of an array; xarray makes physical values of them.

    ``_FillValue`` is left out where a valid pixel holds the nodata number, as black does in
    pictures; ``valid`` then tells which pixels are missing.
    """
    # xarray reads `coordinates`, rioxarray reads `grid_mapping`.
    found: dict[str, Any] = {"grid_mapping": "spatial_ref", "coordinates": "spatial_ref"}
    found["long_name"] = LONG_NAMES.get(key, meta.unit)
    array = arrays.named()[key]
    if array.ndim != 4:
        return found
    found["units"] = CF_UNITS[meta.unit]
    held = meta.to_json()
    if held["scale"] != 1 or held["offset"] != 0:
        found["scale_factor"] = held["scale"]
    if key == "spread":  # a difference of two stored numbers has no offset
        return found
    if held["offset"] != 0:
        found["add_offset"] = held["offset"]
    if key != VALUES:
        return found | {"_FillValue": _fill(held["nodata"])}
    found |= {"nodata": held["nodata"], "ancillary_variables": "valid n_valid"}
    frames = zip(array, arrays.valid, strict=True)
    if any((frame[:, valid] == meta.nodata).any() for frame, valid in frames):
        return found | {"comment": "nodata is also the number of valid pixels; see valid"}
    return found | {"_FillValue": _fill(held["nodata"])}


def _fill(nodata: float) -> int | str:
    """Return a fill value as xarray writes it into the JSON of Zarr v3: floats as base64."""
    if isinstance(nodata, int):
        return nodata
    return base64.standard_b64encode(struct.pack("<d", nodata)).decode()


def _write_coords(target: Path, arrays: SensorArrays, meta: SensorMeta) -> None:
    a, _, c, _, e, f = arrays.grid.transform
    y, x = centres(arrays.grid)
    coords: dict[str, tuple[Array, tuple[str, ...], dict[str, Any]]] = {
        "time": (
            day_numbers(arrays.times),
            ("time",),
            {
                "units": "days since 1970-01-01",
                "calendar": "proleptic_gregorian",
                "axis": "T",
                "standard_name": "time",
            },
        ),
        "band": (
            np.array(meta.bands, dtype=np.dtypes.StringDType()),
            ("band",),
            {"long_name": "band"},
        ),
        "y": (y, ("y",), {"axis": "Y", "standard_name": "projection_y_coordinate"}),
        "x": (x, ("x",), {"axis": "X", "standard_name": "projection_x_coordinate"}),
        "spatial_ref": (
            np.array(0, dtype=np.int32),
            (),
            {**_crs_attributes(arrays.grid.crs), "GeoTransform": f"{c} {a} 0.0 {f} 0.0 {e}"},
        ),
    }
    for key, (array, dims, attributes) in coords.items():
        _create(
            target,
            key,
            array,
            chunks=array.shape,
            shards=None,
            compressors=None,
            fill_value="" if key == "band" else array.dtype.type(0),
            dimension_names=dims,
            attributes=attributes,
        )


def centres(grid: Grid) -> tuple[Array, Array]:
    """Return the coordinates of pixel centres, ``(H,)`` and ``(W,)`` float64, in CRS units.

    Raises:
        InputError: if the grid is rotated.
    """
    a, b, c, d, e, f = grid.transform
    if b or d:
        raise InputError("grid", f"rotated: {grid.transform}", "Warp it to a north-up grid first")
    y = f + e * (np.arange(grid.height, dtype=np.float64) + 0.5)
    x = c + a * (np.arange(grid.width, dtype=np.float64) + 0.5)
    return y, x


def _crs_attributes(crs: str) -> dict[str, Any]:
    try:
        from pyproj import CRS
        from pyproj.exceptions import CRSError
    except ImportError as error:
        raise InputError(
            "writing a store", "pyproj is not installed", "Type: pip install 'rsbench[build]'"
        ) from error
    try:
        attributes = CRS.from_user_input(crs).to_cf()
    except CRSError as error:
        raise InputError(
            f"CRS {crs!r}", "it names no coordinate system", "Give EPSG:code"
        ) from error
    return json.loads(json.dumps(attributes))  # type: ignore[no-any-return]


def _create(target: Path, key: str, array: Array, **options: Any) -> None:
    import zarr
    from zarr.storage import LocalStore

    # Empty chunks are written too, so that an absent chunk always means damage.
    created = zarr.create_array(
        LocalStore(target),
        name=key,
        shape=array.shape,
        dtype=array.dtype,
        zarr_format=3,
        filters=None,
        config={"write_empty_chunks": True},
        **options,
    )
    created[...] = array


def _compressors(codec: str, itemsize: int) -> list[Any]:
    from zarr.codecs import BloscCodec, Crc32cCodec

    # Blosc has no checksum; with crc32c, reading a damaged chunk raises an error.
    options: dict[str, tuple[Any, int, Any]] = {
        "zstd": ("zstd", 5, "bitshuffle"),
        "lz4": ("lz4", 5, "bitshuffle"),
        "zstd-shuffle": ("zstd", 5, "shuffle"),
    }
    if codec == "none":
        return [Crc32cCodec()]
    cname, level, shuffle = options[codec]
    return [
        BloscCodec(typesize=itemsize, cname=cname, clevel=level, shuffle=shuffle),
        Crc32cCodec(),
    ]


def finish_writes() -> None:
    """Wait until all concurrent writes of zarr have ended, after one of them failed.

    Zarr writes the chunks of an array concurrently and raises at the first failure. The other
    writes would continue while the folder is removed, and their errors would be lost.
    """
    from zarr.core.sync import sync

    async def finish() -> None:
        this = asyncio.current_task()
        others = asyncio.all_tasks() - ({this} if this else set())
        if others:
            await asyncio.wait(others, timeout=SETTLE_S)

    sync(finish())
