"""Radiometric offsets by processing baseline; unknown baselines are rejected.

Sentinel-2 products of processing baseline 04.00 and later add 1000 to every valid number; the
baseline decides and never the date, because reprocessed early years carry the offset too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.catalog import ProviderSpec, Sensor
from rsbench.core.errors import InputError

S2_OFFSET = -1000
S2_OFFSET_SINCE = (4, 0)
_STATED = ("raster:scale", "raster:offset", "raster:nodata")
"""What an item may state for all its assets."""


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
    """Refuse an asset whose stated scale, offset or nodata number contradicts the catalogue's.

    The asset states ``value = stored · scale + offset`` for the file's numbers, the catalogue for
    the harmonised ones; both must give one value. Bands inherit what asset and item state.

    Raises:
        InputError: if so.
    """
    asset = item.get("assets", {}).get(key, {})
    properties = item.get("properties") or {}
    inherited = {name: properties[name] for name in _STATED if name in properties} | dict(asset)
    bands = [*(asset.get("raster:bands") or ()), *(asset.get("bands") or ())]
    rule = file_rule(sensor, offset)
    for band in bands or [{}]:
        held = inherited | dict(band)
        scales, offsets = _numbers(held, "scale"), _numbers(held, "offset")
        offsets = offsets or [0.0] * bool(scales)  # a scale alone states that nothing is added
        same = all(math.isclose(scale, rule[0], rel_tol=1e-6) for scale in scales) and all(
            math.isclose(added, rule[1], rel_tol=1e-6, abs_tol=1e-9) for added in offsets
        )
        if not same:
            said = [f"scale {n:g}" for n in scales] + [f"offset {n:g}" for n in offsets]
            found = f"it states {' and '.join(said)}, the catalogue's rule for {sensor.name} gives "
            raise _contradicts(item, key, f"{found}{rule[0]} and {rule[1]:g}")
        for number in _numbers(held, "nodata"):
            if number != sensor.nodata and _occurs(number, sensor.dtype):
                found = f"it states nodata {number:g}, that of {sensor.name} is {sensor.nodata}"
                raise _contradicts(item, key, found)


def _numbers(held: Mapping[str, Any], name: str) -> list[float]:
    """Return what is stated under a name with and without its prefix; texts such as nan are not."""
    found = (held.get(name), held.get(f"raster:{name}"))
    return [float(number) for number in found if isinstance(number, int | float)]


def _occurs(number: float, dtype: str) -> bool:
    if np.dtype(dtype).kind == "f":
        return True
    limits = np.iinfo(dtype)
    return limits.min <= number <= limits.max and number == int(number)


def _contradicts(item: Mapping[str, Any], key: str, found: str) -> InputError:
    return InputError(
        f"asset {key} of item {item.get('id')}",
        found,
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
