"""The folder of a run: checked before work starts, written whole, found again by its key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsbench.core.errors import InputError
from rsbench.core.io import (
    publish_directory,
    read_json,
    replace_directory,
    replace_file,
    temporary_directory,
)
from rsbench.evaluation.scores import Scores


def require_writable(out: Path) -> None:
    """Raise InputError if the folder cannot be written, before the run starts."""
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

    Nothing is moved if the block fails. Files in ``out`` of other names stay; ``run.json``, by
    which a run is found again, is moved last.
    """
    out = out.absolute()
    with temporary_directory(out) as aside:
        folder = aside / out.name
        folder.mkdir()
        yield folder
        if not out.exists():
            publish_directory(folder, out)
            return
        for path in sorted(folder.iterdir(), key=lambda path: path.name == "run.json"):
            if path.is_dir():
                replace_directory(path, out / path.name)
            else:
                replace_file(path, out / path.name)


def finished(out: Path, key: str) -> Scores | None:
    """Return the scores of a complete run with this key, None if there is none."""
    there = all((out / n).is_file() for n in ("run.json", "scores.parquet", "report.html"))
    if not there:
        return None
    try:
        same = read_json(out / "run.json").get("key") == key
    except InputError:
        return None
    if not same:
        raise InputError(
            f"writing the run {out}",
            "it holds another run",
            "Give another --out, or remove that folder",
        )
    return Scores.load(out)
