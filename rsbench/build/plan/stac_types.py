"""Types of the STAC fields that rsbench reads; the names are those of STAC 1.0 and 1.1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Word = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]


_PLAIN = re.compile(r"https?://[A-Za-z0-9.-]+(/|\Z)")
"""The beginning of an address without port and user."""


def _address(text: str) -> str:
    if _PLAIN.match(text):
        return text
    try:
        urlsplit(text).port  # noqa: B018 - raises ValueError where host or port are malformed
    except ValueError as error:
        raise ValueError("an address is needed") from error
    return text


Href = Annotated[
    str,
    Field(min_length=1, max_length=8000, pattern=r"^[^\x00-\x1f\x7f]+$"),
    AfterValidator(_address),
]
Label = str | int | float | None
"""A name or code, e.g. of a tile, path or baseline."""
Percent = Annotated[float, Field(ge=-1, le=100)]
"""Per cent; -1 is Landsat's "not computed"."""


class _Strict(BaseModel):
    """No conversion: a number in quotes is no number. Other fields are not checked."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _box(box: Sequence[float]) -> Sequence[float]:
    """Check a box in degrees; the west may be larger than the east (antimeridian)."""
    half = len(box) // 2
    if len(box) not in (4, 6):
        raise ValueError("a box has 4 or 6 numbers")
    south, north = box[1], box[half + 1]
    if not (-90 <= south <= north <= 90 and max(abs(box[0]), abs(box[half])) <= 360):
        raise ValueError(
            "longitudes and latitudes are needed, in degrees, the south before the north"
        )
    return box


Box = Annotated[list[float], AfterValidator(_box)]
Position = Annotated[list[float], Field(min_length=2, max_length=4)]
Ring = Annotated[list[Position], Field(min_length=4)]
Polygon = Annotated[list[Ring], Field(min_length=1)]


class _Polygon(_Strict):
    type: Literal["Polygon"]
    coordinates: Polygon


class _MultiPolygon(_Strict):
    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[Polygon], Field(min_length=1)]


class _OtherGeometry(_Strict):
    """A geometry that is not read; the box of the item is used."""

    type: Literal["Point", "MultiPoint", "LineString", "MultiLineString", "GeometryCollection"]


class Link(_Strict):
    """A link of any document."""

    rel: str
    href: Href
    method: str | None = None
    body: dict[str, Any] | None = None
    headers: dict[str, str | list[str]] | None = None
    merge: bool | None = None


class Document(_Strict):
    """What any STAC document has."""

    links: list[Link] | None = None


class _Matched(_Strict):
    matched: int | None = None


class Page(Document):
    """A page of a search; its items are checked one by one."""

    features: list[dict[str, Any]] | None = None
    number: Annotated[int | None, Field(alias="numberMatched")] = None
    context: _Matched | None = None


class _Band(_Strict):
    scale: float = 1.0
    offset: float = 0.0
    raster_scale: Annotated[float, Field(alias="raster:scale")] = 1.0
    raster_offset: Annotated[float, Field(alias="raster:offset")] = 0.0
    nodata: str | float | None = None
    data_type: str | None = None
    name: str | None = None


class _Projected(_Strict):
    epsg: Annotated[int | None, Field(alias="proj:epsg")] = None
    code: Annotated[str | None, Field(alias="proj:code")] = None
    wkt2: Annotated[str | None, Field(alias="proj:wkt2")] = None
    box: Annotated[list[float] | None, Field(alias="proj:bbox")] = None
    shape: Annotated[list[int] | None, Field(alias="proj:shape")] = None
    transform: Annotated[list[float] | None, Field(alias="proj:transform")] = None
    gsd: Annotated[float | None, Field(gt=0)] = None


class Asset(_Projected, _Band):
    """A file of an item."""

    href: Href
    bands: list[_Band] | None = None
    raster_bands: Annotated[list[_Band] | None, Field(alias="raster:bands")] = None
    size: Annotated[int | None, Field(alias="file:size", ge=0)] = None
    checksum: Annotated[str | None, Field(alias="file:checksum")] = None


class _Properties(_Projected):
    time: Annotated[str | None, Field(alias="datetime")] = None
    start: Annotated[str | None, Field(alias="start_datetime")] = None
    end: Annotated[str | None, Field(alias="end_datetime")] = None
    created: str | None = None
    platform: str | None = None
    generated: Annotated[str | None, Field(alias="s2:generation_time")] = None
    cloud: Annotated[Percent | None, Field(alias="eo:cloud_cover")] = None
    tile: Annotated[Label, Field(alias="s2:mgrs_tile")] = None
    grid: Annotated[Label, Field(alias="grid:code")] = None
    baseline: Annotated[Label, Field(alias="s2:processing_baseline")] = None
    datatake: Annotated[Label, Field(alias="s2:datatake_id")] = None
    path: Annotated[Label, Field(alias="landsat:wrs_path")] = None
    harmonised: Annotated[bool | None, Field(alias="earthsearch:boa_offset_applied")] = None


class StacItem(Document):
    """An item; ``properties``, ``assets`` and ``links`` may be absent, and are empty then."""

    id: Word
    collection: Word | None = None
    bbox: Box | None = None
    geometry: Annotated[
        _Polygon | _MultiPolygon | _OtherGeometry | None, Field(discriminator="type")
    ] = None
    properties: _Properties | None = None
    assets: dict[Word, Asset] | None = None
