"""Damage inputs of every format and command, count what comes of them, and write the counts.

Usage: python tools/fuzz.py [--seed N] [--share S] [--format NAME] [--only N] [--jobs N]
       [--write FILE] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "baselines"), str(ROOT)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fuzz.driver import Result, run  # noqa: E402
from fuzz.formats import FORMATS  # noqa: E402
from fuzz.processes import NAME, run_processes  # noqa: E402
from fuzz.report import markdown  # noqa: E402

PROCESSES = -1
"""The number of the inputs that run as processes."""


def main() -> int:
    """Return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs of a full round")
    parser.add_argument("--format", default="", help="only formats with this in their name")
    parser.add_argument("--only", type=int, help="number of a single input")
    parser.add_argument("--write", type=Path, help="Markdown file for the counts")
    parser.add_argument("--keep", type=Path, help="folder for inputs that are faults")
    parser.add_argument("--jobs", type=int, default=1, help="formats at a time")
    asked = parser.parse_args()
    chosen = [i for i, kind in enumerate(FORMATS) if asked.format in kind.name]
    chosen += [PROCESSES] if asked.only is None and asked.format in NAME else []
    results = []
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as workers:
        for result in workers.map(_result, chosen, repeat(asked)):
            results.append(result)
            _tell(result, asked.keep)
    text = markdown(results, seed=asked.seed)
    if asked.write is not None:
        asked.write.write_text(text, encoding="utf-8")
    print(text)
    return int(any(result.faults for result in results))


def _result(number: int, asked: argparse.Namespace) -> Result:
    """Return the counts of one format; they do not depend on the other ones."""
    if number == PROCESSES:
        return run_processes(max(1, round(asked.share * 24)), seed=asked.seed)
    kind = FORMATS[number]
    inputs = max(1, round(kind.inputs * asked.share))
    return run(kind, inputs=inputs, seed=asked.seed, only=asked.only)


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
