"""Damage inputs of every format and command, count what comes of them, and write the counts.

Usage: python tools/fuzz.py [--seed N] [--share S] [--format NAME] [--only N] [--write FILE]
       [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "baselines"), str(ROOT)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fuzz.driver import Result, run  # noqa: E402
from fuzz.formats import FORMATS  # noqa: E402
from fuzz.processes import run_processes  # noqa: E402
from fuzz.report import markdown  # noqa: E402


def main() -> int:
    """Return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs of a full round")
    parser.add_argument("--format", default="", help="only formats with this in their name")
    parser.add_argument("--only", type=int, help="number of a single input")
    parser.add_argument("--write", type=Path, help="Markdown file for the counts")
    parser.add_argument("--keep", type=Path, help="folder for inputs that are faults")
    asked = parser.parse_args()
    results = []
    for chosen in FORMATS:
        if asked.format in chosen.name:
            inputs = max(1, round(chosen.inputs * asked.share))
            results.append(run(chosen, inputs=inputs, seed=asked.seed, only=asked.only))
            _tell(results[-1], asked.keep)
    if asked.only is None and asked.format in "commands as processes":
        results.append(run_processes(max(1, round(asked.share * 120)), seed=asked.seed))
        _tell(results[-1], asked.keep)
    text = markdown(results, seed=asked.seed)
    if asked.write is not None:
        asked.write.write_text(text, encoding="utf-8")
    print(text)
    return int(any(result.faults for result in results))


def _tell(result: Result, keep: Path | None) -> None:
    print(f"{result.name}: {dict(result.counts)}", file=sys.stderr, flush=True)
    for number, name, data, what in result.faults:
        print(f"  input {number}, {name}: {what.strip()[:300]}", file=sys.stderr)
        if keep is not None:
            place = keep / result.name.replace(" ", "-")
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}-{name.replace('/', '+')}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
