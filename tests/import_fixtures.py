"""Imports with options as keywords."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rsbench.build.engine.builder import BuildResult
from rsbench.build.importers.api import ImportOptions
from rsbench.build.importers.registry import import_dataset


def importing(importer: str) -> Callable[..., BuildResult]:
    """Return a function (source, out, **options) that imports with one importer."""

    def run(source: Path, out: Path, **options: Any) -> BuildResult:
        return import_dataset(importer, source, out, ImportOptions(**options))

    return run
