"""Scores of reference models in a run in parts: all parts reuse them, or none does.

The first process decides. ``RUN/parts/references`` says what it decided, and has a copy of the
scores where an earlier run of equal configuration kept them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rsbench.core.digest import is_intact, sealed, sha256_json
from rsbench.core.errors import InputError
from rsbench.core.file_lock import file_lock
from rsbench.core.io import atomic_directory, disk_errors, read_json, write_atomic
from rsbench.evaluation.reference_cache import KeptReferences, ReferenceCache
from rsbench.evaluation.reference_models import Selection
from rsbench.evaluation.run_folder import ELSEWHERE
from rsbench.tasks.config import Note

if TYPE_CHECKING:
    from rsbench.evaluation.loop import Tally
    from rsbench.evaluation.run_info import RunInfo

FOLDER = "references"
DECISION = "decision.json"
SCHEMA = 1


@dataclass(frozen=True)
class PartReferences:
    """What the first process of a run in parts decided.

    Args:
        models: names of the reference models and bounds.
        about: what their scores depend on; None where it is not known.
        reused: whether all parts take scores that an earlier run kept.
    """

    models: Sequence[str]
    about: Mapping[str, Any] | None
    reused: bool

    @classmethod
    def read(cls, parts: Path) -> PartReferences | None:
        """Return the decision for the parts in a folder; None if it is absent or damaged."""
        try:
            value = read_json(parts / FOLDER / DECISION)
        except InputError:
            return None
        if not is_intact(value) or value.get("schema") != SCHEMA:
            return None
        return cls(**{name: value[name] for name in cls.__dataclass_fields__})

    def kept(self, parts: Path, asked: str, note: Note) -> KeptReferences | None:
        """Return the scores that the parts reuse; None where they compute them.

        Raises:
            InputError: if they are damaged.
        """
        if not self.reused or self.about is None:
            return None
        found = ReferenceCache(self.about, parts / FOLDER).read(note)
        if found is None:
            _refuse(asked, parts, "they are damaged")
        return found

    def complete(
        self, tally: Tally, kept: KeptReferences | None, run: RunInfo, alike: bool, note: Note
    ) -> None:
        """Add the reused scores to those of all parts, or keep the computed ones for later runs.

        Args:
            run: what the first part says of the run.
            alike: whether the scores of all parts depend on equal things.
        """
        if kept is not None:
            kept.add_to(tally)
        elif self.about is not None and alike:
            selection = Selection(run.best_trivial, **(run.selection or {}))
            ReferenceCache(self.about).write(tally, self.models, selection, note)


NOTHING = PartReferences((), None, False)
"""The decision in parts of earlier versions, which all computed the scores."""


def shared_references(
    parts: Path, cache: ReferenceCache | None, models: Iterable[str], *, wanted: bool, note: Note
) -> KeptReferences | None:
    """Return the scores that all parts reuse; None where all of them compute the scores.

    Args:
        parts: folder of all parts.
        cache: of this process.
        wanted: whether this process would reuse scores.

    Raises:
        InputError: if the other parts reuse scores and this one must not, or they are damaged.
    """
    asked = f"scoring a part in {parts.parent}"
    with file_lock(parts / f".{FOLDER}.lock", asked, ELSEWHERE, wait=True):
        made = PartReferences.read(parts)
        if made is None:
            made = _decided(parts, cache, [*models], wanted, note)
    kept = made.kept(parts, asked, note)
    if kept is not None and not wanted:
        _refuse(asked, parts, "--fresh-references computes them")
    if kept is not None and _configuration(cache) != _configuration(
        ReferenceCache(made.about or {})
    ):
        _refuse(asked, parts, "they are of another configuration than this command")
    return kept


def digest_of(cache: ReferenceCache | None) -> str | None:
    """Return the digest of all that the scores of one part depend on."""
    return None if cache is None else sha256_json(cache.about)


def _decided(
    parts: Path, cache: ReferenceCache | None, models: Sequence[str], wanted: bool, note: Note
) -> PartReferences:
    """Write and return the decision; parts that began without one compute the scores."""
    begun = any(parts.glob("*-of-*/part.json"))
    kept = cache.read(note) if cache is not None and wanted and not begun else None
    about = None if cache is None or begun else cache.about
    made = PartReferences(models, about, kept is not None)
    with disk_errors(f"scoring a part in {parts.parent}", ELSEWHERE):
        shutil.rmtree(parts / FOLDER, ignore_errors=True)
        with atomic_directory(parts / FOLDER) as place:
            if kept is not None and cache is not None:
                shutil.copytree(cache.folder, place, dirs_exist_ok=True)
            text = json.dumps(sealed({"schema": SCHEMA, **asdict(made)}), indent=1, sort_keys=True)
            write_atomic(place / DECISION, text)
    if kept is not None and cache is not None:
        note(f"scores of {', '.join(models)} are reused from {cache.folder}; "
             "--fresh-references computes them again")  # fmt: skip
    return made


def _configuration(cache: ReferenceCache | None) -> dict[str, Any]:
    """Return what the scores depend on but the machine, which may differ between parts."""
    return {} if cache is None else {k: v for k, v in cache.about.items() if k != "computed"}


def _refuse(asked: str, parts: Path, why: str) -> NoReturn:
    found = f"its parts share scores of reference models of an earlier run, and {why}"
    remedy = f"Type the command of the other parts, or remove {parts} and run all parts again"
    raise InputError(asked, found, remedy)
