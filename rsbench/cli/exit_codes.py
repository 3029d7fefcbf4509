"""Run the application: every error becomes one message on stderr and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

import typer

from rsbench.cli.app import app, note
from rsbench.core.errors import DiskFull, InputError, RsbenchError
from rsbench.core.io import FULL

INTERRUPTED = 130

# Typer brings its own copy of click in some versions and the package in others.
_UsageError: Any = typer.BadParameter.__mro__[2]


def _report(error: RsbenchError) -> int:
    note(f"rsbench: {error}")
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
    if not os.environ.get("RSBENCH_DEBUG"):
        # After a failed write, pending zarr tasks fail too; the first error is enough.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    reported = False
    try:
        code = int(app(prog_name="rsbench", standalone_mode=False) or 0)
    except typer.Exit as stop:
        code = stop.exit_code
    except RsbenchError as error:
        code, reported = _report(error), True
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - no traceback unless RSBENCH_DEBUG is set
        code = _unexpected(error)
    if code == INTERRUPTED and not reported:
        note("rsbench: interrupted; no partial files remain. Type the same command to go on.")
    return code


def _unexpected(error: Exception) -> int:
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if isinstance(error, _UsageError):
        return _misused(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _report(_machine(error))
    foreign = isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("rsbench")
    if foreign and isinstance(error, ModuleNotFoundError) and error.name:
        return _report(_missing(error.name))
    if os.environ.get("RSBENCH_DEBUG"):
        raise error
    note(f"rsbench: internal error: {type(error).__name__}: {error}. RSBENCH_DEBUG=1 shows where.")
    return 70


def _misused(error: Any) -> int:
    """Write one line on what is wrong with the command, and how to get its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return int(error.exit_code)
    message = " ".join(error.format_message().split())
    path = error.ctx.command_path if error.ctx else "rsbench"
    note(f"{path}: {message.rstrip('.?')}{'?' if message.endswith('?') else '.'} "
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
    root = module.partition(".")[0]
    build = {"rasterio", "pystac", "pystac_client", "xarray", "stackstac", "planetary_computer"}
    extra = "build" if root in build else "models"
    return InputError(
        "this command",
        f"the package {root} is not installed",
        f"Type: pip install 'rsbench[{extra}]'",
    )
