"""SHA-256 of the files of predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rsbench.core.digest import sha256_file
from rsbench.core.errors import InputError


def digests_of(folder: Path, note: str) -> dict[str, str]:
    """Return path in the folder → hex SHA-256 of all files but the note, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != note)
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}


def require_digests(folder: Path, note: str, stated: Mapping[str, str] | None) -> dict[str, str]:
    """Return the digests of the files of a folder, which are those that its note states, if any.

    Raises:
        InputError: names the first file that is damaged, absent or not in the note.
    """
    found = digests_of(folder, note)
    if stated is None:
        return found
    for name in sorted({*found, *stated}):
        here, wanted = found.get(name), stated.get(name)
        if here == wanted:
            continue
        fault = (
            f"there is no such file, and {note} has its digest" if here is None
            else f"{note} has no digest of it" if wanted is None
            else f"its SHA-256 is {here[:12]}…, {note} states {wanted[:12]}…"
        )  # fmt: skip
        raise InputError(
            f"the prediction file {folder / name}", fault,
            f'Copy the predictions again, or write "sha256" in {note} anew for files that changed',
        )  # fmt: skip
    return found
