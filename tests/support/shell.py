"""Commands typed in a folder, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Shell = Callable[..., tuple[int, str]]


def shell_in(folder: Path) -> Shell:
    """Return what runs `rsbench` with some words in a folder: exit code, and all that it wrote."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_")}
    environment = {**kept, "RSBENCH_CACHE": str(folder / ".cache"), "OMP_NUM_THREADS": "1"}

    def typed(*args: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "rsbench.cli", *args], cwd=folder, env=environment,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return typed
