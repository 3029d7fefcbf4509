"""Checks of the files that a lock will name: their format, and their pixel size where stated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from posixpath import splitext
from typing import Any
from urllib.parse import urlsplit

from rsbench.build.plan.items import Item
from rsbench.catalog import Sensor
from rsbench.core.errors import InputError

TOLERANCE = 1.1
"""Ratio of pixel sizes that counts as equal: nominal 500 m stand for the 463 m of MODIS."""
_SUFFIXES = {
    *(".jp2", ".j2k", ".jpx", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".vrt", ".img", ".grib"),
    *(".grb", ".grib2", ".nc", ".nc4", ".cdf", ".hdf", ".h4", ".h5", ".he4", ".he5", ".hdf5"),
    *(".zarr", ".safe", ".zip", ".tar", ".tgz", ".gz", ".7z", ".json", ".xml", ".csv", ".parquet"),
}
_TYPES = ("jp2", "jpeg", "png", "zip", "tar", "hdf", "netcdf", "zarr", "grib", "json", "xml")


def require_format(item: Item, key: str) -> None:
    """Refuse an asset that is not a GeoTIFF by its name or, without a known suffix, by its type.

    Raises:
        InputError: if so; its file would be refused when it is read.
    """
    asset = item["assets"][key]
    name = urlsplit(str(asset.get("href"))).path.rstrip("/").rpartition("/")[2]
    suffix = splitext(name)[1].lower()
    kind = str(asset.get("type") or "").lower()
    if suffix in (".tif", ".tiff"):
        return
    if suffix in _SUFFIXES or ("tif" not in kind and any(word in kind for word in _TYPES)):
        raise InputError(
            f"asset {key} of item {item.get('id')}",
            f"its file is {suffix or kind}, and only GeoTIFF files are read",
            "Name an asset with GeoTIFF files in the sensor's provider entry, or another provider",
        )


def require_pixel_size(item: Item, key: str, index: int, limit: float, band: str) -> None:
    """Refuse an asset that states larger pixels than its band has.

    Args:
        index: band number in the file, from 1.
        limit: pixel size of the band in metres.
        band: what the asset is read as, for the message.

    Raises:
        InputError: if so, or if what it states is no number.
    """
    try:
        stated = next(_stated(item, key, index), None)
    except (
        TypeError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        ZeroDivisionError,
    ) as error:
        raise InputError(
            f"asset {key} of item {item.get('id')}",
            "its pixel size cannot be read from proj:transform, proj:shape or gsd",
            "Correct the item",
        ) from error
    if stated is not None and not stated[1] <= limit * TOLERANCE:
        raise InputError(
            f"asset {key} of item {item.get('id')}",
            f"it states pixels of {stated[1]:g} m ({stated[0]}), {band} has {limit:g} m",
            "Correct the asset names or the gsd of the bands in the sensor's entry",
        )


def limit_of(sensor: Sensor, band: str) -> float:
    """Return the largest pixel size (m) of a file of a band: the band's own, or the sensor's."""
    return max(sensor.band(band).gsd, sensor.gsd)


def mask_limit(sensor: Sensor) -> float:
    """Return the largest pixel size (m) of a quality layer."""
    return max(sensor.mask.gsd, sensor.gsd)


def _stated(item: Item, key: str, index: int) -> Iterator[tuple[str, float]]:
    """Yield where an asset states its pixel size and the size (m), the most exact first."""
    asset, properties = item["assets"][key], item.get("properties", {})

    def held(name: str) -> Any:
        return asset[name] if name in asset else properties.get(name)

    if transform := held("proj:transform"):
        yield "proj:transform", max(abs(float(transform[0])), abs(float(transform[4])))
    if (shape := held("proj:shape")) and (box := held("proj:bbox")):
        rows, columns = float(shape[0]), float(shape[1])
        half = len(box) // 2
        high, wide = float(box[half + 1]) - float(box[1]), float(box[half]) - float(box[0])
        yield "proj:shape", max(wide / columns, high / rows)
    band = {**_entry(asset.get("raster:bands"), index), **_entry(asset.get("bands"), index)}
    for name, value in (
        ("spatial_resolution", band.get("spatial_resolution")),
        ("raster:spatial_resolution", band.get("raster:spatial_resolution")),
        ("raster:spatial_resolution", asset.get("raster:spatial_resolution")),
        ("gsd", band.get("gsd")),
        ("gsd", asset.get("gsd")),
    ):
        if value is not None:
            yield name, float(value)


def _entry(bands: Sequence[Mapping[str, Any]] | None, index: int) -> Mapping[str, Any]:
    """Return what is stated of one band of a file, empty if nothing is."""
    return dict(bands[index - 1]) if bands and len(bands) >= index else {}
