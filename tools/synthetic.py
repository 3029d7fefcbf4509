"""Train a probe on real, synthetic and copied images at equal steps, and write the table.

Usage: python tools/synthetic.py STORE --generator satsynth --per-image 1 3 --seeds 0 1 2 --out DIR

Writes ``table.md``: mIoU and IoU of every class of all entries as mean over seeds (smallest …
largest), then the differences to ``real`` and to ``copy``, paired by region and seed; and
``table.csv``, the values by region of every run. All entries take the same number of optimiser
steps (``--budget``, without early stop). One generator is trained, so that intervals are for other
regions and other seeds of the probe. Stores and runs are kept in ``--runs`` and made once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

from rsbench.core.errors import InputError, RsbenchError
from rsbench.core.io import atomic_file
from rsbench.evaluation.scores import Scores
from rsbench.models.checkpoint import Checkpoint
from rsbench.store.lineage import Lineage
from rsbench.store.read import Store, open_store

sys.path.insert(0, str(Path(__file__).parent))
import cross_scale

from results import cell, origin

COPY = "copy"
AUGMENTED = ("cutmix", "cutout")


@dataclass(frozen=True)
class Entry:
    """What a probe is trained with: further words for `rsbench train`."""

    name: str
    words: tuple[str, ...] = ()


def typed(*words: str) -> str:
    """Type an rsbench command on one thread; return what it prints.

    Raises:
        InputError: with what it wrote to standard error.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rsbench.cli", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(shlex.join(words), done.stderr.strip(), "Repair it, type it again")
    return done.stdout.strip()


def drawn(asked: argparse.Namespace, model: str, per_image: int) -> Path:
    """Return the synthetic store of a generator, which is made if it is not there."""
    path: Path = asked.runs / f"{model}-{per_image}.zarr"
    if not path.is_dir():
        typed("synthesize", "--model", model, "--data", str(asked.store), "--per-image",
              str(per_image), "--out", str(path))  # fmt: skip
    return path


def plan(asked: argparse.Namespace) -> list[Entry]:
    """Return the entries of the table; synthetic stores are made first."""
    found = [Entry("real"), *(Entry(f"real + {one}", ("--augment", one)) for one in AUGMENTED)]
    for model, name in ((asked.generator, "synthetic"), (COPY, COPY)):
        for number in asked.per_image:
            also = ("--also", str(drawn(asked, model, number)))
            if model != COPY:
                found.append(Entry(f"{name} R={number}", (*also, "--also-share", "1")))
            found.append(Entry(f"real + {name} R={number}", also))
    return found


def probed(asked: argparse.Namespace, entry: Entry, seed: int) -> tuple[Path, int]:
    """Train and score a probe; return the folder of its run and the optimiser steps it took."""
    name, _, preset = asked.probe.partition(":")
    common = ["--model", name, "--data", str(asked.store), "--seed", str(seed)]
    common += ["--preset", preset] if preset else []
    common += [word for option in asked.option for word in ("--option", option)]
    folder: Path = asked.runs / f"{entry.name.replace(' ', '')}-s{seed}"
    checkpoint = typed("train", *common, "--patience", "0", "--budget", asked.budget, *entry.words)
    typed("run", *common, "--checkpoint", checkpoint, "--keep-predictions", "none", "--out",
          str(folder))  # fmt: skip
    return folder, Checkpoint.load(Path(checkpoint)).steps


def require_equal(steps: dict[str, int]) -> int:
    """Return the number of optimiser steps that all runs took.

    Raises:
        InputError: if they took different numbers.
    """
    if len(set(steps.values())) != 1:
        told = ", ".join(f"{name} {count}" for name, count in steps.items())
        raise InputError("comparing at equal steps", f"the runs took {told}", "Give --budget steps")
    return next(iter(steps.values()))


def region_values(runs: Sequence[tuple[str, int, Path]]) -> pd.DataFrame:
    """Return values by region: of every entry and seed, and of reference models once."""
    parts = []
    for name, seed, folder in runs:
        means = Scores.load(folder).region_means()
        kept = means[means["metric"].isin(cross_scale.METRICS) & (means["stratum"] == "all")].copy()
        own = kept["role"] == "model"
        kept["entry"] = kept["model"].where(~own, name)
        kept["seed"] = own.map({True: seed, False: 0})
        parts.append(kept)
    keys = ["entry", "seed", "metric", "band", "region"]
    return pd.concat(parts, ignore_index=True).drop_duplicates(keys)


