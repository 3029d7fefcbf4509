"""Commands in forks of one process that has loaded the heavy libraries.

Each line of standard input is a request in JSON: ``args`` or ``code`` in Python, ``folder``,
``environment``, and optionally ``limit`` (largest file in bytes) and ``timeout`` in seconds. It is
answered by one line when the command has ended: ``code``, ``out`` and ``err``. A request with
``end``, ``out`` and ``err`` names three pipes and is answered at once: the streams go into the last
two, the number of the process and its exit code into the first. A command has a working folder,
environment, standard streams and random state of its own; only the imports are shared.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import resource
import selectors
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import icechunk  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import numpy as np
import pyarrow.dataset  # noqa: F401
import rasterio  # noqa: F401
import torch  # noqa: F401
import zarr  # noqa: F401
from PIL import Image

import rsbench.build.engine.icechunk
import rsbench.build.importers.registry
import rsbench.cli.build
import rsbench.cli.main
import rsbench.evaluation.case_features
import rsbench.evaluation.devices
import rsbench.evaluation.pictures
import rsbench.evaluation.pixel_strata
import rsbench.evaluation.report
import rsbench.evaluation.submissions
import rsbench.metrics.engine
import rsbench.metrics.sets
import rsbench.tasks.forecast.task
import rsbench.tasks.fusion.task
import rsbench.tasks.segment.task
import rsbench.training.train
from rsbench.cli.exit_codes import run_app
from rsbench.models.registry import cards


def command(case: dict[str, Any]) -> int:
    """Run one command, or Python code, in this process and return its exit code."""
    os.environ.clear()
    os.environ.update(case["environment"])
    os.chdir(case["folder"])
    sys.argv = ["rsbench", *case.get("args", ())]
    random.seed()
    np.random.seed()  # noqa: NPY002
    if case.get("limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["limit"], case["limit"]))
    signal.alarm(case.get("timeout", 0))
    code = _run(case["code"]) if "code" in case else run_app()
    atexit._run_exitfuncs()
    return code


def _run(text: str) -> int:
    try:
        exec(compile(text, "<code>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def started(case: dict[str, Any]) -> dict[str, Any]:
    """Start one program beside the requests that follow; a process of its own waits for its end."""
    if os.fork():
        return {}
    with Path(case["end"]).open("w") as end:
        child = os.fork()
        if not child:
            os.close(end.fileno())
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _end_with(case, [os.open(case[name], os.O_WRONLY) for name in ("out", "err")])
        end.write(f"{child}\n")
        end.flush()
        end.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
    os._exit(0)


def _end_with(case: dict[str, Any], writes: list[int]) -> NoReturn:
    """Run one command in this process, with its output into some pipes, and end it."""
    code = 99
    try:
        _take_streams(writes)
        code = command(case)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def forked(case: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a fork; a file limit does not apply to the pipes of its output."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if not child:
        _end_with(case, [write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    out, err = _read([read for read, _ in pipes])
    status = os.waitpid(child, 0)[1]
    return {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err}


def _take_streams(writes: list[int]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for target, write in enumerate(writes, 1):
        os.dup2(write, target)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))


def _read(reads: list[int]) -> list[str]:
    """Return all that is written to some pipes, which are read as it comes."""
    said = dict.fromkeys(reads, b"")
    with selectors.DefaultSelector() as ready:
        for read in reads:
            ready.register(read, selectors.EVENT_READ)
        while ready.get_map():
            for key, _ in ready.select():
                said[key.fd] += (chunk := os.read(key.fd, 1 << 16))
                if not chunk:
                    ready.unregister(key.fd)
                    os.close(key.fd)
    return [text.decode(errors="replace") for text in said.values()]


def warm() -> None:
    """Do what every process does once for commands of many kinds."""
    Image.init()
    cards()
    rsbench.evaluation.report._template()


if __name__ == "__main__":
    warm()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = started(request) if "end" in request else forked(request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
