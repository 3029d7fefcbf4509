"""Results of earlier builds in a folder: a finished store, leftovers, incomplete regions."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rsbench.build.engine.journal import Journal, full_disk_is_named
from rsbench.build.plan.plan import Lock
from rsbench.core.errors import InputError
from rsbench.core.file_lock import file_lock
from rsbench.core.io import TEMPORARY
from rsbench.store.layout import INDEX, JOURNAL
from rsbench.store.read import Store, open_store


@dataclass(frozen=True, slots=True)
class FailedUnit:
    """A region and year that could not be read, or was made without ``item``, and why."""

    region: str
    year: int
    reason: str
    item: str = ""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A finished store, and phase → seconds of what was done now.

    Phases are ``plan`` (the search, and scenes of a simulation), ``units`` (waiting for reading,
    masks and composites), ``write`` and ``index``.
    """

    path: Path
    digest: str
    complete: bool
    failed: tuple[FailedUnit, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict, compare=False)


def finished(out: Path, lock: Lock) -> BuildResult | None:
    """Return the finished store of this lock in the folder, or None.

    Raises:
        InputError: if it is of another search.
    """
    if not (out / INDEX).exists():
        return None
    store = open_store(out)
    if store.meta.lock_digest != lock.digest:
        raise InputError(
            f"building into {out}",
            f"a finished store of {store.recipe} from another search is there",
            "Delete it, or choose another --out",
        )
    return BuildResult(out, store.digest, store.complete, failed_units(store))


def failed_units(store: Store) -> tuple[FailedUnit, ...]:
    """Return what a finished store says is missing."""
    return tuple(
        FailedUnit(
            str(m["region"]), int(str(m["time"])[:4]), str(m["reason"]), str(m.get("item", ""))
        )
        for m in store.meta.missing
    )


def tidy(out: Path) -> None:
    """Remove the temporary files of a build that was killed after it wrote its index."""
    left = [path for path in (*out.glob(f"{TEMPORARY}*"), out / JOURNAL) if path.exists()]
    if not left:
        return
    # The folder may be read-only, or in use by another builder.
    lock = file_lock(out / JOURNAL / "lock", f"tidying {out}")
    with contextlib.suppress(OSError, InputError), lock:
        for path in {*left, out / JOURNAL}:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def reopen(out: Path, journal: Journal, names: Sequence[str] | None) -> None:
    """Remove what was made with years or items missing, so that these are tried again.

    Args:
        names: only these regions; None for all.
    """
    journal.drop_partial(names)
    missing: set[str] = set(journal.incomplete())
    if (out / INDEX).exists():
        missing |= {str(unit["region"]) for unit in open_store(out).meta.missing}
    missing = missing if names is None else missing & set(names)
    for name in sorted(missing):
        journal.mark_incomplete(name)
    with full_disk_is_named(out):
        (out / INDEX).unlink(missing_ok=True)
        for name in sorted(missing):
            shutil.rmtree(out / name, ignore_errors=True)
            journal.clear_incomplete(name)