def entries(table: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of the table of entries, the best mIoU first."""
    shown = cross_scale.columns(table)
    yield "| entry | seeds | " + " | ".join(cross_scale._title(*column) for column in shown) + " |"
    yield "|" + "---|" * (len(shown) + 2)
    means = {
        n: fmean(cross_scale._seed_means(table, n, shown[0])) for n in dict.fromkeys(table["entry"])
    }
    for name in sorted(means, key=lambda name: -means[name]):
        found = [cross_scale._seed_means(table, name, column) for column in shown]
        cells = " | ".join(cell(pd.Series(values)) for values in found)
        yield f"| {name} | {len(found[0])} | {cells} |"


def differences(table: pd.DataFrame, names: Sequence[str], base: str) -> Iterator[str]:
    """Yield the lines of the table of differences to an entry."""
    shown = cross_scale.columns(table)
    yield f"| minus {base} | " + " | ".join(cross_scale._title(*column) for column in shown) + " |"
    yield "|" + "---|" * (len(shown) + 1)
    for name in names:
        if name != base:
            cells = (cross_scale._difference(table, (name, base), column) for column in shown)
            yield f"| {name} | " + " | ".join(cells) + " |"


def page(table: pd.DataFrame, store: Store, asked: argparse.Namespace, steps: int) -> str:
    """Return the page: heading, the table of entries, and the differences."""
    names = [name for name in dict.fromkeys(table["entry"]) if " " in name or name == "real"]
    generators = []
    for number in asked.per_image:
        path = asked.runs / f"{asked.generator}-{number}.zarr"
        lineage = Lineage.of(open_store(path))
        if lineage is not None:
            generators.append(
                f"R={number}: `{lineage.name}`, illegal codes {100 * lineage.illegal:.2f} %"
            )
    copies = [name for name in names if name.startswith(f"real + {COPY}")]
    lines = [
        f"# {store.recipe}, synthetic images for segmentation", "",
        f"Digest `{store.digest}`; {origin(store)}. Split test. Probe {asked.probe} "
        f"{' '.join(asked.option)}, {steps} optimiser steps each. R: synthetic images per real "
        f"one, all drawn by one {asked.generator}. Mean over seeds (smallest … largest). "
        "Differences are paired by region and seed; their intervals are for other regions and "
        "other seeds of the probe (95 %, crossed).", "", *(f"- {one}" for one in generators), "",
        f"Made by `python tools/synthetic.py STORE {shlex.join(_words(asked))}`.", "",
        *entries(table), "", *differences(table, names, "real"),
    ]  # fmt: skip
    for base in copies:
        lines += ["", *differences(table, [n for n in names if "synthetic" in n], base)]
    return "\n".join(lines) + "\n"


def _words(asked: argparse.Namespace) -> list[str]:
    """Return what a person types to get this table again."""
    options = [word for option in asked.option for word in ("--option", option)]
    return [
        "--generator", asked.generator, "--probe", asked.probe, *options, "--per-image",
        *map(str, asked.per_image), "--seeds", *map(str, asked.seeds), "--budget", asked.budget,
        "--out", str(asked.out),
    ]  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    """Return what a person may type."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("store", type=Path)
    parser.add_argument("--generator", default="satsynth")
    parser.add_argument("--probe", default="cross_scale:tiny_random")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--per-image", nargs="+", type=int, default=[1, 3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", default="300steps")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    return parser


def main() -> int:
    """Make what is missing, then write the tables."""
    asked = arguments().parse_args()
    asked.option = asked.option or ["head=linear"]
    asked.runs.mkdir(parents=True, exist_ok=True)
    try:
        store, runs, steps = open_store(asked.store), [], {}
        for entry in plan(asked):
            for seed in asked.seeds:
                folder, steps[f"{entry.name} s{seed}"] = probed(asked, entry, seed)
                runs.append((entry.name, seed, folder))
        count, table = require_equal(steps), region_values(runs)
    except RsbenchError as error:
        print(f"synthetic: {error}", file=sys.stderr)
        return error.exit_code
    asked.out.mkdir(parents=True, exist_ok=True)
    with atomic_file(asked.out / "table.md") as temporary:
        temporary.write_text(page(table, store, asked, count), encoding="utf-8")
    table.drop(columns=["model", "preset", "n_missing"]).to_csv(
        asked.out / "table.csv", index=False, float_format="%.6g"
    )
    print(asked.out / "table.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
