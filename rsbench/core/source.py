"""A digest of the source files that define objects."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from rsbench.core.digest import sha256_file, sha256_json

SUFFIXES = (".py", ".yaml", ".json")
"""Files of a package that can change what it computes."""


def source_digest(objects: Iterable[Any]) -> str | None:
    """Return one digest of the whole packages that define some classes or functions.

    Of an object of a script, its file is taken. None where the source of an object is in no file,
    as of a class that was typed into a notebook.
    """
    try:
        roots = sorted({root for item in objects for root in _roots(item)})
        return sha256_json([_digest(root) for root in roots])
    except (TypeError, OSError):
        return None


def _roots(item: Any) -> tuple[Path, ...]:
    """Return the folders of the top package that defines an object, or its file."""
    package = sys.modules.get(str(item.__module__).partition(".")[0])
    folders = getattr(package, "__path__", None)
    return tuple(map(Path, folders)) if folders else (Path(inspect.getfile(item)),)


@cache
def _digest(root: Path) -> str:
    """Return the digest of a file, or of names and content of the files below a folder."""
    if root.is_file():
        return sha256_file(root)
    files = sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES)
    return sha256_json([[path.relative_to(root).as_posix(), sha256_file(path)] for path in files])
