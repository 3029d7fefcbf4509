"""Datasets by one call: built from a recipe, imported from files, downloaded, compared by lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rsbench.build.engine.builder import build
from rsbench.build.engine.icechunk import build_icechunk
from rsbench.build.engine.options import BuildOptions
from rsbench.build.importers import registry, release
from rsbench.build.importers.api import ImportOptions
from rsbench.build.kinds.labels_recipe import with_labels
from rsbench.build.plan.lock import Lock, LockChange, diff
from rsbench.catalog import Recipe, load_recipe
from rsbench.core.errors import unknown
from rsbench.core.progress import Advance
from rsbench.store.read import Store, open_store

STORES = ("zarr", "icechunk")


def build_dataset(
    recipe: str | Path | Recipe = "s2-yearly",
    out: str | Path | None = None,
    options: BuildOptions | None = None,
    *,
    labels: str | None = None,
    store: str = "zarr",
    **named: Any,
) -> Store:
    """Build a dataset as ``rsbench build-dataset`` does, or resume it, and return its store.

    Nothing is asked: ``s2-yearly`` reads about a terabyte. Pixels keep the integers of the source;
    ``Store.read_physical`` returns ``(T, C, H, W)`` float32 in the sensor's unit.

    Args:
        recipe: name in the catalogue, path of a YAML file, or a recipe.
        out: folder of the store, absent or of the same build; ``NAME.zarr`` where None.
        options: how to build.
        labels: label set to add beside the images, as ``--labels``.
        store: ``zarr`` or ``icechunk``.
        named: fields of :class:`BuildOptions` by name, e.g. ``workers=4`` or
            ``years=(2018, 2020)``; they replace those of ``options``.

    Returns:
        The finished store.

    Raises:
        UnitFailed: if units could not be read; what was finished is kept for the next call.
        DiskFull: if there is no room left; likewise.
        InputError: if a name is unknown, or the output is in use or holds something else.
    """
    if store not in STORES:
        raise unknown("kind of store", store, STORES)
    _require_fields(BuildOptions, named)
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    if labels is not None:
        chosen = with_labels(chosen, labels)
    make = build_icechunk if store == "icechunk" else build
    made = make(chosen, Path(out or f"{chosen.name}.zarr"), options, **named)
    return open_store(made.path)


def import_dataset(
    importer: str,
    source: str | Path,
    out: str | Path,
    options: ImportOptions | None = None,
    *,
    note: Callable[[str], None] | None = None,
    **named: Any,
) -> Store:
    """Import files as ``rsbench import-dataset`` does and return the store.

    Units, scales and dates are stated in ``options`` or by the files; they are never guessed.

    Args:
        importer: e.g. ``geotiff-series``; ``rsbench import-dataset --help`` lists all.
        source: folder or file to import.
        out: folder of the store, absent or empty.
        options: what is stated of the files.
        note: takes remarks, e.g. on numbers that are hardly plausible.
        named: fields of :class:`ImportOptions` by name, e.g. ``unit="reflectance"``; they replace
            those of ``options``.

    Returns:
        The finished store.

    Raises:
        InputError: if the importer is unknown, takes another option than is stated, or refuses
            the files.
        PixelError: if pixels cannot be what is stated.
    """
    _require_fields(ImportOptions, named)
    stated = ImportOptions(**{**(options or ImportOptions()).given(), **named})
    return open_store(registry.import_dataset(importer, source, out, stated, note=note).path)


def download_dataset(
    source: str,
    out: str | Path | None = None,
    *,
    base: str | None = None,
    digest: str | None = None,
    progress: Advance | None = None,
) -> Store:
    """Fetch a release as ``rsbench download`` does, verify every byte, and return the store.

    Args:
        source: ``NAME@VERSION``, or the http(s) address or folder of a release.
        out: folder of the store; ``NAME.zarr`` where None.
        base: where releases lie, for ``NAME@VERSION``; ``$RSBENCH_RELEASES`` where None.
        digest: the store's digest, or its beginning, that must come out.
        progress: called with ``(label, bytes done, bytes in all)``.

    Returns:
        The finished store.

    Raises:
        InputError: if it cannot be reached, is not what was asked for, or is damaged.
        DiskFull: if there is no room for it.
    """
    made = release.download(source, out, base=base, digest=digest, progress=progress)
    return open_store(made.path)


def lock_diff(a: str | Path, b: str | Path) -> tuple[LockChange, ...]:
    """Return what differs between two lock files, as ``rsbench lock diff`` prints it.

    Args:
        a, b: paths of the lock files. Hosts and ports of addresses never count.

    Returns:
        One entry per change, in order; empty for equal locks.

    Raises:
        InputError: if a file is absent or no lock.
    """
    return diff(Lock.load(Path(a)), Lock.load(Path(b)))


def _require_fields(options: type, named: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(options)]
    for name in named:
        if name not in known:
            raise unknown(f"field of {options.__name__}", name, known)
