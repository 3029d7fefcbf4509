"""Where a new store goes: written aside, then put in place in one step."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsbench.build.engine.journal import full_disk_is_named
from rsbench.core.errors import InputError


@contextmanager
def place(target: Path) -> Iterator[Path]:
    """Yield a folder beside the target that takes its place when all went well."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(
            f"a new store in {target}", "something is there already", "Choose another --out"
        )
    root = target.parent / f".tmp-{target.name}-{uuid.uuid4().hex[:12]}"
    try:
        with full_disk_is_named(target):
            root.mkdir(parents=True)
            yield root
            if target.exists():
                target.rmdir()
            root.rename(target)
            handle = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    finally:
        shutil.rmtree(root, ignore_errors=True)
