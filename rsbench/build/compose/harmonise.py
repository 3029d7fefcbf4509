"""Radiometric offsets by processing baseline; unknown baselines are rejected.

Sentinel-2 products of processing baseline 04.00 and later add 1000 to every valid number; the
baseline decides and never the date, because reprocessed early years carry the offset too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import ProviderSpec, Sensor
from rsbench.core.errors import InputError

S2_OFFSET = -1000
S2_OFFSET_SINCE = (4, 0)


def item_offset(item: Mapping[str, Any], spec: ProviderSpec) -> int:
    """Return the integer to add to an item's valid numbers: 0, or −1000 for Sentinel-2.

    Raises:
        InputError: if the baseline is missing or unreadable, or if the item contradicts itself.
    """
    if spec.offset_policy == "none":
        return 0
    properties = item.get("properties", {})
    name = spec.baseline_property or "s2:processing_baseline"
    baseline = parse_baseline(properties.get(name), str(item.get("id")), name)
    if properties.get("earthsearch:boa_offset_applied"):
        raise InputError(
            f"the offset of item {item.get('id')}",
            f"it says the offset is taken off already, and so does not follow its baseline "
            f"{properties.get(name)} alone",
            "Use the collection sentinel-2-c1-l2a, whose pixels follow the baseline",
        )
    return S2_OFFSET if baseline >= S2_OFFSET_SINCE else 0


def parse_baseline(value: Any, item: str, name: str) -> tuple[int, int]:
    """Return a processing baseline such as ``05.11`` as ``(5, 11)``."""
    match = re.fullmatch(r"N?(\d{2})\.?(\d{2})", str(value).strip()) if value is not None else None
    if match is None:
        raise InputError(
            f"the processing baseline of item {item}",
            f"{name} is {'missing' if value is None else repr(value)}",
            "Without it the offset cannot be known; leave the item out or use another catalogue",
        )
    return int(match[1]), int(match[2])


def check_declared(item: Mapping[str, Any], key: str, sensor: Sensor, offset: int) -> None:
    """Refuse an asset whose own scale or offset contradicts the catalogue's.

    The asset states ``value = stored · scale + offset`` for the file's numbers, the catalogue for
    the harmonised ones; both must give one value.
    """
    asset = item.get("assets", {}).get(key, {})
    bands: Sequence[Mapping[str, Any]] = asset.get("raster:bands") or asset.get("bands") or [{}]
    for band in bands:
        held = {**asset, **band}  # bands inherit what the asset states
        scale = held.get("scale", held.get("raster:scale"))
        if scale is None:
            continue
        stated = float(held.get("offset", held.get("raster:offset", 0.0)))
        _, wanted = file_rule(sensor, offset)
        if not (
            math.isclose(float(scale), sensor.scale, rel_tol=1e-6)
            and math.isclose(stated, wanted, rel_tol=1e-6, abs_tol=1e-9)
        ):
            raise InputError(
                f"asset {key} of item {item.get('id')}",
                f"it states scale {scale} and offset {stated}, the catalogue's rule for "
                f"{sensor.name} gives {sensor.scale} and {wanted:g}",
                "Leave the item out, or correct the sensor's catalogue entry",
            )


def file_rule(sensor: Sensor, offset: int) -> tuple[float, float]:
    """Return scale and offset of a file's numbers before ``offset`` is added to them."""
    return sensor.scale, sensor.offset + offset * sensor.scale


def harmonise(values: npt.NDArray[Any], offset: int, nodata: int) -> None:
    """Add a scene's offset in place; nodata stays, dark valid numbers become 1 and not nodata.

    With S2's offset: ``where(DN == 0, 0, max(DN − 1000, 1))``.
    """
    if offset == 0:
        return
    if values.dtype != np.uint16 or offset > 0 or nodata != 0:
        raise InputError(
            "harmonising",
            f"an offset of {offset} on {values.dtype} numbers with nodata {nodata} has no rule",
            "Correct the sensor's catalogue entry",
        )
    off = np.uint16(-offset)
    data = np.minimum(values, np.uint16(1))
    # max(DN, off + 1) − (off + 1), and 1 where there is data, is max(DN − off, 1) without leaving
    # uint16 and without a condition per pixel.
    np.maximum(values, off + np.uint16(1), out=values)
    np.subtract(values, off + np.uint16(1), out=values)
    np.add(values, data, out=values)
