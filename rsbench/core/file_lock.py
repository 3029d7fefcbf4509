"""A file lock between processes. The operating system releases it when the process ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rsbench.core.errors import InputError


@contextmanager
def file_lock(path: Path, what: str, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold the lock file ``path`` during the ``with`` block.

    Args:
        what: the operation, for the error message.
        wait: wait until the lock is free.
        shared: allow other shared holders at the same time, and no exclusive holder.

    Raises:
        InputError: if another process or thread holds it and ``wait`` is False, or if the folder is
            not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except PermissionError as error:
        raise InputError(
            what,
            f"{path.parent} cannot be written to ({error.strerror})",
            "Make the folder writable, or choose another one",
        ) from error
    try:
        if not _acquire(handle, wait, shared):
            raise InputError(
                what,
                "another process is working on it",
                "Wait until it has finished, or choose another folder",
            )
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, wait: bool, shared: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows
        return shared or _acquire_windows(handle, wait)
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _acquire_windows(handle: int, wait: bool) -> bool:  # pragma: no cover - Windows
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    try:
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True
