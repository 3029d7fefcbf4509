"""Commands typed in a folder, in a process of their own.

The process is a fork of one that has loaded the heavy libraries (``forked``). What a command loads,
how it is killed and what its own worker processes do is tested in fresh processes instead.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

Shell = Callable[..., tuple[int, str]]
FORKED = Path(__file__).with_name("forked.py")


def rsbench(
    folder: Path, *args: str, largest_file: int = 0, timeout: int = 300, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run `rsbench` with some words in a folder.

    Args:
        largest_file: size in bytes that no file may exceed; 0 for any.
        timeout: seconds after which the command ends by SIGALRM.
        settings: environment variables beside ``RSBENCH_CACHE``, which is a folder of ``folder``.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_")}
    own = {"RSBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", **settings}
    case = {"args": args, "folder": str(folder), "environment": {**kept, **own},
            "limit": largest_file, "timeout": timeout}  # fmt: skip
    done = ask(case)
    return subprocess.CompletedProcess(["rsbench", *args], done["code"], done["out"], done["err"])


def shell_in(folder: Path) -> Shell:
    """Return what runs `rsbench` with some words in a folder: exit code, and all that it wrote."""

    def typed(*args: str) -> tuple[int, str]:
        done = rsbench(folder, *args)
        return done.returncode, done.stdout + done.stderr

    return typed


def ask(case: Mapping[str, object]) -> dict[str, Any]:
    """Send a request to the server and return its answer."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(case) + "\n")
    server.stdin.flush()
    answer: dict[str, Any] = json.loads(server.stdout.readline())
    return answer


@cache
def _server() -> subprocess.Popen[str]:
    """Start the process whose forks run the commands, once per process of the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_")}
    server = subprocess.Popen(
        [sys.executable, str(FORKED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=tempfile.gettempdir(), env={**kept, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[str]) -> None:
    server.kill()
    server.wait()
