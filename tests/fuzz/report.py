"""The counts of a round as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fuzz.driver import FAULT, HANGS, OTHER, REFUSED, SAME, Result

COLUMNS = (REFUSED, SAME, OTHER, FAULT)


def markdown(results: Sequence[Result], *, seed: int) -> str:
    """Return the table, with a line on what each column counts."""
    total = sum((result.counts for result in results), Counter[str]())
    lines = [
        "# Damaged inputs",
        "",
        f"*Written by `make fuzz` with seed {seed}. Every input is a valid file or command line, "
        "damaged at random and then read as a command reads it.*",
        "",
        "- **refused**: one sentence and exit code 1, 2 or 3.",
        "- **same values**: accepted; everything read equals the undamaged file.",
        "- **other values**: accepted, and something read differs: the damage gave another valid "
        "file, as another number in a list of places does. Formats with a digest have none.",
        "- **fault**: a traceback, exit code 70, a message of several lines, other values in a "
        f"format with a digest, or a {HANGS}.",
        "",
        f"| input | digest | inputs | {' | '.join(COLUMNS)} |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        lines.append(_row(result.name, "yes" if result.sealed else "", result.counts))
    return "\n".join([*lines, _row("all", "", total), ""])


def _row(name: str, digest: str, counts: Counter[str]) -> str:
    cells = [str(counts[column]) for column in COLUMNS]
    return f"| {name} | {digest} | {counts.total()} | {' | '.join(cells)} |"
