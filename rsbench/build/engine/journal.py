"""The journal of a build: finished units as part files, from which a killed build resumes.

A part is written into a temporary folder, flushed, and renamed; its ``part.json`` holds the
SHA-256 of every file. A part that does not match is made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rsbench.core.digest import canonical_json, sha256_file
from rsbench.core.errors import InputError
from rsbench.core.file_lock import file_lock
from rsbench.core.io import (
    disk_errors,
    read_json,
    remove_temporaries,
    replace_directory,
    sync,
    temporary_directory,
    write_atomic,
    write_npy,
)
from rsbench.store.layout import JOURNAL, MANIFEST

Pixels = npt.NDArray[Any]

SCHEMA = 1
_NOTE = "part.json"


@contextmanager
def open_journal(
    out: Path, identity: Mapping[str, Any], part: tuple[int, int] | None = None
) -> Iterator[Journal]:
    """Open or continue the journal of a build; no other builder may use the output meanwhile.

    Builders of parts share it: each holds its own part alone.

    Args:
        out: folder of the store.
        identity: what the parts depend on (lock digest, compositor); other parts are refused.
        part: which of how many parts this builder does; None for the whole.

    Raises:
        InputError: if another builder is at work there, or another build was begun there.
    """
    folder = out / JOURNAL
    with full_disk_is_named(out):
        folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / "lock", f"building {out}", shared=part is not None):
        if part is None:
            yield Journal(out, folder, dict(identity))
            return
        with _hold_part(folder, part, f"building part {part[0]} of {part[1]} of {out}"):
            yield Journal(out, folder, dict(identity), alone=False)


@contextmanager
def _hold_part(folder: Path, part: tuple[int, int], what: str) -> Iterator[None]:
    """Lock one part; refuse another division, whose parts would build the same regions."""
    number, count = part
    own = folder / f"lock-of-{count}"
    with file_lock(own, what, shared=True), file_lock(folder / f"lock-{number}-of-{count}", what):
        for other in sorted(folder.glob("lock-of-*")):
            if other != own:
                with file_lock(other, f"{what} beside a division in {other.name[8:]}"):
                    pass
        yield


@contextmanager
def full_disk_is_named(path: Path) -> Iterator[None]:
    """Report a full or read-only output folder by one error with a remedy."""
    with disk_errors(f"writing {path}", "choose another --out", kept="finished parts"):
        yield


class Journal:
    """Finished units of one build, by region and year."""

    def __init__(
        self, out: Path, folder: Path, identity: dict[str, Any], *, alone: bool = True
    ) -> None:
        self._out = out
        self._alone = alone
        self._folder = folder
        self._begin({"schema": SCHEMA, **identity})

    def _begin(self, identity: dict[str, Any]) -> None:
        path = self._folder / "build.json"
        text = canonical_json(identity)
        if path.exists():
            if path.read_text(encoding="utf-8") == text:
                self._tidy()
                return
            if any(self._folder.glob("*/*")) or any(self._out.glob(f"*/{MANIFEST}")):
                raise InputError(
                    f"building into {self._out}",
                    "another build was begun there and is not finished",
                    "Finish that one, delete the folder, or choose another --out",
                )
        with full_disk_is_named(self._out):
            write_atomic(path, text)

    def _tidy(self) -> None:
        if not self._alone:
            return  # temporary files may belong to another builder at work
        for region in (p for p in self._folder.iterdir() if p.is_dir()):
            remove_temporaries(region)

    def save(
        self,
        region: str,
        year: int,
        arrays: Mapping[str, Pixels],
        note: Mapping[str, Any],
        left: Mapping[str, str] | None = None,
    ) -> None:
        """Save the arrays of a finished unit atomically; ``left``: items that it lacks, and why."""
        target = self._part(region, year)
        with full_disk_is_named(self._out), temporary_directory(target) as folder:
            files = {name: _save(folder / f"{name}.npy", a) for name, a in arrays.items()}
            value = {"schema": SCHEMA, "files": files, "note": dict(note)}
            text = canonical_json(value | ({"left": dict(left)} if left else {}))
            (folder / _NOTE).write_text(text, encoding="utf-8")
            try:
                replace_directory(folder, target)
            except OSError:
                # Another builder of the same unit was faster, with the same pixels.
                if not self.has(region, year):
                    raise

    def load(self, region: str, year: int) -> tuple[dict[str, Pixels], dict[str, Any]] | None:
        """Return the arrays and the note of a finished unit; None if it is absent or damaged."""
        part = self._part(region, year)
        try:
            value = read_json(part / _NOTE)
            arrays = {
                name: _load(part / f"{name}.npy", digest) for name, digest in value["files"].items()
            }
            return arrays, dict(value["note"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def has(self, region: str, year: int) -> bool:
        """Return whether a unit is finished and whole."""
        return self.load(region, year) is not None

    def drop_partial(self, regions: Sequence[str] | None) -> None:
        """Delete the units that lack items, of some regions or of all."""
        for path in self._folder.glob(f"*/*/{_NOTE}"):
            if regions is None or path.parent.parent.name in regions:
                try:
                    partial = "left" in read_json(path)
                except (OSError, ValueError):
                    continue
                if partial:
                    shutil.rmtree(path.parent, ignore_errors=True)

    def drop(self, region: str) -> None:
        """Delete the parts of a region that is in the store."""
        shutil.rmtree(self._folder / region, ignore_errors=True)

    def mark_incomplete(self, region: str) -> None:
        """Mark a region as written, or about to be written, with units missing."""
        with full_disk_is_named(self._out):
            (self._folder / f"{region}.incomplete").touch()
            sync(self._folder)

    def clear_incomplete(self, region: str) -> None:
        """Remove that mark."""
        (self._folder / f"{region}.incomplete").unlink(missing_ok=True)

    def incomplete(self) -> tuple[str, ...]:
        """Return the marked regions."""
        return tuple(
            sorted(p.name.removesuffix(".incomplete") for p in self._folder.glob("*.incomplete"))
        )

    def remove(self) -> None:
        """Remove the journal of a finished build."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _part(self, region: str, year: int) -> Path:
        return self._folder / region / str(year)


def _save(path: Path, array: Pixels) -> str:
    write_npy(path, array)
    return sha256_file(path)


def _load(path: Path, digest: str) -> Pixels:
    if sha256_file(path) != digest:
        raise ValueError(f"{path} is damaged")
    return np.asarray(np.load(path, allow_pickle=False))
