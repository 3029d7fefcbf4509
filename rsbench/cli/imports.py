"""The command ``import-dataset``: its help, and what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.cli.app import dump
from rsbench.cli.frame import Command

if TYPE_CHECKING:
    from rsbench.build.importers.api import ImportOptions


class ImportCommand(Command):
    """A command whose help ends with the installed importers."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write examples, and one line per importer; they are loaded for the help only."""
        super().format_epilog(ctx, formatter)
        from rsbench.build.importers.registry import IMPORTERS
        from rsbench.core.plugins import BrokenPlugIn

        with formatter.section("Importers"):
            formatter.write_dl(
                [
                    (name, f"(cannot be loaded: {found.reason})")
                    if isinstance(found, BrokenPlugIn)
                    else (name, found.title)
                    for name, found in IMPORTERS.all().items()
                ]
            )


def describe_command(
    importer: str, source: Path, out: Path, options: ImportOptions, *, as_json: bool,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Print what every file is taken for."""
    from dataclasses import asdict

    from rsbench.build.importers.registry import describe_import
    from rsbench.build.importers.taken import table

    found = describe_import(importer, source, out, options)
    if as_json:
        dump({"images": [{**asdict(one), "date": one.date.isoformat()} for one in found]})
        return
    for line in table(found):
        say(line)
    say("nothing is written, and no pixel was looked at; leave --dry-run out to import")


def import_command(
    importer: str,
    source: Path,
    out: Path,
    options: ImportOptions,
    *,
    as_json: bool,
    say: Callable[[str], None],
    note: Callable[[str], None],
) -> None:
    """Import files with a named importer, and remember the store; remarks go to ``note``."""
    from rsbench.build.importers.registry import import_dataset
    from rsbench.core.paths import remember_store

    result = import_dataset(importer, source, out, options, note=note)
    remember_store(result.path, note)
    if as_json:
        dump({"path": str(result.path), "digest": result.digest})
        return
    say(f"{result.path}  digest {result.digest}")
