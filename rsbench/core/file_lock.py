"""A file lock between processes. The operating system releases it when the process ends."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rsbench.core.errors import InputError
from rsbench.core.io import TEMPORARY, atomic_directory, disk_errors, remove_leftovers


@contextmanager
def file_lock(
    path: Path, what: str, elsewhere: str = "choose another folder", *, wait: bool = False,
    shared: bool = False,
) -> Iterator[None]:  # fmt: skip
    """Hold the lock file ``path`` during the ``with`` block.

    Args:
        what: the operation, for the error message.
        elsewhere: how to choose another path, for the error message.
        wait: wait until the lock is free.
        shared: allow other shared holders at the same time, and no exclusive holder.

    Raises:
        InputError: if another process or thread holds it and ``wait`` is False, or if the folder is
            not writable.
        DiskFull: if the disk is full.
    """
    handle = _open(path, what, elsewhere)
    try:
        if not _acquire(handle, wait, shared):
            raise _busy(what, elsewhere)
        yield
    finally:
        os.close(handle)


@contextmanager
def target_lock(
    target: Path, what: str, elsewhere: str = "choose another folder"
) -> Iterator[None]:
    """Hold the output path ``target``, a file or folder, for one process.

    The lock file is hidden beside it and is removed at the end. At the start, temporaries of
    killed processes that wrote the same target are removed.

    Args:
        what: the operation, for the error message.
        elsewhere: how to choose another output path.

    Raises:
        InputError: if another process or thread holds it, or if the folder is not writable.
        DiskFull: if the disk is full.
    """
    place = Path(os.path.realpath(target))
    path = place.with_name(f"{TEMPORARY}{place.name}.lock")
    _OWN[path] = -1
    _OWN[path] = handle = _open(path, what, elsewhere)
    try:
        while True:
            if not _acquire(handle, wait=False, shared=False):
                raise _busy(what, elsewhere)
            if _is_at(handle, path):
                break
            os.close(handle)  # its holder removed it: a lock on a removed file holds nothing
            _OWN[path] = handle = _open(path, what, elsewhere)
        remove_leftovers(place)
        yield
    finally:
        _release(path, handle)


@contextmanager
def new_directory(
    target: Path, what: str, elsewhere: str, closed: type[InputError] = InputError
) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` at the end of the block, unless it fails.

    Args:
        what: the operation, for the error message.
        elsewhere: how to choose another output path, e.g. ``choose another --out``.
        closed: type of the error for a path that is read-only or not permitted.

    Raises:
        InputError: if something is at ``target``, or another process writes it.
        DiskFull: if the disk is full.
    """
    with disk_errors(what, elsewhere, closed), target_lock(target, what, elsewhere):
        if os.path.lexists(target) and not is_empty_folder(target):
            remedy = f"{elsewhere[:1].upper()}{elsewhere[1:]}"
            raise InputError(what, "something is there already", remedy)
        with atomic_directory(target.absolute()) as folder:
            yield folder


def is_empty_folder(path: Path) -> bool:
    """Return whether a path is a folder without any entry."""
    return path.is_dir() and next(path.iterdir(), None) is None


_OWN: dict[Path, int] = {}
"""Lock files that this process opens, with their handles; -1 before that is known."""


def _release(path: Path, handle: int) -> None:
    """Close a lock file, and remove it unless another process holds it."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDWR) if handle < 0 else handle
        if _acquire(handle, wait=False, shared=False) and _is_at(handle, path):
            path.unlink()
    with suppress(OSError):
        os.close(handle)
    _OWN.pop(path, None)


@atexit.register
def _release_own() -> None:
    """Remove lock files that Ctrl-C left."""
    for path, handle in list(_OWN.items()):
        _release(path, handle)


def _open(path: Path, what: str, elsewhere: str) -> int:
    with disk_errors(what, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)


def _is_at(handle: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _busy(what: str, elsewhere: str) -> InputError:
    found = "another process is working on it"
    return InputError(what, found, f"Wait until it has finished, or {elsewhere}")


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
