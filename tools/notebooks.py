"""Execute the notebooks of ``examples`` in a fresh folder each, and stop at the first error.

Usage: python tools/notebooks.py [--write] [NOTEBOOK...]

With ``--write``, the outputs are kept in the files.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT_S = 600


def run(notebook: Any) -> None:
    """Execute a notebook in place, in a folder and with a cache of its own."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"RSBENCH_CACHE": f"{folder}/cache", "MPLBACKEND": "agg"}
        NotebookClient(
            notebook, timeout=LIMIT_S, kernel_name="python3",
            resources={"metadata": {"path": folder}},
        ).execute()  # fmt: skip


def main() -> int:
    """Execute the named notebooks, or all."""
    import nbformat

    named = [Path(name) for name in sys.argv[1:] if name != "--write"]
    for path in named or sorted((ROOT / "examples").glob("*.ipynb")):
        begun = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        run(notebook)
        print(f"{path.name}: {time.monotonic() - begun:.0f} s", flush=True)
        if "--write" in sys.argv:
            nbformat.write(notebook, path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
