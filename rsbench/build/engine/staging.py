"""A new store is written into a temporary folder and renamed when it is complete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsbench.core.errors import InputError
from rsbench.core.io import atomic_directory, disk_errors


@contextmanager
def place(target: Path) -> Iterator[Path]:
    """Yield a folder that becomes ``target`` at the end of the block, unless it fails.

    Raises:
        InputError: if something is at ``target``.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"a new store in {target}", "something is there already", "Choose another --out"
        )
    with disk_errors(f"writing {target}", "choose another --out"), atomic_directory(target) as root:
        yield root
