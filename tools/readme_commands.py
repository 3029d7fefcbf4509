"""Run the commands in the ``sh`` blocks of pages, in order, and stop at the first that fails.

Usage: python tools/readme_commands.py PAGE.md... [COMMAND...]

Commands that are given are skipped: they were run already. `tests/unit/test_docs_pages.py` parses
the commands of all pages, also of those that need a network, data of one's own or hours.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def commands(text: str) -> list[str]:
    """Return the command lines of all fenced ``sh`` blocks; continuation lines are joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S)
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = (line.split(" #")[0].strip() for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main() -> int:
    """Run the commands of pages; skip those given as further arguments (already run)."""
    pages = [Path(word) for word in sys.argv[1:] if word.endswith(".md")]
    done = set(sys.argv[1:]) - set(map(str, pages))
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in (c for page in pages for c in commands(page.read_text(encoding="utf-8"))):
        if command in done:
            print(f"$ {command}   (already run)", flush=True)
            continue
        print(f"$ {command}", flush=True)
        result = subprocess.run(["bash", "-c", command], env=env, check=False)
        if result.returncode:
            print(f"failed with exit code {result.returncode}: {command}", file=sys.stderr)
            return result.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
