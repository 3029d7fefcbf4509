"""Programs in forks of the process that has loaded the heavy libraries, running beside a test."""

from __future__ import annotations

import json
import os
import select
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

from support.shell import ask

WAIT_S = 240


class Program:
    """A running program, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, case: Mapping[str, object]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            pipes = {name: str(Path(folder) / name) for name in ("end", "out", "err")}
            for pipe in pipes.values():
                os.mkfifo(pipe)
            ask({**case, **pipes})
            self._end = Path(pipes["end"]).open("rb", buffering=0)  # noqa: SIM115
            self.pid = int(self._end.readline())
            self.stdout = Path(pipes["out"]).open(encoding="utf-8")  # noqa: SIM115
            self.stderr = Path(pipes["err"]).open(encoding="utf-8")  # noqa: SIM115
        self.args = json.dumps(case)
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self, timeout: float = 0) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
            self.returncode = int(self._end.readline())
        return self.returncode

    def wait(self, timeout: float = WAIT_S) -> int:
        code = self.poll(timeout)
        assert code is not None, f"not ended after {timeout} s"
        return code

    def communicate(self, timeout: float = WAIT_S) -> tuple[str, str]:
        said = self.stdout.read(), self.stderr.read()
        self.wait(timeout)
        for file in (self.stdout, self.stderr, self._end):
            file.close()
        return said


def start(code: str, folder: Path | None = None, **environment: str) -> Program:
    """Start Python code as ``python -c`` would, in the environment of the test.

    Args:
        folder: working folder; that of the test where None.
    """
    place = str(folder or Path.cwd())
    return Program({"code": code, "folder": place, "environment": {**os.environ, **environment}})


def start_rsbench(folder: Path, *args: str, environment: Mapping[str, str]) -> Program:
    """Start ``rsbench`` with some words in a folder."""
    return Program({"args": args, "folder": str(folder), "environment": dict(environment)})
