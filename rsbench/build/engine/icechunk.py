"""Build into an icechunk repository: a plain store beside it, then one commit and a tag.

Units and regions are built in a working folder beside the repository, so that a build can be
killed and resumed. The builder commits once, when the plain store is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsbench.build.engine.builder import build, planned
from rsbench.build.engine.options import BuildOptions
from rsbench.build.engine.previous import BuildResult, failed_units
from rsbench.catalog import Recipe, load_recipe
from rsbench.core.errors import InputError
from rsbench.core.file_lock import file_lock
from rsbench.store.export.icechunk import is_begun, publish, version_of
from rsbench.store.icechunk import load_icechunk, repository_of
from rsbench.store.layout import INDEX
from rsbench.store.read import Store


def working_place(out: Path) -> Path:
    """Return where the plain store of an unfinished build lies.

    It is beside the repository, since icechunk makes one in an empty folder only.
    """
    whole = out.absolute()
    return whole.parent / f".{whole.name}.rsbench-build" / "store"


def build_icechunk(
    recipe: Recipe | str, out: Path | str, options: BuildOptions | None = None, **named: Any
) -> BuildResult:
    """Build a dataset as a version of an icechunk repository, or resume one.

    A lock that a version was built from already gives that version. Its digest is that of the
    plain Zarr store of the same lock.

    Args:
        out: folder of the repository; it may hold other versions.
        options, named: as of :func:`rsbench.build.engine.builder.build`.

    Returns:
        the result; its path is ``OUT@TAG``.

    Raises:
        InputError: if icechunk is not installed, or the folder holds something else.
        UnitFailed, DiskFull: as :func:`rsbench.build.engine.builder.build`.
    """
    target = Path(out)
    load_icechunk(f"building into {target} with --store icechunk")
    _require_place(target)
    chosen = load_recipe(recipe) if isinstance(recipe, str) else recipe
    asked = replace(options or BuildOptions(), **named)
    plain = working_place(target)
    with file_lock(plain.parent / "hold", f"building into {target}"):
        frozen, _ = planned(chosen, plain, asked)
        held = version_of(target, frozen.digest)
        if held is not None and (held.complete or asked.allow_incomplete):
            shutil.rmtree(plain.parent, ignore_errors=True)
            return _result(held, {})
        built = build(chosen, plain, replace(asked, lock=frozen))
        made = publish(plain, target)
        shutil.rmtree(plain.parent, ignore_errors=True)
    return _result(made, built.phases)


def _result(store: Store, phases: Mapping[str, float]) -> BuildResult:
    return BuildResult(store.path, store.digest, store.complete, failed_units(store), phases)


def _require_place(target: Path) -> None:
    if not target.exists() or repository_of(target) is not None or is_begun(target):
        return
    held = "a plain store" if (target / INDEX).exists() else "something else"
    raise InputError(
        f"building into {target}",
        f"it holds {held}, no icechunk repository",
        "Choose another --out",
    )
