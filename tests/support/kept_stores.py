"""Stores that many tests need alike: written once per process, then copied."""

from __future__ import annotations

import atexit
import inspect
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any

from rsbench.store.read import Store, open_store


@cache
def _home() -> Path:
    folder = tempfile.mkdtemp(prefix="rsbench-test-stores-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def kept(write: Callable[..., Store]) -> Callable[..., Store]:
    """Return ``write(path, **options)`` that writes equal options once and then copies files.

    A test that replaces a function or constant of the module of ``write`` gets a store of its own.
    """
    masters: dict[bytes, Path] = {}
    globals_of: dict[str, Any] = getattr(inspect.unwrap(write), "__globals__", {})
    plain = {
        name: value
        for name, value in globals_of.items()
        if inspect.isfunction(value) or name.isupper()
    }

    @wraps(write)
    def copied(path: Path, **options: Any) -> Store:
        if any(globals_of[name] is not value for name, value in plain.items()):
            return write(path, **options)
        key = pickle.dumps(sorted(options.items()))
        if key not in masters:
            master = Path(tempfile.mkdtemp(dir=_home())) / "store"
            write(master, **options)
            masters[key] = master
        shutil.copytree(masters[key], path, dirs_exist_ok=True)
        return open_store(path)

    return copied
