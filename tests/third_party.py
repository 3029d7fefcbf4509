"""Packages of third parties, laid out as an installer leaves them: a module and its metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def install(folder: Path, name: str, group: str, entries: dict[str, str], code: str) -> None:
    """Lay out a package with one module and entry points (name → ``module:object``)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(f"{key} = {value}" for key, value in entries.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")


def rsbench(folder: Path, *args: str, packages: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with the packages of another folder installed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RSBENCH_")}
    path = os.pathsep.join(filter(None, (str(packages), kept.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "rsbench.cli", *args], cwd=folder, capture_output=True, text=True,
        env={**kept, "PYTHONPATH": path, "RSBENCH_CACHE": str(folder / "cache")}, timeout=240,
        check=False,
    )  # fmt: skip
