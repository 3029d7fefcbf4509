"""Commands in forks of one process that has loaded the heavy libraries.

Each line of standard input is a request in JSON: ``args``, ``folder``, ``environment``, ``limit``
(largest file in bytes, 0: any) and ``timeout`` in seconds. Each is answered by one line: ``code``,
``out`` and ``err``. A command has a working folder, environment, standard streams and random state
of its own; only the imports are shared.
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
from typing import Any

import icechunk  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import numpy as np
import rasterio  # noqa: F401
import torch  # noqa: F401
import zarr  # noqa: F401

import rsbench.build.engine.icechunk
import rsbench.build.importers.registry
import rsbench.cli.main
import rsbench.evaluation.report
import rsbench.evaluation.submissions
import rsbench.training.train  # noqa: F401
from rsbench.cli.exit_codes import run_app


def command(case: dict[str, Any]) -> int:
    """Run one command in this process and return its exit code."""
    os.environ.clear()
    os.environ.update(case["environment"])
    os.chdir(case["folder"])
    sys.argv = ["rsbench", *case["args"]]
    random.seed()
    np.random.seed()  # noqa: NPY002
    if case["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["limit"], case["limit"]))
    signal.alarm(case["timeout"])
    code = run_app()
    atexit._run_exitfuncs()
    return code


def forked(case: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a fork; a file limit does not apply to the pipes of its output."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if not child:
        code = 99
        try:
            _take_streams([write for _, write in pipes])
            code = command(case)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
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


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        sys.stdout.write(json.dumps(forked(json.loads(line))) + "\n")
        sys.stdout.flush()
