"""The folder of a run: held by one process, written whole, found again by its key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rsbench.core.errors import InputError
from rsbench.core.file_lock import is_empty_folder, target_lock
from rsbench.core.io import (
    disk_errors,
    publish_directory,
    read_json,
    replace_directory,
    replace_file,
    temporary_directory,
)
from rsbench.evaluation.run_files import RUN, UNITS, require_intact
from rsbench.evaluation.scores import Scores

REPORT = "report.html"
FILES = (
    RUN, UNITS, "sets.parquet", "pixels.parquet", "counts.parquet", "table.parquet", "table.md",
    "viewer", "maps", REPORT,
)  # fmt: skip
"""What a run writes, in this order: the key is there first, the report last."""
ELSEWHERE = "give another --out"


@contextmanager
def reserved(out: Path, key: str) -> Iterator[Scores | None]:
    """Hold the folder of a run, and yield the scores of this run if it is finished.

    Raises:
        InputError: if the folder cannot be written, holds another run, or another process writes
            a run into it.
    """
    done = finished(out, key)
    if done is not None:
        yield done
        return
    require_writable(out)
    with target_lock(out, f"writing the run {out}", ELSEWHERE):
        yield finished(out, key)


def require_writable(out: Path) -> None:
    """Refuse a folder that this process cannot write."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"writing the run {out}", f"{there} is a file", "Give another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"writing the run {out}", f"{there} cannot be written to", "Give another --out"
        )


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files are moved to ``out`` at the end of the block.

    Nothing is moved if the block fails. ``out`` holds nothing, an earlier attempt of this run, or
    files of other names, which stay. Hold it with :func:`reserved`.
    """
    asked = f"writing the run {out}"
    out = out.absolute()
    with disk_errors(asked, ELSEWHERE), temporary_directory(out) as aside:
        folder = aside / out.name
        folder.mkdir()
        yield folder
        if not out.exists() or is_empty_folder(out):
            publish_directory(folder, out)
            return
        for name in FILES:
            if (folder / name).is_dir():
                replace_directory(folder / name, out / name)
            elif (folder / name).is_file():
                replace_file(folder / name, out / name)
            else:
                _remove(out / name)


def _key(out: Path) -> Any:
    """Return the key of the run in a folder; None if its ``run.json`` is damaged."""
    with suppress(InputError):
        value = read_json(out / RUN)
        require_intact(out, value)
        return value.get("key")
    return None


def _remove(path: Path) -> None:
    """Remove what an earlier attempt of a run wrote."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def finished(out: Path, key: str) -> Scores | None:
    """Return the scores of a complete run with this key; None if the folder is free for it.

    Raises:
        InputError: if the folder holds another run, or parts of a run that cannot be told.
    """
    held = [name for name in FILES if (out / name).exists()]
    if not held:
        return None
    found = f"it holds {held[0]} and no {RUN} that says of which run"
    if RUN in held:
        found = "" if _key(out) == key else "it holds another run"
    if found:
        remedy = "Give another --out, or remove that folder"
        raise InputError(f"writing the run {out}", found, remedy)
    if REPORT not in held:
        return None
    try:
        return Scores.load(out)
    except InputError:  # damaged: the same run is made again
        return None
