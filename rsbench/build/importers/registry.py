"""The installed importers by name, and running one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from rsbench.build.engine.builder import BuildResult
from rsbench.build.importers.api import Importer, ImportOptions, ImportRequest, flag
from rsbench.build.importers.not_stated import checked, told_with_command
from rsbench.build.importers.taken import Describes, Taken
from rsbench.core.errors import InputError
from rsbench.core.file_lock import new_directory
from rsbench.core.plugins import PlugIns
from rsbench.store.export.card import write_card
from rsbench.store.layout import StoreMeta
from rsbench.store.write import finalise

IMPORTERS: PlugIns[Importer] = PlugIns(
    "rsbench.importers",
    "importer",
    "title, takes, reasons and prepare",
    lambda value: isinstance(value, Importer),
)


def import_dataset(
    importer: str,
    source: Path | str,
    out: Path | str,
    options: ImportOptions,
    *,
    note: Callable[[str], None] | None = None,
) -> BuildResult:
    """Make a store from files.

    Args:
        importer: a name of :data:`IMPORTERS`.
        source: folder or file to import.
        out: folder of the store; absent or empty.
        options: what is stated of the files.
        note: takes remarks, e.g. on numbers that are hardly plausible.

    Raises:
        InputError: if the importer is unknown, takes another option than is stated, or refuses
            the files.
        PixelError: if pixels cannot be what is stated.
    """
    chosen = IMPORTERS.get(importer)
    request = ImportRequest(importer, Path(source), Path(out), options)
    _require_taken(chosen, request)
    _require_numbers(options)
    with told_with_command(chosen, request):
        prepared = checked(chosen, request)
    with (
        told_with_command(chosen, request),
        new_directory(request.out, f"a new store in {out}", "choose another --out") as root,
    ):
        written = prepared.write(root)
        digest = finalise(root, _with_range(written.meta, options), regions=written.regions)
        write_card(root, request.out.resolve().name)
    for text in (*written.notes, *_colourless(written.meta)):
        if note is not None:
            note(text)
    return BuildResult(request.out, digest, complete=True)


def _colourless(meta: StoreMeta) -> list[str]:
    """Say which sensors have three bands or more, and nothing that says red, green and blue."""
    return [
        f"no band of {sensor.name} ({', '.join(sensor.bands)}) is stated as red, green and blue: "
        "LPIPS, FID and KID have no value. --rgb NAMES states the bands"
        for sensor in meta.sensors.values()
        if sensor.display is None and len(sensor.bands) >= 3 and sensor.unit != "index"
    ]


def describe_import(
    importer: str, source: Path | str, out: Path | str, options: ImportOptions
) -> tuple[Taken, ...]:
    """Return what every file is taken for, date by date; nothing is written.

    Arguments and errors as of :func:`import_dataset`. Pixels are not read, so that what only they
    show, such as implausible values, is not found.

    Raises:
        InputError: also if the importer does not describe its files.
    """
    chosen = IMPORTERS.get(importer)
    request = ImportRequest(importer, Path(source), Path(out), options, dry_run=True)
    _require_taken(chosen, request)
    _require_numbers(options)
    with told_with_command(chosen, request):
        prepared = checked(chosen, request)
    if not isinstance(prepared, Describes):
        raise InputError(
            f"import-dataset {importer} --dry-run",
            "this importer does not describe its files",
            "Import them, and look at the data card; its author can add `taken`",
        )
    return tuple(prepared.taken())


def _with_range(meta: StoreMeta, options: ImportOptions) -> StoreMeta:
    """Record the value range in the recipe if it is stated, so that the import can be repeated."""
    if options.value_range is None:
        return meta
    return replace(meta, recipe={**meta.recipe, "value_range": list(options.value_range)})


def _require_taken(importer: Importer, request: ImportRequest) -> None:
    """Refuse options that the importer does not use."""
    extra = [name for name in request.options.given() if name not in importer.takes]
    if not extra:
        return
    flags = " and ".join(map(flag, extra))
    reasons = dict.fromkeys(
        importer.reasons.get(name, f"it does not use {flag(name)}") for name in extra
    )
    taken = [flag(f.name) for f in fields(ImportOptions) if f.name in importer.takes]
    raise InputError(
        f"import-dataset {request.importer} with {flags}",
        "; ".join(reasons),
        f"Leave {flags} out: {request.importer} takes {', '.join(taken) or 'no options'}",
    )


def _require_numbers(options: ImportOptions) -> None:
    """Refuse scales, offsets and sizes that no image can have."""
    given = options.given()
    for name in ("scale", "coarse_scale"):
        if name in given and (not math.isfinite(given[name]) or given[name] == 0):
            raise InputError(
                f"{flag(name)} {given[name]:g}",
                "a scale is a finite number other than 0",
                "Give the true one, e.g. 0.0001 for reflectance × 10000",
            )
    for name in ("offset", "coarse_offset"):
        if name in given and not math.isfinite(given[name]):
            raise InputError(
                f"{flag(name)} {given[name]:g}", "an offset is a finite number", "Give the true one"
            )
    for name in ("value_range", "coarse_value_range"):
        low, high = given.get(name, (0.0, 1.0))
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            found = "the first is not below the second"
            raise InputError(f"{flag(name)} {low:g} {high:g}", found, "Exchange them")
    gsd = given.get("coarse_gsd", 1.0)
    if not (math.isfinite(gsd) and gsd > 0):
        raise InputError(
            f"--coarse-gsd {gsd:g}", "a pixel has a positive size", "Give it in metres"
        )
