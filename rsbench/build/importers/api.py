"""What an importer is: options, request, and the two steps from files to a store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from rsbench.core.errors import InputError
from rsbench.core.names import as_folder
from rsbench.store.layout import SensorMeta, StoreMeta

COMPOSITOR = "import@1"
SENSOR_OPTIONS = frozenset(
    {
        "unit",
        "scale",
        "offset",
        "nodata",
        "bands",
        "dates",
        "crs",
        "region_size",
        "value_range",
        "rgb",
    }
)
STEP_OPTIONS = ("step", "composite")
LAYOUT_OPTIONS = (
    "layout",
    "gsd",
    "dates_in_file",
    "offset_from",
    "mask",
    "mask_valid",
    "origin_tolerance",
)
GATE_OPTIONS = ("clear", "coarse_clear", "correlation", "shift")
COMMON_REASONS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(LAYOUT_OPTIONS, "its layout is known"),
        **dict.fromkeys(STEP_OPTIONS, "its dates are known"),
    }
)
"""Options that an importer of a known set does not take, with the reasons."""
COARSE_OPTIONS = (
    "coarse_scale",
    "coarse_offset",
    "coarse_nodata",
    "coarse_gsd",
    "coarse_resampling",
)
PAIR_OPTIONS = ("coarse_unit", "coarse_bands", "coarse_value_range", "labels")
"""Options of an importer of two sensors that have units and bands of their own."""
ALIKE_REASONS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            PAIR_OPTIONS, "both sensors have one unit, one range and one list of bands"
        ),
        "labels": "labels lie beside pairs; import them as geotiff-pairs",
    }
)
"""Options that an importer of two sensors with one unit does not take, with the reasons."""
ONE_SENSOR_REASONS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((*COARSE_OPTIONS, *GATE_OPTIONS, *PAIR_OPTIONS), "it has no coarse sensor"),
        "labels": ALIKE_REASONS["labels"],
    }
)
"""Likewise of an importer of one sensor."""


@dataclass(frozen=True, kw_only=True)
class SensorOptions:
    """What is stated of one sensor's files: ``value = stored · scale + offset`` in ``unit``.

    ``prefix`` begins the sensor's options on the command line, e.g. ``coarse-``.
    """

    unit: str | None
    scale: float | None
    offset: float | None
    nodata: float | None
    prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What a person states of the files; None where nothing is stated.

    Args:
        unit: ``reflectance``, ``kelvin``, ``display``, or ``index`` for NDVI and the like.
        scale: ``value = stored · scale + offset``; needed for integers unless the files state it.
        offset: likewise; 0 where nothing is stated.
        nodata: stored number of missing pixels, beside what the files state.
        bands: names of the bands: those that the files give them, in any order, or new ones in the
            files' order.
        rgb: the three bands shown as red, green and blue, where their names do not say so.
        dates: pattern or CSV file, see :func:`rsbench.build.importers.dates.file_dates`.
        crs: coordinate system of files that state none, as ``EPSG:code`` or a number.
        region_size: side of a region, in pixels of the finest sensor.
        value_range: lowest and highest value, in the unit, e.g. of pictures with 12 bits.
        coarse_scale: scale of the coarse sensor's images.
        coarse_offset: offset of the coarse sensor's images.
        coarse_nodata: stored number of missing pixels of the coarse sensor's images.
        coarse_gsd: metres that a coarse pixel measures, where the images lie on the fine grid.
        layout: what names of files and folders say, as ``{region}/{date}_{band}.tif``.
        gsd: metres that a pixel measures, of files without a place.
        dates_in_file: dates of files with several: ``names`` of bands, a step, or a list.
        offset_from: a date, and the offset of the files from that date on.
        mask: how the names of mask files end, or which band of a layout they are.
        mask_valid: numbers of mask files that mean valid, as ``0,4-7``.
        origin_tolerance: most pixels that origins of one grid may lie apart, below 1.
        step: time between the dates of the store, as ``16d``, ``1m`` or ``1y``.
        composite: how images near a step become one: ``nearest`` or ``median``.
        clear: smallest share of valid pixels of the fine image of a date of triplets.
        coarse_clear: likewise of the coarse image.
        correlation: smallest correlation of both images of a date, over coarse pixels.
        shift: most coarse pixels that both images of a date may lie apart.
        coarse_resampling: how coarse images of another grid come onto the fine one: ``nearest``.
        split: how regions or dates become train, val and test.
        coarse_unit: unit of the coarse sensor, where both sensors have one of their own.
        coarse_bands: names of its bands.
        coarse_value_range: lowest and highest value of the coarse sensor.
        labels: a label set of the catalogue, or its YAML file.
    """

    unit: str | None = None
    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    bands: tuple[str, ...] | None = None
    rgb: tuple[str, ...] | None = None
    dates: str | None = None
    crs: str | None = None
    region_size: int | None = None
    value_range: tuple[float, float] | None = None
    coarse_scale: float | None = None
    coarse_offset: float | None = None
    coarse_nodata: float | None = None
    coarse_gsd: float | None = None
    coarse_resampling: str | None = None
    layout: str | None = None
    gsd: float | None = None
    dates_in_file: str | None = None
    offset_from: tuple[str, float] | None = None
    mask: str | None = None
    mask_valid: str | None = None
    origin_tolerance: float | None = None
    step: str | None = None
    composite: str | None = None
    clear: float | None = None
    coarse_clear: float | None = None
    correlation: float | None = None
    shift: float | None = None
    split: str | None = None
    coarse_unit: str | None = None
    coarse_bands: tuple[str, ...] | None = None
    coarse_value_range: tuple[float, float] | None = None
    labels: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that are stated, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def sensor(self) -> SensorOptions:
        """Return what is stated of the only sensor, or of the fine one."""
        return SensorOptions(
            unit=self.unit, scale=self.scale, offset=self.offset, nodata=self.nodata
        )

    def coarse(self) -> SensorOptions:
        """Return what is stated of the coarse sensor."""
        return SensorOptions(
            unit=self.unit,
            scale=self.coarse_scale,
            offset=self.coarse_offset,
            nodata=self.coarse_nodata,
            prefix="coarse-",
        )


