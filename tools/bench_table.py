"""Print the benchmark JSON of results/bench as one markdown table a file.

Usage: python tools/bench_table.py results/bench/latest.json … > results/bench/README.md
       python tools/bench_table.py --into results/bench/latest.json again.json …

The second form puts benchmarks that were run again in the place of the old ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Measured

Made by `make bench`; some lines were measured again, each by its file of `tests/bench`, when the
machine was freer. Each line compares two ways of doing the same in one run, interleaved, so
that a busy machine slows both: lower quartile, median and upper quartile over the rounds. A ratio
above 1 means that rsbench is faster. Absolute times hold for the machine named only.
"""


def main() -> int:
    """Print the table, or merge."""
    if sys.argv[1:2] == ["--into"]:
        merge(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
        return 0
    print(HEAD)
    for path in map(Path, sys.argv[1:]):
        found = json.loads(path.read_text(encoding="utf-8"))
        machine = found["machine_info"]
        print(f"{_cpu(found)}, {machine.get('cpu', {}).get('count', '?')} cores, "
              f"Python {machine['python_version']}, where a line names no other\n")  # fmt: skip
        print("| benchmark | what was found |\n|---|---|")
        for entry in found["benchmarks"]:
            cells = [f"{k} {_short(v)}" for k, v in entry["extra_info"].items()]
            print(f"| `{entry['name']}` | {'; '.join(cells)} |")
        print()
    return 0


def merge(kept: Path, again: list[Path]) -> None:
    """Write the benchmarks of ``again`` over those of ``kept`` with the same name."""
    whole = json.loads(kept.read_text(encoding="utf-8"))
    found = {entry["name"]: entry for entry in whole["benchmarks"]}
    for path in again:
        newer = json.loads(path.read_text(encoding="utf-8"))
        for entry in newer["benchmarks"]:
            if _cpu(newer) != _cpu(whole):
                entry["extra_info"]["machine"] = _cpu(newer)
            found[entry["name"]] = entry
    whole["benchmarks"] = list(found.values())
    kept.write_text(json.dumps(whole, indent=4) + "\n", encoding="utf-8")


def _cpu(found: dict[str, Any]) -> str:
    return str(found["machine_info"].get("cpu", {}).get("brand_raw", "CPU"))


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " / ".join(_short(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main())
