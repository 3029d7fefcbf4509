"""The files of pairs: fine images, coarse images and labels of every region."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rsbench.build.importers.alike import require_regions_alike
from rsbench.build.importers.api import ImportRequest, SensorOptions, flag
from rsbench.build.importers.common import brought_together
from rsbench.build.importers.dates import date_in, is_dated
from rsbench.build.importers.lacks import NotStatedError
from rsbench.build.importers.layout import Images, images_of
from rsbench.build.importers.raster import Raster, describe, is_image, open_all
from rsbench.build.importers.stacks import require_bands
from rsbench.build.importers.validity import may_differ
from rsbench.core.errors import InputError

FINE, COARSE, LABELS = "fine", "coarse", "labels"
NAMES = {FINE: ("fine", "hr"), COARSE: ("coarse", "mr"), LABELS: ("labels",)}
"""Names of the folders, or beginnings of the names of the files, of each part."""
SENSOR_FIELDS = ("unit", "scale", "offset", "nodata", "bands", "value_range", "gsd")
"""Options of one sensor; those of the coarse one begin with ``coarse_``."""


@dataclass(frozen=True)
class CoarseRequest(ImportRequest):
    """The import as the coarse sensor sees it: its options are those of the coarse sensor.

    ``whole``: the import as it was asked for, of which commands are made.
    """

    whole: ImportRequest = field(kw_only=True)

    @classmethod
    def of(cls, request: ImportRequest) -> CoarseRequest:
        """Return the request of the coarse sensor."""
        stated = request.options
        own = {name: getattr(stated, f"coarse_{name}") for name in SENSOR_FIELDS}
        options = replace(stated, rgb=None, **own)
        return cls(
            request.importer, request.source, request.out, options, request.assumed,
            request.dry_run, whole=request,
        )  # fmt: skip

    def command(self, **changes: Any) -> str:
        """Return the command line of the import, with some options of the coarse sensor changed."""
        return self.whole.command(**self.named(changes))

    def named(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """See :meth:`rsbench.build.importers.api.ImportRequest.named`."""
        return {f"coarse_{n}" if n in SENSOR_FIELDS else n: v for n, v in changes.items()}


def images_in(request: ImportRequest, part: str, given: SensorOptions) -> dict[str, Images]:
    """Return the images of a sensor by region; the name of a single place is empty.

    Args:
        request: the import, with the options of that sensor.
        part: ``fine`` or ``coarse``.
        given: what is stated of the sensor.

    Raises:
        InputError: if there are none, or they differ in bands, type or unit.
    """
    folder, files = source_of(request.folder(), part)
    rasters = _described(request, folder, files)
    found = brought_together(request, images_of(request, folder, rasters))
    for images in found.values():
        _require_bands(request, images.rasters)
    rasters_of = [images.rasters for images in found.values()]
    require_regions_alike(request, rasters_of, but=may_differ(given))
    return found


def _described(request: ImportRequest, folder: Path, files: Sequence[Path]) -> list[Raster]:
    """Return what the files say of themselves; a refusal names the options of their sensor."""
    try:
        if files:
            return [describe(path, request.options) for path in files]
        return open_all(folder, request.options)
    except NotStatedError as error:
        assumed = request.named(error.assumed)
        remedy = error.remedy
        for name in set(assumed) - set(error.assumed):
            remedy = remedy.replace(flag(name.removeprefix("coarse_")), flag(name))
        raise NotStatedError(
            error.asked, error.found, remedy, lacks=error.lacks, assumed=assumed
        ) from error


def _require_bands(request: ImportRequest, rasters: Sequence[Raster]) -> None:
    """Refuse bands that may be dates; a pair is one image per file."""
    try:
        require_bands(request, rasters)
    except InputError as error:
        names = tuple(f"b{number + 1}" for number in range(rasters[0].bands))
        raise InputError(
            error.asked,
            error.found,
            "If they are dates, write each to a file of its own; if they are bands, type: "
            f"{request.command(bands=names)} with the true names",
        ) from error


def source_of(folder: Path, part: str) -> tuple[Path, list[Path]]:
    """Return the folder of a part, or that of the files whose names begin with its name.

    Raises:
        InputError: if there is neither, or both.
    """
    inside, names = sorted(folder.iterdir()), NAMES[part]
    folders = [path for path in inside if path.is_dir() and path.name.lower() in names]
    begun = re.compile(rf"(?:{'|'.join(names)})(?![A-Za-z])", re.IGNORECASE)
    files = [path for path in inside if is_image(path) and begun.match(path.name)]
    if len(folders) + bool(files) == 1:
        return (folders[0], []) if folders else (folder, files)
    either = " or ".join(f"{name}/" for name in names)
    raise InputError(
        f"importing {folder}",
        f"it holds {', '.join(path.name for path in (*folders, *files)) or 'nothing'} for the "
        f"{part} files",
        f"Put them into one folder {either}, or name one file {names[0]}_YYYY-MM-DD.tif",
    )


def require_same_regions(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse parts that are not of the same regions.

    Raises:
        InputError: names a region that a part lacks.
    """
    every = {region for found in parts.values() for region in found}
    for part, found in parts.items():
        if absent := sorted(every - set(found)):
            raise InputError(
                f"importing {folder}",
                f"the {part} files lack the region {', '.join(absent[:4]) or 'of one place'}; "
                f"they are of {', '.join(name or 'one place' for name in found)}",
                "Give the folders of a region the same name in every part",
            )


def paired(region: str, fine: Images, coarse: Images) -> Images:
    """Return the coarse images in the order of their fine ones: of one date, or the only ones.

    Raises:
        InputError: names a date without a partner.
    """
    if len(fine.times) == len(coarse.times) == 1:
        return coarse
    apart = sorted(set(fine.times) ^ set(coarse.times))
    if apart:
        of, other = ("fine", "coarse") if apart[0] in fine.times else ("coarse", "fine")
        raise InputError(
            f"pairs of {region or 'one place'}",
            f"its {of} image of {apart[0]} has no {other} image of that date",
            "Leave it out, or state one date for both images of a pair with --dates FILE.csv",
        )
    return coarse


def year_in(path: Path) -> int | None:
    """Return the year in a file's name; None if it has no date."""
    return date_in(path.stem, path.name).year if is_dated(path.stem) else None
