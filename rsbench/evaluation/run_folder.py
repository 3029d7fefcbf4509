"""The folder of a run: refused early, written whole, and found again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsbench.core.errors import InputError
from rsbench.evaluation.scores import Scores


def require_writable(out: Path) -> None:
    """Refuse a place that cannot be written to before hours are spent, not after."""
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"writing the run {out}", f"{there} is a file", "Give another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"writing the run {out}", f"{there} cannot be written to", "Give another --out"
        )


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """Yield a folder aside; its files stand in ``out`` when all are written, else nowhere."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".tmp-{out.name}-", dir=out.parent) as aside:
        folder = Path(aside) / out.name
        folder.mkdir()
        yield folder
        if not out.exists():
            folder.rename(out)
            return
        for path in folder.iterdir():
            if path.is_dir() and (out / path.name).is_dir():
                shutil.rmtree(out / path.name)
            path.replace(out / path.name)


def finished(out: Path, key: str) -> Scores | None:
    """Return the scores of the same run, if it lies there whole."""
    there = all((out / n).is_file() for n in ("run.json", "scores.parquet", "report.html"))
    if not there:
        return None
    try:
        same = json.loads((out / "run.json").read_text(encoding="utf-8")).get("key") == key
    except ValueError:
        return None
    if not same:
        raise InputError(
            f"writing the run {out}",
            "another run lies there",
            "Give another --out, or remove that folder",
        )
    return Scores.load(out)