@dataclass(frozen=True)
class ImportRequest:
    """One import: which importer, from where, to where, and what is stated.

    ``assumed``: options with example values, with which a check goes on after a refusal.
    """

    importer: str
    source: Path
    out: Path
    options: ImportOptions
    assumed: frozenset[str] = frozenset()
    dry_run: bool = False

    def command(self, **changes: Any) -> str:
        """Return the command line of this import, with some options changed."""
        options = replace(self.options, **self.named(changes))
        parts = ["rsbench", "import-dataset", self.importer, str(self.source)]
        parts += ["--out", str(self.out)]
        for name, value in options.given().items():
            parts += [flag(name), *_words(name, value)]
        parts += ["--dry-run"] if self.dry_run else []
        return shlex.join(parts)

    def named(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return options of the sensor that is read under the names of the whole import."""
        return dict(changes)

    @property
    def name(self) -> str:
        """The source folder's name, with only the characters that a region's name may have."""
        return as_folder(self.source.resolve().name, "import")

    def folder(self) -> Path:
        """Return the source.

        Raises:
            InputError: if it is no folder.
        """
        if not self.source.is_dir():
            raise InputError(f"importing {self.source}", "there is no such folder", "Give a folder")
        return self.source


@dataclass(frozen=True)
class Written:
    """What an importer has written: metadata of the store, its regions, and remarks to show."""

    meta: StoreMeta
    regions: Sequence[str]
    notes: Sequence[str] = ()


class Prepared(Protocol):
    """A checked import: every refusal that needs no pixel is behind it."""

    def write(self, root: Path) -> Written:
        """Write all regions into an empty folder, see :func:`rsbench.store.write.write_region`.

        Raises:
            PixelError: if pixels cannot be what is stated.
        """


@runtime_checkable
class Importer(Protocol):
    """One kind of import, registered in the entry-point group ``rsbench.importers``.

    ``title`` is one line for ``import-dataset --help``. ``takes`` names the fields of
    :class:`ImportOptions` that it uses; any other one that is stated is refused, with the reason
    in ``reasons`` where there is one.
    """

    title: str
    takes: frozenset[str]
    reasons: Mapping[str, str]

    def prepare(self, request: ImportRequest) -> Prepared:
        """Read what the files say of themselves and check it against what is stated.

        Raises:
            InputError: if something is not stated, or two files do not fit together.
        """


def _words(name: str, value: Any) -> list[str]:
    if name in ("value_range", "coarse_value_range", "offset_from"):
        return [str(number) for number in value]
    return [",".join(value) if isinstance(value, tuple) else str(value)]


def flag(name: str) -> str:
    """Return the command-line option of a field of :class:`ImportOptions`."""
    return f"--{name.replace('_', '-')}"


def imported_meta(
    kind: str,
    recipe: Mapping[str, Any],
    sensors: Mapping[str, SensorMeta],
    *,
    step: str,
    preset: str,
    protocol: str,
) -> StoreMeta:
    """Return the metadata of an imported store: complete, not simulated, without a lock.

    Args:
        kind: dataset kind, ``series``, ``pairs`` or ``triplets``.
        recipe: how the store was imported; JSON values.
        sensors: metadata by name.
        step: time between dates as ISO 8601, or ``irregular``.
        preset, protocol: what ``rsbench run`` uses where nothing is asked.
    """
    return StoreMeta(
        kind=kind,
        recipe=dict(recipe),
        lock_digest=None,
        compositor=COMPOSITOR,
        simulated=False,
        complete=True,
        missing=(),
        step=step,
        default_preset=preset,
        default_protocol=protocol,
        sensors=dict(sensors),
    )
