"""Commands in forks of one process that has loaded the heavy libraries.

``python forked.py CASES`` reads ``{"name": {"args", "limit", "cache"}}`` and writes
``{"name": {"code", "out", "err"}}`` to standard output. ``limit``: largest file in bytes, 0: any.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import sys
from typing import Any

import icechunk  # noqa: F401
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
    os.environ["RSBENCH_CACHE"] = case["cache"]
    sys.argv = ["rsbench", *case["args"]]
    if case["limit"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["limit"], case["limit"]))
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
            for target, (_, write) in enumerate(pipes, 1):
                os.dup2(write, target)
            sys.stdout, sys.stderr = (
                os.fdopen(1, "w", closefd=False),
                os.fdopen(2, "w", closefd=False),
            )
            code = command(case)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    said = []
    for read, write in pipes:
        os.close(write)
        with os.fdopen(read, encoding="utf-8", errors="replace") as file:
            said.append(file.read())
    status = os.waitpid(child, 0)[1]
    return {"code": os.waitstatus_to_exitcode(status), "out": said[0], "err": said[1]}


if __name__ == "__main__":
    cases = json.loads(sys.argv[1])
    sys.__stdout__.write(json.dumps({name: forked(case) for name, case in cases.items()}))  # type: ignore[union-attr]
