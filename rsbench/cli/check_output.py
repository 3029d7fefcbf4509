"""What `rsbench check` prints, and the files that it writes for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rsbench.cli.app import dump, say
from rsbench.core.io import disk_errors, write_atomic


@dataclass(frozen=True)
class CheckFiles:
    """Files to write; None for none. ``summary`` may exist and is appended to."""

    junit: Path | None = None
    summary: Path | None = None


def show(result: Path, against: Path, files: CheckFiles, *, as_json: bool) -> int:
    """Check, print the outcome, write the files, and return the exit code."""
    from rsbench.evaluation.gate import check
    from rsbench.evaluation.gate.outputs import to_json, to_junit, to_summary

    found = check(result, against)
    if as_json:
        dump(to_json(found))
    for line in () if as_json else found.lines:
        say(line)
    if files.junit is not None:
        with disk_errors(f"writing {files.junit}", "give another --junit"):
            write_atomic(files.junit, to_junit(found))
    if files.summary is not None:
        with (
            disk_errors(f"writing {files.summary}", "give another --summary"),
            files.summary.open("a", encoding="utf-8") as file,
        ):
            file.write(to_summary(found))
    return found.exit_code
