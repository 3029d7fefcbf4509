"""The command ``cache``: what the cache folder holds, and removing a part of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from rsbench.cli.app import Json, app, dump, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rsbench.core.cache_files import Entry

OLDER_THAN = 30.0


def cache(
    remove: Annotated[
        bool, typer.Option("--prune", help="Remove what commands make again where it is absent.")
    ] = False,
    older_than: Annotated[
        float, typer.Option(help="With --prune: days without use; 0 removes all of it.")
    ] = OLDER_THAN,
    as_json: Json = False,
) -> None:
    """Print what the cache folder holds; with --prune, remove old decoded pixels and the like.

    Trained weights and weight files of metrics are never removed. The folder is RSBENCH_CACHE.
    """
    from rsbench.core.cache_files import cache_entries, prunable, prune
    from rsbench.core.paths import cache_dir

    entries = cache_entries()
    chosen = prunable(entries, older_than)
    if remove:
        prune(chosen)
    if as_json:
        dump({
            "folder": str(cache_dir()), "removed": remove,
            "prunable": [str(entry.path) for entry in chosen],
            "entries": [vars(entry) | {"path": str(entry.path)} for entry in entries],
        })  # fmt: skip
        return
    say(str(cache_dir()))
    for line in _lines(entries):
        say(line)
    say(_verdict(chosen, older_than, removed=remove))


def _lines(entries: Sequence[Entry]) -> list[str]:
    """Return one line per part of the cache that holds something."""
    from rsbench.core.cache_files import PARTS

    now, lines = time.time(), []
    for part, what in PARTS.items():
        held = [entry for entry in entries if entry.part == part]
        if held:
            days = (now - max(entry.used for entry in held)) / 86_400
            lines.append(
                f"  {part:12} {size(sum(e.bytes for e in held)):>10}  {_entries(held)}, last "
                f"used {days:.0f} days ago: {what}"
            )
    return lines or ["  nothing"]


def _verdict(chosen: Sequence[Entry], days: float, *, removed: bool) -> str:
    count = f"{_entries(chosen)}, {size(sum(e.bytes for e in chosen))}"
    if removed:
        return f"removed {count}"
    again = "" if days == OLDER_THAN else f" --older-than {days:g}"
    return f"not used for {days:g} days: {count}; `rsbench cache --prune{again}` removes them"


def _entries(held: Sequence[Entry]) -> str:
    return "1 entry" if len(held) == 1 else f"{len(held)} entries"


def size(count: int) -> str:
    """Return a number of bytes in words, e.g. ``1.5 GB``."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"


def register() -> None:
    """Register the command."""
    app.command()(cache)
