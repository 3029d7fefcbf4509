"""Run the application: every error becomes one message on stderr and an exit code."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from rsbench.cli.app import alert, app
from rsbench.core.errors import DiskFull, InputError, LimitReached, RsbenchError, first_line
from rsbench.core.io import FULL, remove_own_temporaries
from rsbench.core.progress import Detail, detail, set_detail

INTERRUPTED = 130

# Set once memory has run out: from then on the interpreter may not end in order.
MEMORY_RAN_OUT = threading.Event()

# How libraries say that memory or address space has run out.
_NO_MEMORY = re.compile(
    r"cannot allocate memory|can't allocate memory|out of memory|failed to map segment"
    r"|can't start new thread|bad_alloc",
    re.IGNORECASE,
)

# Typer brings its own copy of click in some versions and the package in others.
_UsageError: Any = typer.BadParameter.__mro__[2]


def _report(error: RsbenchError) -> int:
    alert(f"rsbench: {' '.join(str(error).splitlines())}")  # names of files may have several lines
    return error.exit_code


def _repeat_interrupt(dropped: sys.UnraisableHookArgs) -> None:
    """Send Ctrl-C again if it arrived in a finaliser, where Python drops exceptions."""
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        main = threading.main_thread().ident or 0
        again = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(dropped)


def run_app() -> int:
    """Run the command and return its exit code; errors are written to stderr."""
    sys.unraisablehook = _repeat_interrupt
    set_detail(Detail.NORMAL)
    if not os.environ.get("RSBENCH_DEBUG"):
        # After a failed write, pending zarr tasks fail too; the first error is enough.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    _prepare_streams()
    return guarded(lambda: app(prog_name="rsbench", standalone_mode=False))


def leave(code: int) -> NoReturn:
    """End the process with an exit code.

    Without memory the finalisers of the interpreter fail with a line each, or wait forever. They
    are left out then; temporary files are removed first.
    """
    if MEMORY_RAN_OUT.is_set():
        remove_own_temporaries()
        os._exit(code)
    sys.exit(code)


def _prepare_streams() -> None:
    """Let streams write ``?`` for what their encoding lacks; closed ones become the null device."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def guarded(command: Callable[[], Any]) -> int:
    """Run a command and return its exit code; an exception becomes one message on stderr."""
    reported = False
    try:
        code = int(command() or 0)
        sys.stdout.flush()
    except typer.Exit as stop:
        code = stop.exit_code
    except RsbenchError as error:
        code, reported = _report(_scarce(error) or error), True
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        code = 0
    except Exception as error:  # noqa: BLE001 - no traceback unless RSBENCH_DEBUG is set
        code = _unexpected(error)
    if code == INTERRUPTED and not reported:
        remove_own_temporaries()
        alert("rsbench: interrupted; no half-written file remains. Type the same command to go on.")
    return code


def _discard_output() -> None:
    """Send what is left in the buffer of stdout to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> int:
    if isinstance(error, typer.Abort):
        if not isinstance(error.__cause__, EOFError):  # typer turns this error into an interrupt
            return INTERRUPTED
        error = error.__cause__
    if isinstance(error, _UsageError):
        return _misused(error)
    if (scarce := _scarce(error)) is not None:
        return _report(scarce)
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None and error.errno in FULL:
            _discard_output()  # it may be the buffer of stdout that has no room
        return _report(_machine(error))
    foreign = isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("rsbench")
    if foreign and isinstance(error, ModuleNotFoundError) and error.name:
        return _report(_missing(error.name))
    if os.environ.get("RSBENCH_DEBUG") or detail() is Detail.VERBOSE:
        raise error
    said = " ".join(str(error).split())[:300]
    alert(f"rsbench: internal error: {type(error).__name__}: {said}. RSBENCH_DEBUG=1 shows where.")
    return 70


def _scarce(error: BaseException) -> LimitReached | None:
    """Return the error for what memory or the number of files does not allow; None for others.

    A reader may have reported such an error as a damaged file, so its causes are looked at too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.EMFILE, errno.ENFILE):
            return LimitReached(
                "this command",
                "too many files are open",
                "Raise the limit, e.g. with `ulimit -n 4096`, and type the same command",
            )
        foreign = isinstance(cause, RuntimeError | ImportError | OSError)
        said = foreign and _NO_MEMORY.search(str(cause))
        if isinstance(cause, MemoryError) or said or _lost(cause):
            MEMORY_RAN_OUT.set()
            return LimitReached(
                "this command",
                f"there is too little memory ({_reason(cause)})",
                "Close other programs, raise the limit (`ulimit -v`), or ask for less at once",
            )
        cause = cause.__cause__
    return None


def _lost(error: BaseException) -> bool:
    """Return whether C code failed without saying why, where the address space is limited."""
    if not isinstance(error, SystemError) or "exception set" not in str(error):
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _reason(error: BaseException) -> str:
    """Return the line of a message that is about memory."""
    lines = [line for line in str(error).splitlines() if _NO_MEMORY.search(line)]
    return lines[0].strip()[:200] if lines else first_line(error)


def _misused(error: Any) -> int:
    """Write one line on what is wrong with the command, and how to get its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    message = " ".join(error.format_message().split())
    path = error.ctx.command_path if error.ctx else "rsbench"
    alert(f"{path}: {message.rstrip('.?')}{'?' if message.endswith('?') else '.'} "
          f"Type: {path} --help")  # fmt: skip
    return int(error.exit_code)


def _machine(error: OSError) -> RsbenchError:
    """Return the error for what the operating system refused, with the path."""
    where = error.filename or "a file"
    if error.errno in FULL:
        found = "the device has no room left"
        return DiskFull(f"writing {where}", found, "Free some space and type the same command")
    return InputError(
        f"opening {where}",
        (error.strerror or "the system refuses").lower(),
        "Name an existing path with the needed permissions",
    )


def _missing(module: str) -> InputError:
    from rsbench.core.extras import install_command

    root, remedy = module.partition(".")[0], f"Type: {install_command(module)}"
    return InputError("this command", f"the package {root} is not installed", remedy)
