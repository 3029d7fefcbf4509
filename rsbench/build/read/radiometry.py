"""Scale, offset and bits of stored numbers, from every place where a raster states them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsbench.core.errors import InputError

FLOAT32 = 1e-6
"""Relative difference of a number and the same number kept as float32, as tags often are."""
_TAGS = {"scale": "scale_factor", "offset": "add_offset"}
_NEUTRAL = {"scale": 1.0, "offset": 0.0}


@dataclass(frozen=True)
class Radiometry:
    """``value = stored · scale + offset``; ``bits`` where fewer are used than the type has."""

    scale: float
    offset: float
    bits: int | None


def radiometry_of(path: Path, data: Any, bands: int) -> Radiometry:
    """Return what a raster states of its numbers; 1 and 0 where it states no scale and offset.

    Scale and offset are taken from the bands, and from the tags ``scale_factor`` and
    ``add_offset`` of bands and file.

    Args:
        path: the file, for errors.
        data: it, opened by rasterio.
        bands: how many bands to look at, from the first on.

    Raises:
        InputError: if two places contradict, a tag is no number, or bands differ.
    """
    found = {
        name: alike(path, f"{name}s", [band_states(path, data, i, name) for i in range(bands)])
        for name in _TAGS
    }
    bits = {data.tags(i + 1, ns="IMAGE_STRUCTURE").get("NBITS") for i in range(bands)} - {None}
    return Radiometry(found["scale"], found["offset"], max(map(int, bits)) if bits else None)


def band_states(path: Path, data: Any, band: int, name: str) -> float:
    """Return ``scale`` or ``offset`` of a band, counted from 0; 1 and 0 where nothing states it.

    Raises:
        InputError: if two places contradict, or a tag is no number.
    """
    value, place = _NEUTRAL[name], ""
    for other, where in _places(path, data, band, name):
        if place and not math.isclose(value, other, rel_tol=FLOAT32):
            raise InputError(
                f"importing {path}",
                f"its {name} is {value:g} by {place} and {other:g} by {where}",
                "Repair the file: one of them is wrong",
            )
        value, place = (value, place) if place else (other, where)
    return value


def _places(path: Path, data: Any, band: int, name: str) -> Iterator[tuple[float, str]]:
    """Yield every scale or offset that is stated for a band, and where."""
    own = float((data.scales if name == "scale" else data.offsets)[band])
    if own != _NEUTRAL[name]:
        yield own, f"band {band + 1}"
    places: tuple[tuple[Mapping[str, str], str], ...] = (
        (data.tags(band + 1), f"a tag of band {band + 1}"),
        (data.tags(), "a tag of the file"),
    )
    for tags, where in places:
        text = next((v for k, v in tags.items() if k.lower() == _TAGS[name]), None)
        if text is None:
            continue
        try:
            yield float(text), where
        except ValueError as error:
            raise InputError(
                f"importing {path}", f"{where} states the {name} {text!r}", "Repair the file"
            ) from error


def alike(path: Path, what: str, values: Sequence[Any]) -> Any:
    """Return the one value that all bands have.

    Raises:
        InputError: if they have several.
    """
    if len(set(values)) != 1:
        raise InputError(
            f"importing {path}",
            f"its bands have different {what}: {', '.join(map(str, values[:4]))}",
            "Bring all bands to one",
        )
    return values[0]
