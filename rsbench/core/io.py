"""Atomic writes of files and folders, errors of full disks, and reading of JSON objects.

Content is written to a temporary file or folder beside the target, flushed, and renamed to the
target; then the parent folder is flushed. Temporary names are hidden and contain target, host and
process. After a failure or Ctrl-C the temporary is removed, at the latest when the process ends. If
the process was killed, the next process on this host that writes the same target removes it.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import platform
import re
import shutil
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsbench.core.errors import DiskFull, InputError, RsbenchError

if TYPE_CHECKING:
    import numpy.typing as npt

TEMPORARY = ".tmp-"
"""Prefix of the names of temporary files and folders."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOSED = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
    errno.ELOOP,
})  # fmt: skip
TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})
MAX_JSON = 256 << 20
"""Size limit in bytes of JSON files that are read."""


# -------------------------------------------------------------------------------- files


def write_atomic(path: Path, content: bytes | memoryview | str) -> None:
    """Write a file atomically; text is encoded as UTF-8.

    Raises:
        OSError: if it cannot be written; an existing file is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomic_file(path) as temporary, temporary.open("xb") as file:
        file.write(data)


def write_npy(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a new ``.npy`` file; ``ndarray.tofile`` would lose the reason of a failed write."""
    import numpy as np

    whole = np.asarray(array, order="C")
    with path.open("xb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.reshape(-1).view(np.uint8).data)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path for the block to write; it replaces ``path`` at the end."""
    with temporary_file(path) as temporary:
        yield temporary
        replace_file(temporary, path)


@contextmanager
def temporary_file(target: Path) -> Iterator[Path]:
    """Yield an unused temporary path beside ``target``; a file there is removed at the end."""
    temporary = _beside(target)
    _OWN[temporary] = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    finally:
        _remove(temporary)


def replace_file(temporary: Path, target: Path) -> None:
    """Flush a file and rename it to ``target``, replacing an existing file.

    Raises:
        InputError: if ``target`` is a device or a pipe, which a rename would destroy.
    """
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise InputError(f"writing {target}", "it is a device or a pipe", "Name a file")
    sync(temporary)
    temporary.replace(target)
    sync(target.parent)
    _remove_stale(target)


# ------------------------------------------------------------------------------ folders


@contextmanager
def atomic_directory(target: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary folder for the block to fill; it is renamed to ``target`` at the end.

    Args:
        target: absent, or an empty folder.
        durable: see :func:`publish_directory`.
    """
    with temporary_directory(target) as folder:
        yield folder
        publish_directory(folder, target, durable=durable)


@contextmanager
def temporary_directory(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``, removed at the end unless it was renamed."""
    folder = _beside(target)
    _OWN[folder] = None
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        _remove(folder)


def publish_directory(folder: Path, target: Path, *, durable: bool = True) -> None:
    """Flush a folder and rename it to ``target``, which is absent or an empty folder.

    Args:
        durable: flush all files first. Without it, files can be empty after a power failure; use
            False only for content that is checked when it is read.

    Raises:
        OSError: if ``target`` is a file or a non-empty folder; the folder is not renamed.
    """
    if durable:
        sync_tree(folder)
    with suppress(OSError):
        target.rmdir()  # some systems cannot rename onto an empty folder
    folder.rename(target)
    sync(target.parent)
    _remove_stale(target)


def replace_directory(folder: Path, target: Path) -> None:
    """Flush a folder and rename it to ``target``, replacing an existing file or folder.

    Between two renames ``target`` is absent.

    Raises:
        OSError: if another process created ``target`` in between; the folder is not renamed.
    """
    sync_tree(folder)
    old = _beside(target)
    _OWN[old] = target
    try:
        with suppress(FileNotFoundError):
            target.rename(old)
        publish_directory(folder, target, durable=False)
    except BaseException:
        if folder.exists():  # it was not renamed: restore the old target
            with suppress(OSError):
                old.rename(target)
        raise
    finally:
        _remove(old)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    if os.name != "posix" and path.is_dir():
        return  # other systems cannot flush folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Flush a folder and all its content, deepest first."""
    for path in sorted(folder.rglob("*"), reverse=True):
        sync(path)
    sync(folder)


# --------------------------------------------------------------------------- temporaries

_OWN: dict[Path, Path | None] = {}
"""Temporaries of this process, entered before they are made; of an old target, the target."""


@atexit.register
def remove_own_temporaries() -> None:
    """Remove temporaries that Ctrl-C left: it may come between making one and guarding it."""
    process = f"-{_host()}-{os.getpid()}-"
    for path, target in list(_OWN.items()):
        if process not in path.name:  # of the parent of a forked process
            continue
        if target is not None and not os.path.lexists(target):
            with suppress(OSError):
                path.rename(target)
        _remove(path)


def _beside(target: Path) -> Path:
    """Return an unused path beside the target: ``.tmp-NAME-HOST-PROCESS-RANDOM``."""
    own = f"{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    return target.parent / f"{TEMPORARY}{target.name}-{own}"


def target_of(path: Path) -> Path:
    """Return what a temporary of this module becomes; any other path as it is."""
    found = re.fullmatch(rf"{re.escape(TEMPORARY)}(.+)-[0-9a-f]{{8}}-\d+-[0-9a-f]{{8}}", path.name)
    return path.with_name(found[1]) if found else path


def _host() -> str:
    # Hosts may share a folder; process numbers are only valid on their own host.
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _remove_stale(target: Path) -> None:
    """Remove temporaries of a target whose process on this host has ended."""
    for path, host, process in _temporaries(target):
        if host == _host() and not _is_alive(process):
            _remove(path)


def remove_leftovers(target: Path) -> None:
    """Remove all temporaries of a target. No other process may write it at the same time."""
    for path, _, _ in _temporaries(target):
        if path not in _OWN:
            _remove(path)


_MADE = re.compile(r"([0-9a-f]{8})-(\d{1,9})-[0-9a-f]{8}")
"""Host, process and a random number at the end of the name of a temporary."""


def _temporaries(target: Path) -> list[tuple[Path, str, int]]:
    """Return path, host and process of every temporary of a target."""
    begin, found = f"{TEMPORARY}{target.name}-", []
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if not entry.name.startswith(begin):  # folders of many regions hold many names
                continue
            if made := _MADE.fullmatch(entry.name, len(begin)):
                found.append((target.parent / entry.name, made[1], int(made[2])))
    return found


def remove_temporaries(folder: Path) -> None:
    """Remove all temporaries in a folder. No other process may write there at the same time."""
    for path in folder.glob(f"{TEMPORARY}*"):
        _remove(path)


def _is_alive(process: int) -> bool:
    if os.name != "posix":
        return True  # on other systems os.kill would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    """Remove a file or folder; try again after an error or Ctrl-C."""
    try:
        _remove_once(path)
    finally:
        if os.path.lexists(path):
            _remove_once(path)
    _OWN.pop(path, None)


def _remove_once(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


# -------------------------------------------------------------------------------- errors


@contextmanager
def disk_errors(
    asked: str, elsewhere: str, closed: type[InputError] = InputError, *, kept: str = ""
) -> Iterator[None]:
    """Convert operating system errors for a full disk or a path that is not writable.

    Args:
        asked: the operation, e.g. ``writing OUT``.
        elsewhere: how to choose another output path, e.g. ``give another --out``.
        closed: type of the error for a path that is read-only or not permitted.
        kept: what a run of the same command finds again after a full disk, e.g. ``finished parts``.

    Raises:
        DiskFull: if the device, the quota or the file size limit is exhausted.
        InputError: of type ``closed``, with the path.
    """
    try:
        yield
    except RsbenchError:
        raise
    except OSError as error:
        if error.errno in FULL:
            again = f" ({kept} are kept)" if kept else ""
            raise DiskFull(
                asked,
                f"the device has no room left ({error.strerror})",
                f"Free some space and run the same command again{again}, or {elsewhere}",
            ) from error
        if error.errno in CLOSED:
            found = f"{_at_fault(error) or 'it'} cannot be written to ({error.strerror})"
            remedy = f"Make it writable, or {elsewhere}"
            raise closed(asked, found, remedy) from error
        if error.errno in TAKEN:
            found = "something is there already, or another process wrote it meanwhile"
            raise closed(asked, found, f"Look at what is there, and {elsewhere}") from error
        raise


def _at_fault(error: OSError) -> str:
    """Return the path in an error, if any; of a temporary, the folder that contains it."""
    if not isinstance(error.filename, str | os.PathLike):
        return ""
    path = Path(error.filename)
    temporary = [p for p in (path, *path.parents) if p.name.startswith(TEMPORARY)]
    return str(temporary[-1].parent if temporary else path)


# ---------------------------------------------------------------------------------- JSON


def read_json(path: Path, asked: str = "", remedy: str = "Write the file again") -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        asked: first part of the error message; ``reading PATH`` if empty.
        remedy: last part of the error message.

    Raises:
        InputError: if the file is absent, too large, unreadable, or not a JSON object.
    """
    named = path.name if asked else "it"
    asked = asked or f"reading {path}"
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON + 1)
    except FileNotFoundError as error:
        raise InputError(asked, f"{named} is absent", remedy) from error
    except OSError as error:
        raise InputError(asked, f"{named} cannot be read ({error.strerror})", remedy) from error
    return parse_json(data, asked, remedy, named)


def parse_json(data: bytes, asked: str, remedy: str, named: str = "it") -> dict[str, Any]:
    """Return the JSON object in UTF-8 bytes; arguments and errors as of :func:`read_json`.

    Args:
        named: the word for the file in the error message.
    """
    if len(data) > MAX_JSON:
        raise InputError(asked, f"{named} is larger than {MAX_JSON >> 20} MiB", remedy)
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(asked, f"{named} is cut short or not JSON ({error})", remedy) from error
    if not isinstance(value, dict):
        raise InputError(asked, f"{named} holds no JSON object", remedy)
    return value
