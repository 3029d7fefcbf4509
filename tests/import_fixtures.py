"""Imports with options as keywords."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsbench.build.engine.builder import BuildResult
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset
from rsbench.core.errors import RsbenchError


def importing(importer: str) -> Callable[..., BuildResult]:
    """Return a function (source, out, **options) that imports with one importer."""

    def run(source: Path, out: Path, **options: Any) -> BuildResult:
        return import_dataset(importer, source, out, ImportOptions(**options))

    return run


def typed(error: RsbenchError, number: int = 0) -> str:
    """Run a command that the remedy of an error tells to type; return what it printed.

    Args:
        number: which of the commands in the remedy.
    """
    from typer.testing import CliRunner

    from rsbench.cli.main import app

    found = re.findall(r"rsbench import-dataset .*?(?= ; | with the | where |$)", error.remedy)
    done = CliRunner().invoke(app, shlex.split(found[number])[1:])
    assert done.exit_code == 0, (found[number], done.output, done.exception)
    return done.output
