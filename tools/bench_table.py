"""Print the benchmark JSON of results/bench as one markdown table a file.

Usage: python tools/bench_table.py results/bench/latest.json … > results/bench/README.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Measured

Made by `make bench`. Each line compares two ways of doing the same in one run, interleaved, so
that a busy machine slows both: lower quartile, median and upper quartile over the rounds. A ratio
above 1 means that rsbench is faster. Absolute times hold for the machine named only.
"""


def main() -> int:
    """Print the table."""
    print(HEAD)
    for path in map(Path, sys.argv[1:]):
        found = json.loads(path.read_text(encoding="utf-8"))
        machine = found["machine_info"]
        cpu = machine.get("cpu", {})
        print(f"{cpu.get('brand_raw', 'CPU')}, {cpu.get('count', '?')} cores, "
              f"Python {machine['python_version']}\n")  # fmt: skip
        print("| benchmark | what was found |\n|---|---|")
        for entry in found["benchmarks"]:
            cells = [f"{k} {_short(v)}" for k, v in entry["extra_info"].items()]
            print(f"| `{entry['name']}` | {'; '.join(cells)} |")
        print()
    return 0


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(_short(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
